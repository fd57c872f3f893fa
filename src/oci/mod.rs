//! The OCI image's nouns, checked on the way in: digests, descriptors, manifests, chain IDs.
//!
//! Everything here is parsed from bytes that a registry may have forged, so a value of one of these
//! types has been validated. Knows no transport and no store.

mod artifact;
mod chain;
mod config;
mod descriptor;
mod details;
mod digest;
mod document;
mod error;
mod json;
pub mod layout;
mod manifest;
mod media_type;

pub use artifact::Artifact;
pub use chain::{ChainId, DiffId, LayerIdentity};
pub use config::ImageConfig;
pub use descriptor::Descriptor;
pub use details::{HistoryEntry, ImageDetails, RuntimeConfig};
pub use digest::{Digest, DigestError, Hasher};
pub use document::{MAX_MANIFEST_BYTES, ManifestKind};
pub use error::ManifestError;
pub use json::Names;
pub use manifest::{Index, Manifest};
pub use media_type::{Compression, MediaKind, MediaType};

#[cfg(test)]
mod tests;
