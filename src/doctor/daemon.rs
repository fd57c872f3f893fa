//! Sockets and who answers at them, versions, the CRI, plugins that did not start.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::timeout;

use super::finding::{Edit, Finding, Fix};
use super::node::Node;
use crate::containerd::{Client, Plugin, usual_addresses};
use crate::failure::{Diagnose as _, Diagnostic};

/// Longest wait for another program.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(5);

/// Releases of containerd that lose whiteouts when they unpack in parallel, containerd#13030.
const LOSES_WHITEOUTS: [&str; 3] = ["2.2.0", "2.2.1", "2.2.2"];

pub(super) async fn findings(node: &Node) -> Vec<Finding> {
    let client = match &node.daemon {
        Ok(client) => client,
        Err(error) => {
            let diagnostic = Diagnostic::of(error);
            let hint = error.hint().unwrap_or_else(|| "systemctl status containerd".to_owned());
            let why = "without containerd nothing is pulled, and no pod runs";
            return vec![
                Finding::error("no-daemon", diagnostic.one_line(), why).fixed_by(Fix::text(hint)),
            ];
        }
    };
    let mut found = other_daemons(client).await;
    found.extend(node.version.as_deref().and_then(loses_whiteouts));
    found.extend(cri(node));
    found.extend(snapshotter(node).await);
    found.extend(runc(node).await);
    found
}

async fn other_daemons(client: &Client) -> Vec<Finding> {
    let mut found = Vec::new();
    let same = |path: &Path| {
        path.canonicalize()
            .ok()
            .is_some_and(|path| client.address().canonicalize().is_ok_and(|own| own == path))
    };
    for address in usual_addresses().filter(|address| address.exists() && !same(address)) {
        let Ok(other) = Client::connect(address, client.namespace()).await else { continue };
        let version = other.version().await.unwrap_or_default();
        let what = format!(
            "another containerd {version} answers at {}, beside the one at {}",
            address.display(),
            client.address().display()
        );
        let why = "only one of them is the kubelet's; images in the other are not seen";
        let fix = format!("name the kubelet's with -a {}, if it is that one", address.display());
        found.push(Finding::note("several-daemons", what, why).fixed_by(Fix::text(fix)));
    }
    found
}

fn loses_whiteouts(version: &str) -> Option<Finding> {
    let number = version.trim_start_matches('v');
    let number = number.split(['~', '-', '+']).next().unwrap_or(number);
    LOSES_WHITEOUTS.contains(&number).then(|| {
        let why = "removed files come back in images that it unpacks in parallel: what runs is not what was built";
        Finding::error("whiteouts-lost", format!("containerd {number} loses whiteouts"), why).fixed_by(
            Fix::text("update containerd to 2.2.3 or later, then mend what is there")
                .then("pullctl check --deep --repair"),
        )
    })
}

fn is_cri(plugin: &Plugin) -> bool {
    let kind = plugin.kind.as_str();
    (kind == "io.containerd.grpc.v1" && plugin.id == "cri") || kind == "io.containerd.cri.v1"
}

/// That the daemon has no CRI, and why.
fn cri(node: &Node) -> Option<Finding> {
    if node.cri.is_some() {
        return None;
    }
    let why = "the kubelet can't use this node: it talks to the CRI plugin alone";
    let disabled = node.settings.as_ref().and_then(|settings| {
        settings
            .lists("disabled_plugins")
            .find(|(_, values)| values.iter().any(|value| value == "cri" || value.contains(".cri")))
    });
    if let Some((setting, values)) = disabled {
        let left: Vec<String> = values
            .iter()
            .filter(|value| *value != "cri" && !value.contains(".cri"))
            .map(|value| format!("{value:?}"))
            .collect();
        let content = format!("disabled_plugins = [{}]", left.join(", "));
        let edit = Edit::Replace { file: setting.file.clone(), line: setting.line, content };
        let what = "the CRI plugin is switched off (`disabled_plugins`)";
        return Some(
            Finding::error("cri-disabled", what, why)
                .at(&setting.file, setting.line)
                .fixed_by(Fix::edit(edit).then(node.restart())),
        );
    }
    let failed = node.plugins.iter().find(|plugin| is_cri(plugin) && plugin.failure.is_some());
    let reason = failed.and_then(|plugin| plugin.failure.clone());
    let what = match &reason {
        Some(reason) => format!("the CRI plugin did not start: {reason}"),
        None => "the daemon has no CRI plugin".to_owned(),
    };
    let fix = match super::settings::exclusive(node) {
        Some(fix) => fix,
        None => Fix::text("see what containerd says about it").then("journalctl -u containerd -b"),
    };
    Some(Finding::error("cri-failed", what, why).fixed_by(fix))
}

/// The snapshotter of the CRI's images, by what it says, or by the configuration where it did not start
/// because of it.
async fn snapshotter(node: &Node) -> Option<Finding> {
    let told = node.cri.as_ref().and_then(|cri| cri.snapshotter.clone());
    let configured = || {
        let settings = node.settings.as_ref()?;
        let of = |table: &str| settings.find(&[table, "snapshotter"]);
        of("containerd").or_else(|| of("io.containerd.cri.v1.images"))?.text().map(str::to_owned)
    };
    let name = told.or_else(configured)?;
    let why = "images are unpacked into it, and containers start from it";
    let is_snapshotter = |plugin: &Plugin| plugin.kind.starts_with("io.containerd.snapshotter");
    let Some(plugin) = node.plugins.iter().find(|it| is_snapshotter(it) && it.id == name) else {
        let what = format!("the CRI's snapshotter {name} is not there");
        let works = |it: &&Plugin| is_snapshotter(it) && it.failure.is_none();
        let others: Vec<&str> =
            node.plugins.iter().filter(works).map(|plugin| plugin.id.as_str()).collect();
        let fix = Fix::text(format!(
            "name one of {} as `snapshotter`, or {name} under [proxy_plugins]",
            others.join(", ")
        ));
        let fix = fix.then(node.restart());
        return Some(Finding::error("snapshotter-missing", what, why).fixed_by(fix));
    };
    // One outside of the daemon is always there, and answers or not.
    let reason = match &plugin.failure {
        Some(reason) => format!("did not start: {reason}"),
        None => {
            let address = ["proxy_plugins", &name, "address"];
            let address = node.settings.as_ref()?.find(&address)?.text()?;
            let error = UnixStream::connect(address).await.err()?;
            format!("does not answer at {address}: {error}")
        }
    };
    let fix = Fix::text("start its service, or see what containerd says about it")
        .then("journalctl -u containerd -b");
    let what = format!("the snapshotter {name} {reason}");
    Some(Finding::error("snapshotter-failed", what, why).fixed_by(fix))
}

/// The first line of `runc --version`, on the daemon's own path.
pub async fn runc_version(node: &Node) -> Option<String> {
    let mut command = Command::new("runc");
    let environment = node.process.as_ref().and_then(|process| process.environment.as_ref());
    if let Some(path) = environment.and_then(|variables| variables.get("PATH")) {
        command.env("PATH", path);
        let found =
            path.split(':').map(|folder| Path::new(folder).join("runc")).find(|path| path.exists());
        command = Command::new(found?);
    }
    command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PROGRAM_TIMEOUT, command.output()).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(|line| line.chars().take(100).collect())
}

async fn runc(node: &Node) -> Option<Finding> {
    node.process.as_ref()?;
    if runc_version(node).await.is_some() {
        return None;
    }
    let why = "containers are started by it";
    let fix = Fix::text("install it where the daemon's PATH leads").then("apt-get install runc");
    Some(
        Finding::error("no-runc", "the daemon finds no runc that works on its PATH", why)
            .fixed_by(fix),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_releases_that_lose_whiteouts_are_known_however_they_are_written() {
        for (version, loses) in [
            ("v2.2.0", true),
            ("2.2.2~ds1", true),
            ("v2.2.1-rc.1", true),
            ("v2.2.3", false),
            ("v2.2.10", false),
            ("1.7.24~ds1", false),
        ] {
            let code = loses_whiteouts(version).map(|finding| finding.code);
            assert_eq!(code, loses.then_some("whiteouts-lost"), "{version}");
        }
    }
}
