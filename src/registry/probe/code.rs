//! The stable names of faults, for scripts. They are added to, never renamed.

use crate::registry::fault::{Fault, TlsFault};

/// The name of what has none of its own.
pub(super) const UNNAMED: &str = "failed";

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
        // A probe has no time limit for all of it, measures no speed, sends nothing, and asks each host
        // whatever it gave before.
        Fault::Deadline { .. }
        | Fault::TooSlow { .. }
        | Fault::Upload(_)
        | Fault::Spent
        | Fault::Distrusted => UNNAMED,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_fault_that_no_probe_meets_has_no_name_of_its_own() {
        let limit = Duration::from_secs(1);
        for fault in [
            Fault::Deadline { limit, after: None },
            Fault::TooSlow { bytes_per_second: 1, minimum: 2 },
            Fault::Spent,
            Fault::Distrusted,
        ] {
            assert_eq!(of(&fault), "failed", "{fault}");
        }
    }
}
