//! What a registry has against an upload in particular, and what an admin can do about it.

use http::StatusCode;

use crate::failure::Failure;
use crate::oci::Digest;

/// Why a registry does not take what is brought to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UploadFault {
    /// 413, mostly of a proxy before the registry.
    #[error("a request of {sent_bytes} bytes is too large for it (413){}", because(.reason))]
    TooLarge {
        /// What was sent at once.
        sent_bytes: u64,
        /// The registry's own words.
        reason: Option<String>,
    },
    /// 403, or 401 for a token that our credentials were good for.
    #[error("push denied ({}){}", .status.as_u16(), because(.reason))]
    Denied {
        /// Which of the two.
        status: StatusCode,
        /// Whether a login was sent.
        with_login: bool,
        /// The registry's own words.
        reason: Option<String>,
    },
    /// 404 where an upload begins.
    #[error("no such repository or project (404){}", because(.reason))]
    NoRepository {
        /// The registry's own words.
        reason: Option<String>,
    },
    /// The project keeps copies of another registry's images and nothing else.
    #[error("a proxy cache takes no uploads ({}){}", .status.as_u16(), because(.reason))]
    ProxyCache {
        /// The status.
        status: StatusCode,
        /// The registry's own words.
        reason: Option<String>,
    },
    /// The registry, or the whole host, is for reading alone.
    #[error("takes no uploads ({}){}", .status.as_u16(), because(.reason))]
    ReadOnly {
        /// 405 or 501, mostly.
        status: StatusCode,
        /// The registry's own words.
        reason: Option<String>,
    },
    /// The tag may not be moved.
    #[error("the tag is immutable ({}){}", .status.as_u16(), because(.reason))]
    Immutable {
        /// The status; 412 with Harbor.
        status: StatusCode,
        /// The registry's own words.
        reason: Option<String>,
    },
    /// The project may not grow.
    #[error("quota exceeded ({}){}", .status.as_u16(), because(.reason))]
    Quota {
        /// The status.
        status: StatusCode,
        /// The registry's own words.
        reason: Option<String>,
    },
    /// A manifest names a blob or a manifest that the registry says it has not.
    #[error("the registry misses what the manifest names ({}){}", .status.as_u16(), because(.reason))]
    UnknownContent {
        /// The status.
        status: StatusCode,
        /// The registry's own words.
        reason: Option<String>,
    },
    /// 500 for a manifest with layers that are kept elsewhere.
    #[error("refuses a manifest whose layers have urls of their own (500){}", because(.reason))]
    ForeignLayers {
        /// The registry's own words.
        reason: Option<String>,
    },
    /// The registry hashed other bytes than the blob's.
    #[error("the bytes that arrived are not {expected}{}", because(.reason))]
    WrongBytes {
        /// The blob.
        expected: Digest,
        /// The registry's own words.
        reason: Option<String>,
    },
    /// What is kept is called otherwise than what was sent.
    #[error("says that it keeps {actual} where {expected} was sent")]
    OtherDigest {
        /// What was sent.
        expected: Digest,
        /// What the registry says.
        actual: Digest,
    },
    /// Everything is accepted and nothing is kept.
    #[error("accepts {0} and does not keep it (202)")]
    NeverKept(String),
}

fn because(reason: &Option<String>) -> String {
    reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default()
}

impl UploadFault {
    /// The kind of failure it is when it decides the operation.
    pub(crate) fn failure(&self) -> Failure {
        match self {
            Self::Denied { .. } => Failure::Authentication,
            Self::NoRepository { .. } | Self::UnknownContent { .. } => Failure::NotFound,
            Self::Quota { .. } => Failure::DiskFull,
            Self::WrongBytes { .. } | Self::OtherDigest { .. } => Failure::Verification,
            Self::NeverKept(_) => Failure::Unreachable,
            Self::TooLarge { .. }
            | Self::ProxyCache { .. }
            | Self::ReadOnly { .. }
            | Self::Immutable { .. }
            | Self::ForeignLayers { .. } => Failure::Other,
        }
    }

    /// What an admin can do about it, at `host`.
    pub(crate) fn hint(&self, host: &str) -> String {
        match self {
            Self::TooLarge { .. } => format!(
                "raise the limit of the proxy before {host} (nginx: client_max_body_size), or send smaller pieces with --chunk-size"
            ),
            Self::Denied { with_login: true, .. } => format!(
                "the login for {host} may not push there: ask the project's owner for the right to push, or check the name"
            ),
            Self::Denied { with_login: false, .. } => format!("log in with pullctl login {host}"),
            Self::NoRepository { .. } => format!(
                "make the project or repository at {host} first, or check its name: not every registry makes them by itself"
            ),
            Self::ProxyCache { .. } => {
                "push to a project of your own: this one only keeps what it fetches from elsewhere".to_owned()
            }
            Self::ReadOnly { .. } => format!(
                "{host} is a cache, a mirror or in maintenance: push to the registry behind it, or ask its operator"
            ),
            Self::Immutable { .. } => {
                "push under another tag, or ask the project's owner to lift the rule that protects this one".to_owned()
            }
            Self::Quota { .. } => format!(
                "remove images from the project at {host} and let it collect garbage, or ask its operator for more room"
            ),
            Self::UnknownContent { .. } => format!(
                "push again: what {host} had when it was asked is gone now, for instance by its garbage collection"
            ),
            Self::ForeignLayers { .. } => format!(
                "let {host} take such manifests (docker-registry: validation.manifests.urls.allow)"
            ),
            Self::WrongBytes { .. } => format!(
                "something between here and {host} alters data, or the source is damaged: push again, or try another network"
            ),
            Self::OtherDigest { .. } => format!(
                "{host}, or a proxy before it, changes what is pushed: ask its operator, and do not use that image"
            ),
            Self::NeverKept(_) => format!("check that {host} is a registry, and ask its operator"),
        }
    }
}
