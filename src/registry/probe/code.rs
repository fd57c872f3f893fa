//! The stable names of faults, for scripts. They are added to, never renamed.

use crate::registry::fault::{Fault, TlsFault};

/// The name of `fault`.
pub(super) fn of(fault: &Fault) -> &'static str {
    match fault {
        Fault::NotFound { .. } => "not-found",
        Fault::Unauthorized { with_login: false, .. } => "login-required",
        Fault::Unauthorized { with_login: true, .. } => "login-refused",
        Fault::Denied { .. } => "access-denied",
        Fault::Page { .. } | Fault::Html => "web-page",
        Fault::RateLimited { .. } => "rate-limited",
        Fault::Status { .. } => "status",
        Fault::NameNotFound { temporary: false, .. } => "name-not-found",
        Fault::NameNotFound { temporary: true, .. } => "name-server-silent",
        Fault::Refused => "connection-refused",
        Fault::Connect(_) => "connection-failed",
        Fault::ConnectTimeout(_) => "connection-timeout",
        Fault::Proxy { .. } => "proxy-failed",
        Fault::Tls(fault) => of_tls(fault),
        Fault::Broken(_) => "connection-broke",
        Fault::Truncated => "body-cut",
        Fault::Stalled { .. } => "stalled",
        Fault::Deadline { .. } => "deadline",
        Fault::TooSlow { .. } => "too-slow",
        Fault::Redirected { fault, .. } => of(fault),
        Fault::RedirectLoop(_) | Fault::BadRedirect => "bad-redirect",
        Fault::Token { fault, .. } => match of(fault) {
            "login-required" | "login-refused" | "access-denied" => "login-refused",
            "not-found" => "token-endpoint-not-found",
            code => code,
        },
        Fault::Challenge(_) => "unusable-challenge",
        Fault::NoManifest(_) => "no-manifest",
        Fault::SizeMismatch { .. } | Fault::Excess { .. } | Fault::DigestMismatch { .. } => {
            "wrong-content"
        }
        Fault::WrongRange(_) => "wrong-range",
        Fault::Malformed(_) => "malformed-answer",
        Fault::TooLarge { .. } => "too-large",
        Fault::Upload(_) | Fault::Spent => "upload",
        Fault::Distrusted => "distrusted",
    }
}

fn of_tls(fault: &TlsFault) -> &'static str {
    match fault {
        TlsFault::Expired => "certificate-expired",
        TlsFault::NotYetValid => "certificate-not-yet-valid",
        TlsFault::UnknownIssuer => "unknown-authority",
        TlsFault::WrongName { .. } => "wrong-name",
        TlsFault::NoNames => "certificate-without-names",
        TlsFault::Outdated(_) => "tls-outdated",
        TlsFault::PlainHttp => "plain-http",
        TlsFault::ClientCertificate(_) => "client-certificate-refused",
        TlsFault::Other(_) => "tls-failed",
    }
}
