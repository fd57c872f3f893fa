//! Reading faults off the HTTP client's errors, whose kinds are buried in their chain of causes.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use crate::registry::fault::{Fault, TlsFault};

impl Fault {
    /// Reads the kind of fault off an error of the HTTP client; the error's URL is dropped, since it
    /// may carry a signature. Whether the host `has_shown` its certificate decides what an alert is about.
    pub(crate) fn from_client(
        error: &reqwest::Error,
        dial_timeout: Duration,
        has_shown: bool,
    ) -> Self {
        let chain = || std::iter::successors(Some(error as &dyn StdError), |error| deeper(*error));
        if let Some(error) = chain().find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
            return Self::Tls(TlsFault::read(error, has_shown));
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
    /// Reads the kind of fault off an error of TLS with a host that `has_shown` its certificate, or not.
    pub(crate) fn read(error: &rustls::Error, has_shown: bool) -> Self {
        use rustls::{AlertDescription, CertificateError as Certificate, Error};
        match error {
            Error::InvalidCertificate(certificate) => match certificate {
                Certificate::Expired | Certificate::ExpiredContext { .. } => Self::Expired,
                Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                    Self::NotYetValid
                }
                Certificate::UnknownIssuer | Certificate::BadSignature => Self::UnknownIssuer,
                Certificate::NotValidForName => Self::WrongName { presented: Vec::new() },
                Certificate::NotValidForNameContext { presented, .. } if presented.is_empty() => {
                    Self::NoNames
                }
                Certificate::NotValidForNameContext { presented, .. } => Self::WrongName {
                    presented: presented.iter().map(|name| alternative_name(name)).collect(),
                },
                other => Self::Other(certificate_words(other)),
            },
            Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => Self::PlainHttp,
            // Who shows a certificate has chosen a version and a cipher. What OpenSSL does not get of a
            // client of TLS 1.2 after that is a certificate, for which there was no alert before TLS 1.3.
            Error::AlertReceived(alert @ AlertDescription::HandshakeFailure) if has_shown => {
                Self::ClientCertificate(words(&format!("{alert:?}")))
            }
            Error::AlertReceived(
                alert @ (AlertDescription::HandshakeFailure
                | AlertDescription::ProtocolVersion
                | AlertDescription::InsufficientSecurity),
            ) => Self::Outdated(words(&format!("{alert:?}"))),
            Error::PeerIncompatible(reason) => Self::Outdated(words(&format!("{reason:?}"))),
            Error::AlertReceived(
                alert @ (AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                // Of an authority that was made anew under its old name.
                | AlertDescription::DecryptError
                | AlertDescription::AccessDenied),
            ) => Self::ClientCertificate(words(&format!("{alert:?}"))),
            other => Self::Other(other.to_string()),
        }
    }
}

/// What is wrong with a certificate, for people: rustls prints its own types.
fn certificate_words(error: &rustls::CertificateError) -> String {
    use rustls::CertificateError as Certificate;
    let known = match error {
        Certificate::BadEncoding => "it is malformed",
        Certificate::Revoked => "it is revoked",
        Certificate::InvalidPurpose | Certificate::InvalidPurposeContext { .. } => {
            "it is not for servers"
        }
        Certificate::UnhandledCriticalExtension => "it has a critical extension that nobody knows",
        Certificate::UnsupportedSignatureAlgorithmContext { .. }
        | Certificate::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "its signature is of a kind that is not safe, or not known"
        }
        Certificate::Other(other) => {
            let reason = other.0.downcast_ref().map(|error: &webpki::Error| format!("{error:?}"));
            return format!("certificate refused: {}", words(&reason.unwrap_or(other.to_string())));
        }
        other => return format!("certificate refused: {}", words(&format!("{other:?}"))),
    };
    format!("certificate refused: {known}")
}

/// `HandshakeFailure`, as types are called, in words: `handshake failure`.
fn words(name: &str) -> String {
    let mut words = String::new();
    let mut after_lower = false;
    for character in name.chars() {
        if character.is_uppercase() && after_lower {
            words.push(' ');
        }
        after_lower = character.is_lowercase() || character.is_ascii_digit();
        words.extend(character.to_lowercase());
    }
    words
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
    fn names_of_types_are_put_into_words() {
        for (name, expected) in [
            ("HandshakeFailure", "handshake failure"),
            ("UnknownCA", "unknown ca"),
            ("ServerDoesNotSupportTls12Or13", "server does not support tls12 or13"),
            ("", ""),
        ] {
            assert_eq!(words(name), expected);
        }
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_said_without_the_names_of_types() {
        use rustls::CertificateError as Certificate;
        let version = webpki::Error::UnsupportedCertVersion;
        let version = rustls::OtherError(std::sync::Arc::new(version));
        for (error, expected) in [
            (Certificate::BadEncoding, "certificate refused: it is malformed"),
            (Certificate::Other(version), "certificate refused: unsupported cert version"),
            (
                Certificate::UnknownRevocationStatus,
                "certificate refused: unknown revocation status",
            ),
        ] {
            let read = TlsFault::read(&rustls::Error::InvalidCertificate(error), true);
            assert_eq!(read, TlsFault::Other(expected.to_owned()));
        }
    }

    #[test]
    fn an_alert_is_about_the_client_once_the_host_has_shown_its_certificate() {
        use rustls::AlertDescription as Alert;
        let read =
            |alert, has_shown| TlsFault::read(&rustls::Error::AlertReceived(alert), has_shown);
        for (alert, words, is_always_about_the_host) in [
            (Alert::HandshakeFailure, "handshake failure", false),
            (Alert::ProtocolVersion, "protocol version", true),
            (Alert::InsufficientSecurity, "insufficient security", true),
        ] {
            assert_eq!(read(alert, false), TlsFault::Outdated(words.to_owned()));
            let later = if is_always_about_the_host {
                TlsFault::Outdated(words.to_owned())
            } else {
                TlsFault::ClientCertificate(words.to_owned())
            };
            assert_eq!(read(alert, true), later);
        }
        let wanted = TlsFault::ClientCertificate("certificate required".to_owned());
        assert_eq!(read(Alert::CertificateRequired, false), wanted);
    }

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
