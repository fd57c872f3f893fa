//! Descriptors: what points to content.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};

use super::json::{self, List};
use super::{Digest, ManifestError, MediaKind, MediaType};
use crate::platform::Platform;

/// A pointer to content: what it is, its digest and its size in bytes.
///
/// See <https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// What the content is.
    pub media_type: MediaType,
    /// What it must hash to.
    pub digest: Digest,
    /// Its exact length in bytes.
    pub size: u64,
    /// Where a foreign layer may be had, in order.
    pub urls: Vec<String>,
    /// The platform, when an index entry names one.
    pub platform: Option<Platform>,
    /// Annotations, for instance `vnd.docker.reference.type`.
    pub annotations: BTreeMap<String, String>,
    /// What an artifact is, when the content is the manifest of one.
    pub artifact_type: Option<String>,
    /// The content itself in base64, as written; [`Descriptor::data`] checks it.
    embedded: Option<String>,
}

impl Descriptor {
    /// A descriptor without URLs, platform or annotations.
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Self {
        Self {
            media_type,
            digest,
            size,
            urls: Vec::new(),
            platform: None,
            annotations: BTreeMap::new(),
            artifact_type: None,
            embedded: None,
        }
    }

    /// Shorthand for the media type's kind.
    pub fn kind(&self) -> MediaKind {
        self.media_type.kind()
    }

    /// The content, where the descriptor brings it along in `data`, its size and digest checked.
    /// `None` also where `data` is something else: the registry then has the content all the same.
    ///
    /// See <https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md#embedded-content>.
    pub fn data(&self) -> Option<Bytes> {
        let bytes = STANDARD.decode(self.embedded.as_deref()?).ok()?;
        let right = bytes.len() as u64 == self.size && Digest::of(&bytes) == self.digest;
        right.then(|| bytes.into())
    }

    /// The descriptor with `bytes` as its `data`.
    #[must_use]
    pub fn with_data(mut self, bytes: &[u8]) -> Self {
        self.embedded = Some(STANDARD.encode(bytes));
        self
    }
}

/// A descriptor as a document has it. What is read leniently is what a pull can do without.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DescriptorWire {
    media_type: Option<MediaType>,
    digest: Option<String>,
    size: Option<i64>,
    #[serde(default)]
    urls: List<String>,
    platform: Option<PlatformWire>,
    #[serde(default, deserialize_with = "json::texts")]
    annotations: BTreeMap<String, String>,
    artifact_type: Option<String>,
    data: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PlatformWire {
    pub(super) os: Option<String>,
    pub(super) architecture: Option<String>,
    pub(super) variant: Option<String>,
    #[serde(rename = "os.version")]
    pub(super) os_version: Option<String>,
    #[serde(rename = "os.features", default)]
    pub(super) os_features: List<String>,
}

/// A descriptor as it is written, in the order of Go's clients.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DescriptorJson<'a> {
    media_type: &'a MediaType,
    digest: &'a Digest,
    size: u64,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    urls: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: &'a Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<PlatformJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: &'a Option<String>,
}

#[derive(Serialize)]
pub(super) struct PlatformJson<'a> {
    architecture: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    variant: &'a str,
    os: &'a str,
    #[serde(rename = "os.version", skip_serializing_if = "str::is_empty")]
    os_version: &'a str,
    #[serde(rename = "os.features", skip_serializing_if = "<[_]>::is_empty")]
    os_features: &'a [String],
}

impl<'a> PlatformJson<'a> {
    pub(super) fn of(platform: &'a Platform) -> Self {
        Self {
            architecture: &platform.architecture,
            variant: &platform.variant,
            os: &platform.os,
            os_version: &platform.os_version,
            os_features: &platform.os_features,
        }
    }
}

impl Serialize for Descriptor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        DescriptorJson {
            media_type: &self.media_type,
            digest: &self.digest,
            size: self.size,
            urls: &self.urls,
            annotations: &self.annotations,
            data: &self.embedded,
            platform: self.platform.as_ref().map(PlatformJson::of),
            artifact_type: &self.artifact_type,
        }
        .serialize(serializer)
    }
}

impl From<PlatformWire> for Platform {
    fn from(raw: PlatformWire) -> Self {
        Platform::from_parts(
            raw.os.as_deref().unwrap_or_default(),
            raw.architecture.as_deref().unwrap_or_default(),
            raw.variant.as_deref().unwrap_or_default(),
            raw.os_version.as_deref().unwrap_or_default(),
        )
        .with_features(raw.os_features.entries)
    }
}

impl TryFrom<DescriptorWire> for Descriptor {
    type Error = ManifestError;

    fn try_from(raw: DescriptorWire) -> Result<Self, ManifestError> {
        let digest = raw.digest.as_deref().unwrap_or_default().parse()?;
        let size = raw.size.unwrap_or_default();
        let size = u64::try_from(size).map_err(|_| ManifestError::NegativeSize { digest, size })?;
        Ok(Self {
            media_type: raw.media_type.unwrap_or_else(|| MediaType::new("")),
            digest,
            size,
            urls: raw.urls.entries,
            platform: raw.platform.map(Platform::from),
            annotations: raw.annotations,
            artifact_type: raw.artifact_type.filter(|text| !text.is_empty()),
            embedded: raw.data.filter(|text| text.len() as u64 == encoded_length(size)),
        })
    }
}

/// How long `size` bytes are in base64. `data` of another length is not kept, let alone decoded.
fn encoded_length(size: u64) -> u64 {
    size.div_ceil(3).saturating_mul(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Descriptor, ManifestError> {
        json::read::<DescriptorWire>("descriptor", json.as_bytes())?.try_into()
    }

    #[test]
    fn data_counts_only_where_it_is_the_content() {
        let digest = Digest::of(b"hello");
        for (data, size, expected) in [
            (r#""aGVsbG8=""#, 5, Some(&b"hello"[..])),
            (r#""aGVsbG8=""#, 4, None),
            (r#""aGVsbG8""#, 5, None),
            (r#""aGVsbGE=""#, 5, None),
            (r#""****bG8=""#, 5, None),
            ("null", 5, None),
        ] {
            let json =
                format!(r#"{{"mediaType":"x","digest":"{digest}","size":{size},"data":{data}}}"#);
            let found = read(&json).unwrap().data();
            assert_eq!(found.as_deref(), expected, "{data} {size}");
        }
        let made = Descriptor::new(MediaType::new("x"), digest, 5).with_data(b"hello");
        assert_eq!(made.data().as_deref(), Some(&b"hello"[..]));
    }

    #[test]
    fn reads_null_as_absent() {
        let digest = Digest::of(b"");
        let json = format!(
            r#"{{"mediaType":null,"digest":"{digest}","size":null,"urls":null,"platform":{{"os":null,
                "architecture":"arm64","variant":null,"os.version":null}},"annotations":null,
                "artifactType":null,"data":null}}"#
        );
        let descriptor = read(&json).unwrap();
        assert_eq!(descriptor.size, 0);
        assert_eq!(descriptor.platform.unwrap().architecture, "arm64");
    }

    #[test]
    fn refuses_what_cannot_be() {
        let digest = Digest::of(b"");
        let negative = format!(r#"{{"digest":"{digest}","size":-1}}"#);
        assert!(matches!(read(&negative), Err(ManifestError::NegativeSize { size: -1, .. })));
        for json in ["{}", r#"{"digest":"sha256:12"}"#, r#"{"digest":null}"#] {
            assert!(matches!(read(json), Err(ManifestError::Digest(_))), "{json}");
        }
        assert!(matches!(read(r#"{"size":1e99}"#), Err(ManifestError::Json { .. })));
    }
}
