//! What an admin can do about a fault: the sentence after "hint:". Every fault has one.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use http::StatusCode;

use crate::config::{RegistryHost, Source};
use crate::registry::fault::{Fault, TlsFault};

/// Where the settings of a host stand, or would stand. Its token endpoint and what it redirects to
/// are reached by the same ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SettingsPlace {
    /// A `hosts.toml`, which is in the directory of the image's own registry for mirrors too.
    HostsToml(PathBuf),
    /// A directory of certificates, as docker has it.
    Certificates(PathBuf),
    /// containerd's `config.toml`, with its deprecated `mirrors` and `configs`.
    ContainerdConfig(PathBuf),
}

impl SettingsPlace {
    /// That of `host`, from which images of `registry` are pulled.
    pub(crate) fn of(host: &RegistryHost, registry: &str) -> Self {
        let Source::File(file, _) = &host.source else {
            let usual = || Path::new("/etc/containerd/certs.d").join(registry);
            let directory = host.directory.clone().unwrap_or_else(usual);
            return Self::HostsToml(directory.join("hosts.toml"));
        };
        let is_certificate = |extension: &OsStr| extension == "crt" || extension == "cert";
        if file.extension().is_some_and(is_certificate) {
            Self::Certificates(file.parent().unwrap_or(file).to_owned())
        } else if file.file_name() == Some(OsStr::new("hosts.toml")) {
            Self::HostsToml(file.clone())
        } else {
            Self::ContainerdConfig(file.clone())
        }
    }

    /// How the authority that signs for `host` is made known: files of settings take the path of its
    /// certificate, docker's directories the certificate itself.
    fn of_authority(&self, host: &str) -> String {
        let path = "write the path of the authority's file into";
        match self {
            Self::HostsToml(file) => format!("{path} {} (ca = \"…\")", file.display()),
            Self::Certificates(directory) => {
                format!("put the authority's certificate into {} (a *.crt)", directory.display())
            }
            Self::ContainerdConfig(file) => {
                format!("{path} {} (ca_file of registry.configs.\"{host}\".tls)", file.display())
            }
        }
    }

    /// Where to put the certificate that `host` asks clients for.
    fn of_client(&self, host: &str) -> String {
        match self {
            Self::HostsToml(file) => {
                format!("{} (client = [[\"cert\", \"key\"]])", file.display())
            }
            Self::Certificates(directory) => {
                format!("{} (a *.cert and its *.key)", directory.display())
            }
            Self::ContainerdConfig(file) => format!(
                "{} (cert_file and key_file of registry.configs.\"{host}\".tls)",
                file.display()
            ),
        }
    }
}

impl Fault {
    /// What an admin can do about it, at `host`, whose settings have their `place`.
    pub(crate) fn hint(&self, host: &str, place: &SettingsPlace) -> String {
        match self {
            Self::NotFound { .. } => {
                "check the name and the tag; a private repository may answer so without a login"
                    .to_owned()
            }
            Self::Unauthorized { with_login: true, .. } => {
                format!("check the user name and password for {host}: pullctl login {host}")
            }
            Self::Unauthorized { with_login: false, .. } => {
                format!(
                    "log in with pullctl login {host}, or check the name: many registries answer so for images that do not exist"
                )
            }
            Self::Denied { with_login: true, .. } => {
                format!(
                    "the login for {host} may not read this repository: ask its owner for the right to pull, or check the name"
                )
            }
            Self::Denied { with_login: false, .. } => format!("log in with pullctl login {host}"),
            Self::RateLimited { retry_after: Some(wait), .. } => {
                format!(
                    "try again in {} s, log in for a higher limit, or use a mirror",
                    wait.as_secs()
                )
            }
            Self::RateLimited { retry_after: None, .. } => {
                "try again later, log in for a higher limit, or use a mirror".to_owned()
            }
            Self::NameNotFound { .. } => {
                format!("check the spelling of {host} and this machine's DNS")
            }
            Self::Refused | Self::Connect(_) | Self::ConnectTimeout(_) => {
                format!(
                    "check that {host} is up and reachable from here, and HTTPS_PROXY if a proxy is needed"
                )
            }
            Self::Proxy { proxy, .. } => format!(
                "check that the proxy {proxy} is up and lets {host} through, or name {host} in NO_PROXY"
            ),
            Self::Tls(fault) => fault.hint(host, place),
            // Logins are kept for the registry, whoever hands out its tokens.
            Self::Token { fault, .. }
                if matches!(**fault, Self::Unauthorized { .. } | Self::Denied { .. }) =>
            {
                fault.hint(host, place)
            }
            Self::Token { realm, fault } => fault.hint(realm, place),
            // A login for the target would do no good: it was the host that sent us there.
            Self::Redirected { target, fault }
                if matches!(
                    **fault,
                    Self::NotFound { .. } | Self::Unauthorized { .. } | Self::Denied { .. }
                ) =>
            {
                format!("{host} keeps its content at {target}: ask its operator, or use a mirror")
            }
            Self::Redirected { target, fault } => fault.hint(target, place),
            Self::RedirectLoop(_) | Self::BadRedirect => {
                format!("ask the operator of {host} where it keeps its content, or use a mirror")
            }
            Self::Html | Self::Page { .. } | Self::NoManifest(_) => format!(
                "check that {host} is a registry and that no login portal or proxy answers in its place"
            ),
            Self::Truncated | Self::Broken(_) => format!(
                "{host}, or a proxy before it, cuts transfers short; run the command again to go on where it stopped, or use a mirror"
            ),
            Self::TooSlow { .. } => "lower --min-speed, or use a mirror".to_owned(),
            Self::Status { status, .. } if status.is_server_error() => {
                format!("{host} is in trouble: try again later, or use a mirror")
            }
            // nginx tells so on a page, which the answer to a HEAD does not have.
            Self::Status { status: StatusCode::BAD_REQUEST, reason, .. }
                if reason.as_ref().is_none_or(|words| words.contains("certificate")) =>
            {
                format!(
                    "if {host} asks for client certificates, put one into {}",
                    place.of_client(host)
                )
            }
            Self::Status { .. } => {
                format!("ask the operator of {host} why it refuses, or use a mirror")
            }
            Self::Stalled { .. } => "raise --stall-timeout on a very slow network".to_owned(),
            Self::Deadline { .. } => {
                "raise --timeout; what was fetched is kept for the next run".to_owned()
            }
            Self::SizeMismatch { .. }
            | Self::Excess { .. }
            | Self::DigestMismatch { .. }
            | Self::WrongRange(_) => {
                format!(
                    "{host}, or a proxy before it, serves damaged content; purge its cache or leave it out"
                )
            }
            Self::TooLarge { .. } => format!(
                "no image has a document of that size: check the name, and that {host} is a registry"
            ),
            Self::Malformed(_) => format!(
                "check that {host} is a registry and that no proxy before it alters what it answers"
            ),
            Self::Challenge(_) => {
                format!(
                    "{host} must offer Basic or Bearer logins: ask its operator, or use a mirror"
                )
            }
            Self::Distrusted => {
                format!("find out what alters the content of {host}, or leave it out")
            }
        }
    }
}

impl TlsFault {
    fn hint(&self, host: &str, place: &SettingsPlace) -> String {
        match self {
            Self::UnknownIssuer => format!("{}, or try --skip-verify", place.of_authority(host)),
            Self::Expired | Self::NotYetValid => {
                format!(
                    "renew the certificate of {host}, check this machine's clock, or try --skip-verify"
                )
            }
            Self::WrongName { .. } => {
                format!("use a name that is on the certificate of {host}, or try --skip-verify")
            }
            Self::NoNames => format!(
                "issue the certificate of {host} again with subjectAltName = DNS:…, or try --skip-verify"
            ),
            Self::Outdated(_) => format!(
                "update {host}, or put a proxy before it that offers TLS 1.2 with AES-GCM or TLS 1.3; --skip-verify does not help"
            ),
            Self::PlainHttp => format!("{host} speaks plain HTTP: try --plain-http"),
            Self::ClientCertificate(_) => {
                format!("put a client certificate into {}", place.of_client(host))
            }
            Self::Other(_) => {
                format!(
                    "check that {host} speaks TLS 1.2 or 1.3 and that its certificates are valid"
                )
            }
        }
    }
}
