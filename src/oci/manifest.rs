//! Indexes and image manifests.

use std::collections::BTreeMap;

use super::{Descriptor, MediaKind, MediaType};

/// An OCI image index or docker manifest list.
///
/// See <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// OCI's or docker's.
    pub media_type: MediaType,
    /// What it holds, where that is no image.
    pub artifact_type: Option<String>,
    /// The entries in the index's order.
    pub manifests: Vec<Descriptor>,
    /// What it speaks of, where it is a referrer.
    pub subject: Option<Box<Descriptor>>,
    /// Annotations of the index as a whole.
    pub annotations: BTreeMap<String, String>,
}

/// An OCI or docker v2 image manifest.
///
/// See <https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// OCI's or docker's.
    pub media_type: MediaType,
    /// What it holds, where that is no image.
    pub artifact_type: Option<String>,
    /// The image configuration.
    pub config: Descriptor,
    /// The layers, base first.
    pub layers: Vec<Descriptor>,
    /// What it speaks of, where it is a referrer.
    pub subject: Option<Box<Descriptor>>,
    /// Annotations of the image.
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// Whether it is a container image by the type of its configuration. Docker's early manifests
    /// have a configuration without a type of its own.
    pub fn is_image(&self) -> bool {
        let config = &self.config.media_type;
        config.kind() == MediaKind::Config || (self.media_type.is_docker() && config.is_generic())
    }
}
