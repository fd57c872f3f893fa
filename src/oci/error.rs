//! Why a document is no image manifest, index or configuration.

use super::{Digest, DigestError, MediaType};

/// Why a document is no image manifest, index or configuration.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, nested too deeply, or with members of the wrong type.
    #[error("the {what} is not valid JSON for its type: {source}")]
    Json {
        /// `manifest`, `index` or `image configuration`.
        what: &'static str,
        /// Where the parser stopped.
        source: serde_json::Error,
    },
    /// An HTML page, most often of a proxy or a login portal.
    #[error("the {what} is an HTML page, not JSON")]
    Html {
        /// `manifest`, `index` or `image configuration`.
        what: &'static str,
    },
    /// Docker image manifest version 2, schema 1.
    #[error("the image has a Docker schema1 manifest, which containerd can't run")]
    Schema1,
    /// Something else than an image: a chart, a signature, an attestation.
    #[error("media type {0} is no container image")]
    NotAnImage(MediaType),
    /// A document that other clients may take for another one than this does.
    #[error("the document is ambiguous: it has the members of an index and of a manifest")]
    Ambiguous,
    /// A document of the other kind than it is described as.
    #[error("described as {described}, the document has the members of {found}")]
    OtherMembers {
        /// How it is described or calls itself.
        described: MediaType,
        /// `an index` or `a manifest`.
        found: &'static str,
    },
    /// A document that calls itself something else than it is described as.
    #[error("described as {described}, the document calls itself {own}")]
    OtherType {
        /// How it is described.
        described: MediaType,
        /// Its own `mediaType`.
        own: MediaType,
    },
    /// A document without what makes it one.
    #[error("the {what} has no `{member}`")]
    Incomplete {
        /// `manifest` or `index`.
        what: &'static str,
        /// The member that is missing.
        member: &'static str,
    },
    /// A descriptor with a negative size.
    #[error("the descriptor of {digest} has the size {size}")]
    NegativeSize {
        /// Whose size it is.
        digest: Digest,
        /// The size as written.
        size: i64,
    },
    /// A descriptor with an unusable digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// More layers or entries than are accepted.
    #[error("the {what} lists {length} {members}; at most {limit} are accepted")]
    TooMany {
        /// `manifest` or `index`.
        what: &'static str,
        /// `layers` or `manifests`.
        members: &'static str,
        /// How many there are.
        length: usize,
        /// How many are accepted.
        limit: usize,
    },
    /// The configuration and the manifest do not describe the same layers.
    #[error("the image configuration has {diff_ids} diff IDs for {layers} layers")]
    DiffIdCount {
        /// Entries in `rootfs.diff_ids`.
        diff_ids: usize,
        /// Entries in `layers`.
        layers: usize,
    },
}
