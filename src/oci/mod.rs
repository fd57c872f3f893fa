//! The OCI image's nouns, checked on the way in: digests, descriptors, manifests, chain IDs.
//!
//! Everything here is parsed from bytes that a registry may have forged, so a value of one of these
//! types has been validated. Knows no transport and no store.

mod chain;
mod descriptor;
mod digest;
mod manifest;

pub use chain::{ChainId, DiffId, LayerIdentity};
pub use descriptor::{Compression, Descriptor, MediaKind, MediaType};
pub use digest::{Digest, DigestError, Hasher};
pub use manifest::{ImageConfig, Index, MAX_MANIFEST_BYTES, Manifest, ManifestError, ManifestKind};
