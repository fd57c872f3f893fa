//! What one host did wrong: kinds of fault, which of them a retry may cure, and how they are read
//! off the HTTP client's errors.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use http::StatusCode;

use crate::failure::Failure;
use crate::oci::Digest;

/// What is waited for while a request runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The response's head.
    Response,
    /// The next bytes of its body.
    Body,
}

impl Phase {
    fn awaited(self) -> &'static str {
        match self {
            Self::Response => "response",
            Self::Body => "data",
        }
    }
}

/// Why one host did not give what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// 404.
    #[error("not found{}", because(.reason))]
    NotFound {
        /// The registry's own words.
        reason: Option<String>,
    },
    /// 401 that our credentials, or none, did not satisfy.
    #[error("{}{}", if *.with_login { "login refused" } else { "login required" }, because(.reason))]
    Unauthorized {
        /// Whether a login was sent.
        with_login: bool,
        /// The registry's own words.
        reason: Option<String>,
    },
    /// 403.
    #[error("access denied{}", because(.reason))]
    Denied {
        /// Whether a login was sent.
        with_login: bool,
        /// The registry's own words.
        reason: Option<String>,
    },
    /// 429.
    #[error("too many requests{}", because(.reason))]
    RateLimited {
        /// What `Retry-After` asks for.
        retry_after: Option<Duration>,
        /// The registry's own words.
        reason: Option<String>,
    },
    /// Any other status that is no success.
    #[error("{status}{}", because(.reason))]
    Status {
        /// The status.
        status: StatusCode,
        /// What `Retry-After` asks for.
        retry_after: Option<Duration>,
        /// The registry's own words.
        reason: Option<String>,
    },
    /// The host's name has no address.
    #[error("host name not found: {reason}")]
    NameNotFound {
        /// The system resolver's words.
        reason: String,
        /// Whether the resolver itself failed, which may pass.
        temporary: bool,
    },
    /// Nothing listens there.
    #[error("connection refused")]
    Refused,
    /// No connection for another reason: no route, a proxy that refuses.
    #[error("connection failed: {0}")]
    Connect(String),
    /// No connection in time.
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    /// The connection can't be made secure.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// The connection broke.
    #[error("connection broke: {0}")]
    Broken(String),
    /// The body ended early.
    #[error("response ended before its announced end")]
    Truncated,
    /// No byte for the policy's stall timeout.
    #[error("no {} for {after:?}", .phase.awaited())]
    Stalled {
        /// What was waited for.
        phase: Phase,
        /// How long.
        after: Duration,
    },
    /// The run's time is up.
    #[error("time limit of {limit:?} for the run reached{}", earlier(.after))]
    Deadline {
        /// The limit.
        limit: Duration,
        /// What the host did before.
        after: Option<Box<Fault>>,
    },
    /// Bytes come too slowly.
    #[error("only {bytes_per_second} B/s, less than the {minimum} B/s wanted")]
    TooSlow {
        /// The speed of the last while.
        bytes_per_second: u64,
        /// The policy's.
        minimum: u64,
    },
    /// The host redirects to another one, which failed.
    #[error("redirected to {target}: {fault}")]
    Redirected {
        /// `host[:port]` of the other one.
        target: String,
        /// What it did.
        fault: Box<Fault>,
    },
    /// More redirects than are followed.
    #[error("redirected more than {0} times")]
    RedirectLoop(usize),
    /// A redirect that leads nowhere.
    #[error("redirected to an unusable location")]
    BadRedirect,
    /// The token endpoint that the host names did not give a token.
    #[error("token endpoint {realm}: {fault}")]
    Token {
        /// Host of the token endpoint.
        realm: String,
        /// What it did.
        fault: Box<Fault>,
    },
    /// The host asks for a kind of login that we do not have.
    #[error("unusable login challenge: {0}")]
    Challenge(String),
    /// A web page instead of a registry's answer.
    #[error("a web page instead of a registry's answer")]
    Html,
    /// The content has another length than its descriptor says.
    #[error("content has {actual} bytes where the descriptor says {expected}")]
    SizeMismatch {
        /// The descriptor's size.
        expected: u64,
        /// What the host has.
        actual: u64,
    },
    /// More bytes than promised.
    #[error("more bytes than the {expected} promised")]
    Excess {
        /// What was promised.
        expected: u64,
    },
    /// The content has another digest than asked for.
    #[error("content has the digest {actual} instead of {expected}")]
    DigestMismatch {
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// A partial response that is not the part asked for.
    #[error("answered another range than asked for: {0}")]
    WrongRange(String),
    /// A response that makes no sense where it came.
    #[error("malformed response: {0}")]
    Malformed(String),
    /// A document larger than what is read into memory.
    #[error("{size} bytes, more than the {limit} accepted")]
    TooLarge {
        /// Announced or received size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// Bytes of this host failed verification earlier in this run.
    #[error("left out: content from it failed verification")]
    Distrusted,
}

/// Why a connection can't be made secure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// The certificate is past its time.
    #[error("certificate expired")]
    Expired,
    /// The certificate's time has not come, or this machine's clock is wrong.
    #[error("certificate is not valid yet")]
    NotYetValid,
    /// Nobody whom this machine trusts signed the certificate.
    #[error("certificate signed by an unknown authority")]
    UnknownIssuer,
    /// The certificate is for other names.
    #[error("certificate is not for this name{}", names(.presented))]
    WrongName {
        /// The names on it.
        presented: Vec<String>,
    },
    /// The host speaks plain HTTP.
    #[error("plain HTTP answered where TLS was expected")]
    PlainHttp,
    /// The host wants a client certificate, or another one.
    #[error("client certificate refused: {0}")]
    ClientCertificate(String),
    /// Anything else.
    #[error("TLS failed: {0}")]
    Other(String),
}

fn because(reason: &Option<String>) -> String {
    reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default()
}

fn earlier(after: &Option<Box<Fault>>) -> String {
    after.as_ref().map(|fault| format!(" after: {fault}")).unwrap_or_default()
}

fn names(presented: &[String]) -> String {
    if presented.is_empty() { String::new() } else { format!(" but for {}", presented.join(", ")) }
}

impl Fault {
    /// Whether the same request may succeed later.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::RateLimited { .. }
            | Self::Refused
            | Self::Connect(_)
            | Self::ConnectTimeout(_)
            | Self::Broken(_)
            | Self::Truncated
            | Self::Stalled { .. }
            | Self::TooSlow { .. } => true,
            Self::NameNotFound { temporary, .. } => *temporary,
            Self::Status { status, .. } => {
                *status == StatusCode::REQUEST_TIMEOUT || status.is_server_error()
            }
            Self::Token { fault, .. } | Self::Redirected { fault, .. } => fault.is_retryable(),
            _ => false,
        }
    }

    /// Whether the host could not be reached, or hardly, so that asking it for the next blob is
    /// futile.
    pub(crate) fn is_unreachable(&self) -> bool {
        match self {
            Self::NameNotFound { .. }
            | Self::Refused
            | Self::Connect(_)
            | Self::ConnectTimeout(_)
            | Self::Tls(_)
            | Self::Stalled { .. }
            | Self::TooSlow { .. } => true,
            Self::Redirected { fault, .. } => fault.is_unreachable(),
            _ => false,
        }
    }

    /// How long the host asks to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Status { retry_after, .. } => {
                *retry_after
            }
            Self::Token { fault, .. } | Self::Redirected { fault, .. } => fault.retry_after(),
            _ => None,
        }
    }

    /// The kind of failure it is when it decides the operation.
    pub fn failure(&self) -> Failure {
        match self {
            Self::NotFound { .. } => Failure::NotFound,
            Self::Unauthorized { .. } | Self::Denied { .. } | Self::Challenge(_) => {
                Failure::Authentication
            }
            Self::RateLimited { .. } => Failure::RateLimited,
            Self::Redirected { fault, .. } => fault.failure(),
            Self::Token { fault, .. } => match fault.failure() {
                Failure::NotFound => Failure::Authentication,
                other => other,
            },
            Self::Html
            | Self::SizeMismatch { .. }
            | Self::Excess { .. }
            | Self::Truncated
            | Self::DigestMismatch { .. }
            | Self::WrongRange(_)
            | Self::Malformed(_)
            | Self::TooLarge { .. }
            | Self::Distrusted => Failure::Verification,
            Self::Status { .. }
            | Self::NameNotFound { .. }
            | Self::Refused
            | Self::Connect(_)
            | Self::ConnectTimeout(_)
            | Self::Tls(_)
            | Self::Broken(_)
            | Self::Stalled { .. }
            | Self::Deadline { .. }
            | Self::TooSlow { .. }
            | Self::RedirectLoop(_)
            | Self::BadRedirect => Failure::Unreachable,
        }
    }

    /// What an admin can do about it, at `host`.
    pub fn hint(&self, host: &str) -> Option<String> {
        let hint = match self {
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
                format!("the login for {host} may not read this repository")
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
            Self::Tls(fault) => return fault.hint(host),
            Self::Token { realm, fault } => return fault.hint(realm),
            // A login for the target would do no good: it was the host that sent us there.
            Self::Redirected { target, fault } if fault.is_unreachable() => {
                return fault.hint(target);
            }
            Self::Html => format!(
                "check that {host} is a registry and that no login portal or proxy answers in its place"
            ),
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
            _ => return None,
        };
        Some(hint)
    }

    /// Reads the kind of fault off an error of the HTTP client; the error's URL is dropped, since it
    /// may carry a signature.
    pub(crate) fn from_client(error: &reqwest::Error, dial_timeout: Duration) -> Self {
        let chain = || std::iter::successors(Some(error as &dyn StdError), |error| deeper(*error));
        if let Some(fault) = chain().find_map(|cause| cause.downcast_ref().map(TlsFault::read)) {
            return match fault {
                Some(fault) => Self::Tls(fault),
                None => Self::Broken("closed during the TLS handshake".to_owned()),
            };
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
    /// `None` when the connection just ended.
    fn read(error: &rustls::Error) -> Option<Self> {
        use rustls::{AlertDescription, CertificateError as Certificate, Error};
        let fault = match error {
            Error::InvalidCertificate(certificate) => match certificate {
                Certificate::Expired | Certificate::ExpiredContext { .. } => Self::Expired,
                Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                    Self::NotYetValid
                }
                Certificate::UnknownIssuer | Certificate::BadSignature => Self::UnknownIssuer,
                Certificate::NotValidForName => Self::WrongName { presented: Vec::new() },
                Certificate::NotValidForNameContext { presented, .. } => Self::WrongName {
                    presented: presented.iter().map(|name| dns_name(name)).collect(),
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
        };
        Some(fault)
    }

    fn hint(&self, host: &str) -> Option<String> {
        let file = format!("/etc/containerd/certs.d/{host}/hosts.toml");
        let hint = match self {
            Self::UnknownIssuer => {
                format!(
                    "put the authority's certificate into {file} (ca = \"…\"), or try --skip-verify"
                )
            }
            Self::Expired | Self::NotYetValid => {
                format!(
                    "renew the certificate of {host}, check this machine's clock, or try --skip-verify"
                )
            }
            Self::WrongName { .. } => {
                format!("use a name that is on the certificate of {host}, or try --skip-verify")
            }
            Self::PlainHttp => format!("{host} speaks plain HTTP: try --plain-http"),
            Self::ClientCertificate(_) => {
                format!("put a client certificate into {file} (client = [[\"cert\", \"key\"]])")
            }
            Self::Other(_) => return None,
        };
        Some(hint)
    }
}

/// rustls prints subject alternative names as `DnsName("a.example")`.
fn dns_name(printed: &str) -> String {
    printed.split('"').nth(1).unwrap_or(printed).to_owned()
}
