//! Indexes and image manifests.

use std::collections::BTreeMap;

use serde::Serialize;

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

/// The version of both documents; 1 is docker's schema1.
const SCHEMA_VERSION: u8 = 2;

/// Either document as it is written, in the order of Go's clients.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DocumentJson<'a> {
    schema_version: u8,
    media_type: &'a MediaType,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: &'a Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<&'a Descriptor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<&'a [Descriptor]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifests: Option<&'a [Descriptor]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a Descriptor>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

impl Index {
    /// The index as JSON, the same bytes each time.
    ///
    /// # Errors
    /// None that these members could have.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&DocumentJson {
            schema_version: SCHEMA_VERSION,
            media_type: &self.media_type,
            artifact_type: &self.artifact_type,
            config: None,
            layers: None,
            manifests: Some(&self.manifests),
            subject: self.subject.as_deref(),
            annotations: &self.annotations,
        })
    }
}

impl Manifest {
    /// The manifest as JSON, the same bytes each time. Members that are not read are not written: who
    /// has the bytes that it was parsed from keeps those.
    ///
    /// # Errors
    /// None that these members could have.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&DocumentJson {
            schema_version: SCHEMA_VERSION,
            media_type: &self.media_type,
            artifact_type: &self.artifact_type,
            config: Some(&self.config),
            layers: Some(&self.layers),
            manifests: None,
            subject: self.subject.as_deref(),
            annotations: &self.annotations,
        })
    }

    /// Whether it is a container image by the type of its configuration. Docker's early manifests
    /// have a configuration without a type of its own.
    pub fn is_image(&self) -> bool {
        let config = &self.config.media_type;
        config.kind() == MediaKind::Config || (self.media_type.is_docker() && config.is_generic())
    }
}
