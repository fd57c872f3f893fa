//! Reading faults off the HTTP client's errors, whose kinds are buried in their chain of causes.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use crate::registry::fault::{Fault, TlsFault};

impl Fault {
    /// Reads the kind of fault off an error of the HTTP client; the error's URL is dropped, since it
    /// may carry a signature.
    pub(crate) fn from_client(error: &reqwest::Error, dial_timeout: Duration) -> Self {
        let chain = || std::iter::successors(Some(error as &dyn StdError), |error| deeper(*error));
        if let Some(fault) = chain().find_map(|cause| cause.downcast_ref().map(TlsFault::read)) {
            return Self::Tls(fault);
        }
        let deepest = chain().last().map(ToString::to_string).unwrap_or_default();
        if let Some(reason) = deepest.strip_prefix("failed to lookup address information: ") {
            let temporary = reason.contains("emporary");
            return Self::NameNotFound { reason: reason.to_owned(), temporary };
        }
        let kinds =
            || chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
        if kinds().any(|kind| kind == io::ErrorKind::ConnectionRefused) {
            Self::Refused
        } else if error.is_connect() && error.is_timeout() {
            Self::ConnectTimeout(dial_timeout)
        } else if kinds().any(|kind| kind == io::ErrorKind::ConnectionReset) {
            Self::Broken("reset by the host".to_owned())
        } else if error.is_connect() {
            Self::Connect(deepest)
        } else if kinds().any(|kind| kind == io::ErrorKind::UnexpectedEof) {
            Self::Truncated
        } else {
            Self::Broken(deepest)
        }
    }
}

/// The next error down the chain. An `io::Error` is transparent for its payload: its `source` skips
/// the payload itself, which is where rustls' error is.
fn deeper<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(payload) => Some(payload),
        None => error.source(),
    }
}

impl TlsFault {
    fn read(error: &rustls::Error) -> Self {
        use rustls::{AlertDescription, CertificateError as Certificate, Error};
        match error {
            Error::InvalidCertificate(certificate) => match certificate {
                Certificate::Expired | Certificate::ExpiredContext { .. } => Self::Expired,
                Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                    Self::NotYetValid
                }
                Certificate::UnknownIssuer | Certificate::BadSignature => Self::UnknownIssuer,
                Certificate::NotValidForName => Self::WrongName { presented: Vec::new() },
                Certificate::NotValidForNameContext { presented, .. } => Self::WrongName {
                    presented: presented.iter().map(|name| alternative_name(name)).collect(),
                },
                other => Self::Other(other.to_string()),
            },
            Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => Self::PlainHttp,
            Error::AlertReceived(
                alert @ (AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA),
            ) => Self::ClientCertificate(format!("{alert:?}")),
            other => Self::Other(other.to_string()),
        }
    }
}

/// rustls prints subject alternative names as `DnsName("a.example")` and `IpAddress(10.0.0.1)`.
fn alternative_name(printed: &str) -> String {
    let inner = printed.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(printed).trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_a_certificate_are_told_as_people_write_them() {
        for (printed, name) in [
            ("DnsName(\"a.example\")", "a.example"),
            ("IpAddress(10.0.0.1)", "10.0.0.1"),
            ("IpAddress(fd00::1)", "fd00::1"),
            ("a.example", "a.example"),
        ] {
            assert_eq!(alternative_name(printed), name);
        }
    }
}
