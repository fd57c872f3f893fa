//! What an admin can do about a fault: the sentence after "hint:". Every fault has one.

use std::time::Duration;

use http::StatusCode;

use crate::registry::fault::{Fault, TlsFault};
use crate::registry::place::SettingsPlace;

impl Fault {
    /// What an admin can do about it, at `host`, whose settings have their `place`.
    pub(crate) fn hint(&self, host: &str, place: &SettingsPlace) -> String {
        match self {
            Self::NotFound { .. } => check_name(),
            Self::Unauthorized { with_login, .. } => log_in_rightly(host, *with_login),
            Self::Denied { with_login, .. } => get_the_right(host, *with_login),
            Self::RateLimited { retry_after, .. } => slow_down(*retry_after),
            Self::NameNotFound { .. } => check_spelling(host),
            Self::Refused | Self::Connect(_) | Self::ConnectTimeout(_) => check_network(host),
            Self::Proxy { proxy, .. } => check_proxy(proxy, host),
            Self::Tls(fault) => fault.hint(host, place),
            Self::Token { realm, fault } => behind_token_endpoint(fault, host, realm, place),
            Self::Redirected { target, fault } => behind_redirect(fault, host, target, place),
            Self::RedirectLoop(_) | Self::BadRedirect => ask_for_content(host),
            Self::Html | Self::Page { .. } | Self::NoManifest(_) => check_for_portal(host),
            Self::Truncated | Self::Broken(_) => go_on(host, place),
            Self::TooSlow { .. } => "lower --min-speed, or use a mirror".to_owned(),
            Self::Status { status, reason, .. } => {
                ask_for_reason(*status, reason.as_deref(), host, place)
            }
            Self::Stalled { .. } => "raise --stall-timeout on a very slow network".to_owned(),
            Self::Deadline { .. } => {
                "raise --timeout; what was fetched is kept for the next run".to_owned()
            }
            Self::SizeMismatch { .. }
            | Self::Excess { .. }
            | Self::DigestMismatch { .. }
            | Self::WrongRange(_) => purge_cache(host),
            Self::TooLarge { .. } => check_for_registry(host),
            Self::Malformed(_) => check_for_changes(host),
            Self::Challenge(_) => ask_for_logins(host),
            Self::Distrusted => find_changes(host),
            Self::Upload(fault) => fault.hint(host),
            Self::Spent => format!("{host} sends uploads elsewhere: ask its operator where to"),
        }
    }

    /// The same of what a manifest that `host` gave says that there is: its name is right, and so is who
    /// asks.
    pub(crate) fn hint_within(&self, host: &str, place: &SettingsPlace) -> String {
        match self {
            Self::NotFound { .. } => format!(
                "{host} has the image's manifest and not all of its content: push the image again, or use a mirror that has it"
            ),
            _ => self.hint(host, place),
        }
    }

    /// Whether it is about who asks, or what for, rather than about who answers.
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Unauthorized { .. } | Self::Denied { .. })
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
            Self::PlainHttp => place.of_plain_http(host),
            Self::ClientCertificate(_) => {
                format!("put a client certificate that {host} takes into {}", place.of_client(host))
            }
            Self::Other(_) => {
                format!(
                    "check that {host} speaks TLS 1.2 or 1.3 and that its certificates are valid"
                )
            }
        }
    }
}

/// At the endpoint `realm` of `host`. Logins are kept for the registry, whoever hands out its tokens.
fn behind_token_endpoint(fault: &Fault, host: &str, realm: &str, place: &SettingsPlace) -> String {
    let whose = if fault.is_refusal() { host } else { realm };
    fault.hint(whose, place)
}

/// At `target`, to which `host` has sent us. A login for it would do no good.
fn behind_redirect(fault: &Fault, host: &str, target: &str, place: &SettingsPlace) -> String {
    if fault.is_refusal() || matches!(fault, Fault::NotFound { .. }) {
        return format!("{host} keeps its content at {target}: ask its operator, or use a mirror");
    }
    fault.hint(target, place)
}

fn check_name() -> String {
    "check the name and the tag; a private repository may answer so without a login".to_owned()
}

fn log_in_rightly(host: &str, with_login: bool) -> String {
    if with_login {
        return format!("check the user name and password for {host}: pullctl login {host}");
    }
    format!(
        "log in with pullctl login {host}, or check the name: many registries answer so for images that do not exist"
    )
}

fn get_the_right(host: &str, with_login: bool) -> String {
    if with_login {
        return format!(
            "the login for {host} may not read this repository: ask its owner for the right to pull, log in as somebody who has it (pullctl login {host}), or check the name"
        );
    }
    format!("log in with pullctl login {host}")
}

fn slow_down(retry_after: Option<Duration>) -> String {
    let when = match retry_after {
        Some(wait) => format!("in {} s", wait.as_secs()),
        None => "later".to_owned(),
    };
    format!("try again {when}, log in for a higher limit, or use a mirror")
}

fn check_spelling(host: &str) -> String {
    let name = crate::reference::split_port(host).0;
    format!(
        "check the spelling of {name} and this machine's DNS, or write its address into /etc/hosts (ADDRESS {name})"
    )
}

fn check_network(host: &str) -> String {
    format!("check that {host} is up and reachable from here, and HTTPS_PROXY if a proxy is needed")
}

fn check_proxy(proxy: &str, host: &str) -> String {
    format!(
        "check that the proxy {proxy} is up and lets {host} through, or name {host} in NO_PROXY"
    )
}

fn ask_for_content(host: &str) -> String {
    format!("ask the operator of {host} where it keeps its content, or use a mirror")
}

fn check_for_portal(host: &str) -> String {
    format!(
        "check that {host} is a registry and that no login portal or proxy answers in its place"
    )
}

fn go_on(host: &str, place: &SettingsPlace) -> String {
    let otherwise = match place.existing() {
        Some(file) => format!("take {host} out of {}", file.display()),
        None => "use a mirror".to_owned(),
    };
    format!(
        "{host}, or a proxy before it, cuts transfers short; run the command again to go on where it stopped, or {otherwise}"
    )
}

fn ask_for_reason(
    status: StatusCode,
    reason: Option<&str>,
    host: &str,
    place: &SettingsPlace,
) -> String {
    // nginx tells so on a page, which the answer to a HEAD does not have.
    let may_want_certificate = status == StatusCode::BAD_REQUEST
        && reason.is_none_or(|words| words.contains("certificate"));
    if status.is_server_error() {
        format!("{host} is in trouble: try again later, or use a mirror")
    } else if may_want_certificate {
        format!("if {host} asks for client certificates, put one into {}", place.of_client(host))
    } else {
        format!("ask the operator of {host} why it refuses, or use a mirror")
    }
}

fn purge_cache(host: &str) -> String {
    format!("{host}, or a proxy before it, serves damaged content; purge its cache or leave it out")
}

fn check_for_registry(host: &str) -> String {
    format!("no image has a document of that size: check the name, and that {host} is a registry")
}

fn check_for_changes(host: &str) -> String {
    format!("check that {host} is a registry and that no proxy before it alters what it answers")
}

fn ask_for_logins(host: &str) -> String {
    format!("{host} must offer Basic or Bearer logins: ask its operator, or use a mirror")
}

fn find_changes(host: &str) -> String {
    format!("find out what alters the content of {host}, or leave it out")
}
