//! What one host did wrong: kinds of fault, and which of them a retry may cure.

use std::time::Duration;

use http::StatusCode;

use crate::failure::Failure;
use crate::oci::Digest;
use crate::registry::upload_fault::UploadFault;

/// What is waited for while a request runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// That the host takes more of the request's body.
    Request,
    /// The response's head.
    Response,
    /// The next bytes of its body.
    Body,
}

impl Phase {
    fn awaited(self) -> &'static str {
        match self {
            Self::Request => "byte was taken",
            Self::Response => "response",
            Self::Body => "data",
        }
    }
}

/// Why one host did not give what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// 404.
    #[error("not found (404){}", because(.reason))]
    NotFound {
        /// The registry's own words.
        reason: Option<String>,
    },
    /// 401 that our credentials, or none, did not satisfy.
    #[error("login {} (401){}", if *.with_login { "refused" } else { "required" }, because(.reason))]
    Unauthorized {
        /// Whether a login was sent.
        with_login: bool,
        /// The registry's own words.
        reason: Option<String>,
    },
    /// 403, or 401 for a token that our credentials were good for.
    #[error("access denied ({}){}", .status.as_u16(), because(.reason))]
    Denied {
        /// Which of the two.
        status: StatusCode,
        /// Whether a login was sent.
        with_login: bool,
        /// The registry's own words.
        reason: Option<String>,
    },
    /// 403 by a web page: a proxy or a portal refuses, not the registry.
    #[error("a web page instead of a registry's answer ({}){}", .status.as_u16(), because(.title))]
    Page {
        /// The status.
        status: StatusCode,
        /// What the page calls itself.
        title: Option<String>,
    },
    /// 429.
    #[error("too many requests (429){}", because(.reason))]
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
    /// The proxy on the way, rather than the host.
    #[error("proxy {proxy}: {fault}")]
    Proxy {
        /// `host[:port]` of the proxy; never its user info.
        proxy: String,
        /// What it did.
        fault: Box<Fault>,
    },
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
    /// A document that names no image, whatever its type says.
    #[error("{0} instead of a manifest")]
    NoManifest(String),
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
    /// Something that is said of uploads alone.
    #[error(transparent)]
    Upload(#[from] UploadFault),
    /// The host asked for a new login, or sent elsewhere, when the bytes to send were spent.
    #[error("the upload has to be begun anew")]
    Spent,
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
    /// The certificate names its host as its common name only, which nobody reads any more.
    #[error("certificate names no host but in its common name, which is not read any more")]
    NoNames,
    /// The host offers nothing that is safe enough.
    #[error("the host offers no TLS 1.2 with AES-GCM or ChaCha20, and no TLS 1.3: {0}")]
    Outdated(String),
    /// The host speaks plain HTTP.
    #[error("plain HTTP answered where TLS was expected")]
    PlainHttp,
    /// The host wants a client certificate, or another one.
    #[error("the host wants a client certificate, or another one: {0}")]
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
            | Self::Spent
            | Self::TooSlow { .. } => true,
            Self::NameNotFound { temporary, .. } => *temporary,
            Self::Status { status, .. } => {
                *status == StatusCode::REQUEST_TIMEOUT || status.is_server_error()
            }
            Self::Token { fault, .. }
            | Self::Redirected { fault, .. }
            | Self::Proxy { fault, .. } => fault.is_retryable(),
            _ => false,
        }
    }

    /// Whether it is the run's time that is up.
    pub(crate) fn is_deadline(&self) -> bool {
        matches!(self, Self::Deadline { .. })
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
            Self::Token { fault, .. }
            | Self::Redirected { fault, .. }
            | Self::Proxy { fault, .. } => fault.is_unreachable(),
            _ => false,
        }
    }

    /// Whether what the host gave was wrong, so that nothing else of it should be believed once
    /// another host had it right.
    pub(crate) fn is_wrong_content(&self) -> bool {
        matches!(self, Self::DigestMismatch { .. } | Self::NoManifest(_) | Self::Html)
    }

    /// Whether a response broke off that had begun well.
    pub(crate) fn is_interruption(&self) -> bool {
        matches!(self, Self::Truncated | Self::Broken(_) | Self::Stalled { .. })
    }

    /// How far a request got, to compare with what other hosts came to. That a mirror has not got the
    /// image says nothing of the image: only the `last` host's word counts for that.
    pub(crate) fn reach(&self, last: bool) -> u8 {
        match self {
            Self::Distrusted => 0,
            Self::NotFound { .. } if !last => 1,
            fault if fault.is_unreachable() || fault.is_deadline() => 1,
            _ => 2,
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
            Self::Upload(fault) => fault.failure(),
            Self::Token { fault, .. } => match fault.failure() {
                Failure::NotFound => Failure::Authentication,
                other => other,
            },
            Self::Html
            | Self::SizeMismatch { .. }
            | Self::Excess { .. }
            | Self::Truncated
            | Self::DigestMismatch { .. }
            | Self::NoManifest(_)
            | Self::WrongRange(_)
            | Self::Malformed(_)
            | Self::TooLarge { .. }
            | Self::Distrusted => Failure::Verification,
            // That the proxy wants a login is nothing that a registry's login would cure.
            Self::Status { .. }
            | Self::Page { .. }
            | Self::Proxy { .. }
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
            | Self::Spent
            | Self::BadRedirect => Failure::Unreachable,
        }
    }
}
