//! What a pull would do, as a document: its members are the JSON, its `Display` is for people.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::{Error, probed};
use crate::config::{Capabilities, Login, RegistryHost, Source};
use crate::failure::{Diagnose as _, Diagnostic, Failure, Notice};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::registry::{self, Probe, ProxyChoice};

/// Stands for a header's value that may be a secret.
const BLOTTED: &str = "…";

/// Parts of header names by which their values may be secrets, in lower case.
const SECRET_HEADERS: [&str; 8] =
    ["auth", "cookie", "credential", "key", "pass", "secret", "session", "token"];

/// What a pull would do.
#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    reference: ReferenceParts,
    platform: String,
    hosts: Vec<HostExplanation>,
    containerd: Option<Containerd>,
    warnings: Vec<Notice>,
    /// What was found, where the hosts were asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<Probe>,
}

#[derive(Debug, Serialize)]
struct ReferenceParts {
    input: String,
    name: String,
    domain: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// One host, as it would be asked.
#[derive(Debug, Serialize)]
pub(super) struct HostExplanation {
    url: String,
    capabilities: Vec<&'static str>,
    ca: Vec<PathBuf>,
    client: Vec<[PathBuf; 2]>,
    skip_verify: bool,
    headers: BTreeMap<String, Vec<String>>,
    override_path: bool,
    dial_timeout_ms: Option<u128>,
    http_fallback: bool,
    ns: Option<String>,
    /// What it is asked for, where that is another repository than the reference names.
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<String>,
    /// The proxy by which it is reached, and the variable that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<ProxyExplanation>,
    source: String,
    credentials: Option<LoginExplanation>,
    /// The logins that take its place, in this order, where it is refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    other_credentials: Vec<LoginExplanation>,
    /// Whether a pull asks it at all.
    #[serde(skip)]
    may_pull: bool,
}

#[derive(Debug, Serialize)]
struct ProxyExplanation {
    url: String,
    variable: String,
}

#[derive(Debug, Serialize)]
struct LoginExplanation {
    source: String,
    username: Option<String>,
}

/// The daemon that the image would go into.
#[derive(Debug, Serialize)]
pub(super) struct Containerd {
    pub(super) address: String,
    pub(super) namespace: String,
    pub(super) snapshotter: String,
    pub(super) sandbox_image: Option<String>,
}

impl Explanation {
    /// Puts it together.
    pub(super) fn new(
        input: &str,
        reference: &Reference,
        platform: &Platform,
        hosts: Vec<HostExplanation>,
        containerd: Option<Containerd>,
        warnings: Vec<Notice>,
    ) -> Self {
        let reference = ReferenceParts {
            input: input.to_owned(),
            name: reference.name(),
            domain: reference.domain().to_owned(),
            repository: reference.path().to_owned(),
            tag: reference.tag().map(str::to_owned),
            digest: reference.digest().map(|digest| digest.to_string()),
        };
        Self { reference, platform: platform.to_string(), hosts, containerd, warnings, probe: None }
    }

    /// The same with what was found at the hosts that may be pulled from.
    pub(super) fn with_probe(self, probe: Option<Probe>) -> Self {
        Self { probe, ..self }
    }

    /// What kind of failure a pull would end with, as far as was looked.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.probe.as_ref()?.verdict.failure
    }
}

impl HostExplanation {
    /// Describes `host`, reached by `proxy`, where `logins` would be tried. No secret gets in.
    pub(super) fn of(
        host: &RegistryHost,
        reference: &Reference,
        proxy: Option<ProxyChoice>,
        logins: Vec<Login>,
    ) -> Self {
        let mut logins = logins.into_iter().map(LoginExplanation::from);
        let mut headers = BTreeMap::<String, Vec<String>>::new();
        for (name, values) in host.common_headers.iter().chain(&host.headers) {
            headers.entry(name.clone()).or_default().extend(shown(name, values));
        }
        Self {
            url: format!("{}://{}{}", host.scheme, host.authority, host.path),
            capabilities: names(host.capabilities),
            ca: host.ca.clone(),
            client: host
                .client
                .iter()
                .map(|pair| [pair.cert.clone(), pair.key.clone().unwrap_or_default()])
                .collect(),
            skip_verify: host.skip_verify,
            headers,
            override_path: host.override_path,
            dial_timeout_ms: host.dial_timeout.map(|timeout| timeout.as_millis()),
            http_fallback: host.http_fallback,
            ns: host.ns.clone(),
            repository: Some(host.path_of(reference)).filter(|path| path != reference.path()),
            proxy: proxy.map(|ProxyChoice { url, variable }| ProxyExplanation { url, variable }),
            source: match &host.source {
                Source::File(path, line) => format!("{}:{line}", path.display()),
                Source::Default => "default".to_owned(),
            },
            credentials: logins.next(),
            other_credentials: logins.collect(),
            may_pull: host.capabilities.pull,
        }
    }

    /// What differs from the ordinary, a name and a text a line.
    fn details(&self) -> Vec<(&'static str, String)> {
        let mut details = vec![("from", self.source.clone())];
        if !self.may_pull {
            details.push(("asked", "never: it lacks the capability pull".to_owned()));
        } else if !self.capabilities.contains(&"resolve") {
            details.push(("asked", "for digests only: it lacks the capability resolve".to_owned()));
        }
        details.extend(
            self.proxy
                .iter()
                .map(|proxy| ("proxy", format!("{}, from ${}", proxy.url, proxy.variable))),
        );
        details.extend(self.repository.iter().map(|path| ("for", path.clone())));
        let login = self.credentials.as_ref().map(ToString::to_string);
        details.push(("login", login.unwrap_or_else(|| "none".to_owned())));
        details.extend(self.other_credentials.iter().map(|it| ("then", it.to_string())));
        details.extend(self.ca.iter().map(|ca| ("ca", ca.display().to_string())));
        details.extend(self.client.iter().map(|[cert, key]| {
            ("client", format!("{} {}", cert.display(), key.display()).trim_end().to_owned())
        }));
        if self.skip_verify && self.url.starts_with("https") {
            details.push(("tls", "the certificate is not verified".to_owned()));
        }
        if self.http_fallback {
            details.push(("http", "if it speaks no https".to_owned()));
        }
        for (name, values) in &self.headers {
            details.push(("header", format!("{name}: {}", values.join(", "))));
        }
        details.extend(self.dial_timeout_ms.map(|timeout| ("dial", format!("{timeout} ms"))));
        details.extend(self.ns.iter().map(|ns| ("ns", ns.clone())));
        details
    }
}

impl From<Login> for LoginExplanation {
    fn from(login: Login) -> Self {
        let username = login.credential.username().map(str::to_owned);
        Self { username, source: login.source }
    }
}

impl fmt::Display for LoginExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.username {
            Some(username) => write!(f, "{username}, from {}", self.source),
            None => write!(f, "a token from {}", self.source),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ReferenceParts { name, tag, digest, .. } = &self.reference;
        let tag = tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
        writeln!(f, "{name}{tag}{digest} for {}", self.platform)?;
        let mut probed = self.probe.iter().flat_map(|probe| &probe.hosts);
        for (index, host) in self.hosts.iter().enumerate() {
            writeln!(f, "\n{}. {}", index + 1, host.url)?;
            for (label, text) in host.details() {
                writeln!(f, "   {label:<8}{text}")?;
            }
            if let Some(report) = host.may_pull.then(|| probed.next()).flatten() {
                probed::write_host(f, report)?;
            }
        }
        match &self.containerd {
            Some(containerd) => {
                writeln!(f, "\ncontainerd at {}", containerd.address)?;
                writeln!(f, "   {:<12}{}", "namespace", containerd.namespace)?;
                write!(f, "   {:<12}{}", "snapshotter", containerd.snapshotter)?;
                if let Some(image) = &containerd.sandbox_image {
                    write!(f, "\n   {:<12}{image}", "sandbox")?;
                }
            }
            None => write!(f, "\nno containerd answers")?,
        }
        for warning in &self.warnings {
            write!(f, "\n\nwarning: {warning}")?;
            if let Some(hint) = &warning.hint {
                write!(f, "\n  {hint}")?;
            }
        }
        if let Some(probe) = &self.probe {
            writeln!(f)?;
            probed::write_verdict(f, &probe.verdict)?;
        }
        Ok(())
    }
}

/// What would stop a pull, in place of what it would do.
#[derive(Debug, Serialize)]
pub(super) struct Refusal {
    error: RefusalBody,
}

#[derive(Debug, Serialize)]
struct RefusalBody {
    code: &'static str,
    message: String,
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
}

impl Refusal {
    pub(super) fn of(error: &Error) -> Self {
        let place = match error {
            Error::Config(error) => {
                error.location().map(|location| (location.path.clone(), location.line))
            }
            Error::Registry(registry::Error::Setup {
                settings: Source::File(path, line), ..
            }) => Some((path.clone(), *line)),
            _ => None,
        };
        let (file, line) = place.unzip();
        let diagnostic = Diagnostic::of(error);
        Self {
            error: RefusalBody {
                code: error.failure().code(),
                message: diagnostic.one_line(),
                hint: diagnostic.hint().map(str::to_owned),
                file,
                line,
            },
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error.message)
    }
}

fn names(capabilities: Capabilities) -> Vec<&'static str> {
    let Capabilities { pull, resolve, push, referrers } = capabilities;
    [(pull, "pull"), (resolve, "resolve"), (push, "push"), (referrers, "referrers")]
        .into_iter()
        .filter_map(|(has, name)| has.then_some(name))
        .collect()
}

/// The values of header `name`, unless they may be secrets.
fn shown(name: &str, values: &[String]) -> Vec<String> {
    let lower = name.to_ascii_lowercase();
    if SECRET_HEADERS.iter().any(|part| lower.contains(part)) {
        return values.iter().map(|_| BLOTTED.to_owned()).collect();
    }
    values.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_headers_value_is_shown_unless_it_may_be_a_secret() {
        let value = ["hunter2".to_owned()];
        for (name, is_shown) in [
            ("x-name", true),
            ("X-Dragonfly-Registry", true),
            ("Authorization", false),
            ("X-Api-Key", false),
            ("PRIVATE-TOKEN", false),
            ("Cookie", false),
            ("x-node-pass", false),
        ] {
            assert_eq!(shown(name, &value) == value, is_shown, "{name}");
        }
    }
}
