//! Proxies: what this shell has in its environment beside what the daemon was started with.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::finding::{Edit, Finding, Fix};
use super::node::Node;

/// The variables, as they are written most.
const NAMES: [&str; 4] = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"];

/// Where systemd takes more of the daemon's settings from.
const DROP_IN: &str = "/etc/systemd/system/containerd.service.d/http-proxy.conf";

pub(super) fn findings(node: &Node) -> Option<Finding> {
    let daemon = node.process.as_ref()?.environment.as_ref()?;
    let here: BTreeMap<String, String> = std::env::vars().collect();
    differing(&here, daemon, node.restart())
}

/// A warning where `daemon` has other proxies than `here`.
fn differing(
    here: &BTreeMap<String, String>,
    daemon: &BTreeMap<String, String>,
    restart: &str,
) -> Option<Finding> {
    let value = |variables: &BTreeMap<String, String>, name: &str| {
        let found = variables.get(&name.to_lowercase()).or(variables.get(name));
        found.cloned().filter(|value| !value.is_empty())
    };
    let (mut words, mut content) = (Vec::new(), "[Service]\n".to_owned());
    for name in NAMES {
        let (ours, theirs) = (value(here, name), value(daemon, name));
        if ours != theirs {
            let shown =
                |value: Option<&String>| value.map_or("nothing".to_owned(), |text| blotted(text));
            let both = (shown(ours.as_ref()), shown(theirs.as_ref()));
            words.push(format!("{name} is {} here and {} there", both.0, both.1));
        }
        if let Some(ours) = ours {
            content.push_str(&format!("Environment=\"{name}={}\"\n", blotted(&ours)));
        }
    }
    if words.is_empty() {
        return None;
    }
    let what = format!("this shell and containerd have other proxies: {}", words.join("; "));
    let why =
        "what pullctl reaches from here the kubelet's pulls may not reach, and the other way round";
    let edit = Edit::Write { file: PathBuf::from(DROP_IN), content };
    let fix = Fix::edit(edit).then("systemctl daemon-reload").then(restart);
    let fix = fix.saying("give the daemon this shell's, if those are right");
    Some(Finding::warning("proxies-differ", what, why).fixed_by(fix))
}

/// A proxy's URL without the login in it.
fn blotted(url: &str) -> String {
    let Some((before, rest)) = url.split_once("://") else {
        return url.rsplit_once('@').map_or(url.to_owned(), |(_, host)| format!("…@{host}"));
    };
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{before}://…@{host}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_proxies_are_told_without_their_logins() {
        let variables = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let here = variables(&[("https_proxy", "http://me:hunter2@proxy:3128"), ("NO_PROXY", "a")]);
        assert!(differing(&here, &here, "restart").is_none());
        assert!(differing(&variables(&[("HTTPS_PROXY", "")]), &variables(&[]), "").is_none());
        let found = differing(&here, &variables(&[("NO_PROXY", "a")]), "restart").unwrap();
        assert!(found.what.contains("HTTPS_PROXY is http://…@proxy:3128 here and nothing there"));
        assert!(!format!("{found}").contains("hunter2"), "{found}");
        assert_eq!(found.fix.commands, ["systemctl daemon-reload", "restart"]);
        assert_eq!(blotted("me:hunter2@proxy:3128"), "…@proxy:3128");
    }
}
