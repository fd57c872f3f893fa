//! Telling an index from a manifest, the one place for it: registries, layouts and archives ask here.
//!
//! A document that one client takes for an index and another for a manifest lets its author show a
//! harmless image to whoever checks it and run another one, so whatever is ambiguous is refused.
//! See <https://github.com/opencontainers/image-spec/security/advisories/GHSA-77vh-xpmg-72qh>.

use std::collections::BTreeMap;

use oci_distribution::manifest as wire;
use serde::Deserialize;

use super::descriptor::DescriptorWire;
use super::json::{self, List};
use super::{Descriptor, DigestError, Index, Manifest, ManifestError, MediaKind, MediaType};

/// Largest index, manifest or configuration that is read, in bytes (4 MiB, the limit that the
/// distribution specification asks registries to allow); a larger one is refused unread.
pub const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;

/// A manifest or an index, told apart.
#[derive(Debug, Clone)]
pub enum ManifestKind {
    /// Several platforms, or further indexes.
    Index(Index),
    /// One image.
    Manifest(Box<Manifest>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DocumentWire {
    schema_version: Option<u64>,
    media_type: Option<MediaType>,
    artifact_type: Option<String>,
    #[serde(default, deserialize_with = "json::present")]
    config: Option<Option<DescriptorWire>>,
    #[serde(default, deserialize_with = "json::present")]
    layers: Option<Option<List<DescriptorWire>>>,
    #[serde(default, deserialize_with = "json::present")]
    manifests: Option<Option<List<DescriptorWire>>>,
    subject: Option<DescriptorWire>,
    #[serde(default, deserialize_with = "json::texts")]
    annotations: BTreeMap<String, String>,
    // Schema1 has these instead.
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl ManifestKind {
    /// Parses `bytes` as what `media_type` says, or by its own `mediaType` and members where that is
    /// a generic type.
    ///
    /// # Errors
    /// [`ManifestError`] when it is HTML, schema1, no image, ambiguous, of the other kind than it is
    /// described as, or has unusable descriptors.
    pub fn parse(media_type: &MediaType, bytes: &[u8]) -> Result<Self, ManifestError> {
        let (media_type, document) = DocumentWire::read(media_type, bytes)?;
        if media_type.kind() == MediaKind::Index {
            document.index(media_type).map(Self::Index)
        } else {
            document.manifest(media_type).map(Box::new).map(Self::Manifest)
        }
    }

    /// The media type by which the document was read: the one it is described as, or where that is
    /// a generic one its own, or OCI's for its members.
    pub fn media_type(&self) -> &MediaType {
        match self {
            Self::Index(index) => &index.media_type,
            Self::Manifest(manifest) => &manifest.media_type,
        }
    }
}

impl MediaType {
    /// The media type of the index or manifest in `bytes` that a server gave the type `given`: that
    /// one unless it is generic; then the document's own, or OCI's for its members.
    ///
    /// # Errors
    /// [`ManifestError`] when the document is none, or not of the kind that `given` says.
    pub fn of_document(given: &Self, bytes: &[u8]) -> Result<Self, ManifestError> {
        ManifestKind::parse(given, bytes).map(|document| document.media_type().clone())
    }
}

impl DocumentWire {
    /// Reads the document and settles its media type, which is an index's or a manifest's.
    fn read(given: &MediaType, bytes: &[u8]) -> Result<(MediaType, Self), ManifestError> {
        if given.kind() == MediaKind::Schema1 {
            return Err(ManifestError::Schema1);
        }
        let what = if given.kind() == MediaKind::Index { "index" } else { "manifest" };
        let document: Self = json::read(what, bytes)?;
        if document.schema_version == Some(1) || document.fs_layers.is_some() {
            return Err(ManifestError::Schema1);
        }
        let media_type = document.settle(given)?;
        document.check_members(&media_type)?;
        Ok((media_type, document))
    }

    fn settle(&self, given: &MediaType) -> Result<MediaType, ManifestError> {
        let own = self.media_type.as_ref().filter(|own| !own.is_generic());
        match (given.kind(), own.map(|own| (own, own.kind()))) {
            (_, Some((_, MediaKind::Schema1))) => Err(ManifestError::Schema1),
            // Any other type of its own is a slip of its author's, which the members show.
            (MediaKind::Index, Some((own, MediaKind::Manifest)))
            | (MediaKind::Manifest, Some((own, MediaKind::Index))) => {
                Err(ManifestError::OtherType { described: given.clone(), own: own.clone() })
            }
            (MediaKind::Index | MediaKind::Manifest, _) => Ok(given.clone()),
            (_, Some((own, MediaKind::Index | MediaKind::Manifest))) => Ok(own.clone()),
            (_, Some((own, _))) => Err(ManifestError::NotAnImage(own.clone())),
            (_, None) if given.is_generic() => self.type_of_members(given),
            (_, None) => Err(ManifestError::NotAnImage(given.clone())),
        }
    }

    fn type_of_members(&self, given: &MediaType) -> Result<MediaType, ManifestError> {
        match (self.manifests.is_some(), self.config.is_some()) {
            (true, _) => Ok(MediaType::new(wire::OCI_IMAGE_INDEX_MEDIA_TYPE)),
            (false, true) => Ok(MediaType::new(wire::OCI_IMAGE_MEDIA_TYPE)),
            (false, false) => Err(ManifestError::NotAnImage(given.clone())),
        }
    }

    /// containerd refuses these as well, when the image is there and used.
    fn check_members(&self, media_type: &MediaType) -> Result<(), ManifestError> {
        let described = || media_type.clone();
        let of_manifest = self.config.is_some() || self.layers.is_some();
        match (media_type.kind(), self.manifests.is_some(), of_manifest) {
            (_, true, true) => Err(ManifestError::Ambiguous),
            (MediaKind::Index, _, true) => {
                Err(ManifestError::OtherMembers { described: described(), found: "a manifest" })
            }
            (MediaKind::Manifest, true, _) => {
                Err(ManifestError::OtherMembers { described: described(), found: "an index" })
            }
            _ => Ok(()),
        }
    }

    fn index(self, media_type: MediaType) -> Result<Index, ManifestError> {
        let missing = ManifestError::Incomplete { what: "index", member: "manifests" };
        let entries = self.manifests.ok_or(missing)?.unwrap_or_default();
        Ok(Index {
            media_type,
            artifact_type: self.artifact_type.filter(|text| !text.is_empty()),
            manifests: entries_of(bounded("index", "manifests", entries)?)?,
            subject: subject(self.subject),
            annotations: self.annotations,
        })
    }

    fn manifest(self, media_type: MediaType) -> Result<Manifest, ManifestError> {
        let missing = ManifestError::Incomplete { what: "manifest", member: "config" };
        let config = self.config.flatten().ok_or(missing)?;
        let layers = self.layers.flatten().unwrap_or_default();
        let layers = bounded("manifest", "layers", layers)?;
        Ok(Manifest {
            media_type,
            artifact_type: self.artifact_type.filter(|text| !text.is_empty()),
            config: config.try_into()?,
            layers: layers.into_iter().map(Descriptor::try_from).collect::<Result<_, _>>()?,
            subject: subject(self.subject),
            annotations: self.annotations,
        })
    }
}

fn bounded(
    what: &'static str,
    members: &'static str,
    list: List<DescriptorWire>,
) -> Result<Vec<DescriptorWire>, ManifestError> {
    let (length, limit) = (list.length, list.entries.len());
    if length > limit {
        return Err(ManifestError::TooMany { what, members, length, limit });
    }
    Ok(list.entries)
}

/// The entries of an index. One whose digest is of another algorithm is passed over, since nothing
/// here can have it, unless there is no other.
fn entries_of(entries: Vec<DescriptorWire>) -> Result<Vec<Descriptor>, ManifestError> {
    let mut usable = Vec::with_capacity(entries.len());
    let mut passed_over = None;
    for entry in entries {
        match Descriptor::try_from(entry) {
            Ok(entry) => usable.push(entry),
            Err(error @ ManifestError::Digest(DigestError::UnsupportedAlgorithm(_))) => {
                passed_over = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    match passed_over {
        Some(error) if usable.is_empty() => Err(error),
        _ => Ok(usable),
    }
}

/// What the document speaks of. A pull has no use for it, so a broken one does no harm.
fn subject(raw: Option<DescriptorWire>) -> Option<Box<Descriptor>> {
    raw.and_then(|raw| Descriptor::try_from(raw).ok()).map(Box::new)
}
