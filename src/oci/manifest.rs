//! Indexes, manifests and image configurations, parsed from bounded bytes.

use oci_distribution::manifest as wire;
use serde::Deserialize;

use super::{Descriptor, DiffId, DigestError, MediaKind, MediaType};
use crate::platform::Platform;

/// Largest index, manifest or configuration that is read, in bytes (4 MiB, the limit that the
/// distribution specification asks registries to allow); a larger one is refused unread.
pub const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;

/// Most layers an image may have. overlayfs stops mounting far below this; it bounds what a hostile
/// manifest can make us plan.
const MAX_LAYERS: usize = 4096;

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
    /// A descriptor with a negative size.
    #[error("the descriptor of {digest} has the size {size}")]
    NegativeSize {
        /// Whose size it is.
        digest: super::Digest,
        /// The size as written.
        size: i64,
    },
    /// A descriptor with an unusable digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// More layers than are accepted.
    #[error("the manifest lists {0} layers; at most {MAX_LAYERS} are accepted")]
    TooManyLayers(usize),
    /// The configuration and the manifest do not describe the same layers.
    #[error("the image configuration has {diff_ids} diff IDs for {layers} layers")]
    DiffIdCount {
        /// Entries in `rootfs.diff_ids`.
        diff_ids: usize,
        /// Entries in `layers`.
        layers: usize,
    },
}

/// A manifest or an index, told apart.
#[derive(Debug, Clone)]
pub enum ManifestKind {
    /// Several platforms, or further indexes.
    Index(Index),
    /// One image.
    Manifest(Box<Manifest>),
}

/// An OCI image index or docker manifest list.
#[derive(Debug, Clone)]
pub struct Index {
    /// The entries in the index's order.
    pub manifests: Vec<Descriptor>,
}

/// An OCI or docker v2 image manifest.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The image configuration.
    pub config: Descriptor,
    /// The layers, base first.
    pub layers: Vec<Descriptor>,
}

/// What a pull needs of an image configuration.
#[derive(Debug, Clone)]
pub struct ImageConfig {
    /// Platform the image was built for.
    pub platform: Platform,
    /// Diff IDs, base first.
    pub diff_ids: Vec<DiffId>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DocumentWire {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<wire::OciDescriptor>,
    // Go writes an empty list as `null`.
    layers: Option<Vec<wire::OciDescriptor>>,
    manifests: Option<Vec<IndexEntryWire>>,
    // Schema1 has these instead.
    fs_layers: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct IndexEntryWire {
    #[serde(flatten)]
    descriptor: wire::OciDescriptor,
    platform: Option<PlatformWire>,
}

#[derive(Deserialize)]
struct PlatformWire {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
    #[serde(rename = "os.version")]
    os_version: Option<String>,
}

#[derive(Deserialize)]
struct ConfigWire {
    #[serde(flatten)]
    platform: PlatformWire,
    rootfs: Option<RootfsWire>,
}

#[derive(Deserialize)]
struct RootfsWire {
    diff_ids: Option<Vec<String>>,
}

impl From<PlatformWire> for Platform {
    fn from(raw: PlatformWire) -> Self {
        Platform::from_parts(
            &raw.os,
            &raw.architecture,
            raw.variant.as_deref().unwrap_or_default(),
            raw.os_version.as_deref().unwrap_or_default(),
        )
    }
}

impl ManifestKind {
    /// Parses `bytes` as what `media_type` says, or by its own `mediaType` and members when the
    /// server's type is a generic one.
    ///
    /// # Errors
    /// [`ManifestError`] when it is HTML, schema1, no image, or has unusable descriptors.
    pub fn parse(media_type: &MediaType, bytes: &[u8]) -> Result<Self, ManifestError> {
        if media_type.kind() == MediaKind::Schema1 {
            return Err(ManifestError::Schema1);
        }
        let document: DocumentWire = parse_json("manifest", bytes)?;
        if document.schema_version == Some(1) || document.fs_layers.is_some() {
            return Err(ManifestError::Schema1);
        }
        let declared = document.media_type.map(MediaType::new);
        let kind = [Some(media_type), declared.as_ref()]
            .into_iter()
            .flatten()
            .map(MediaType::kind)
            .find(|kind| *kind != MediaKind::Other);
        match (kind, document.config) {
            (Some(MediaKind::Index), _) => Index::from_wire(document.manifests).map(Self::Index),
            (None, None) if document.manifests.is_some() => {
                Index::from_wire(document.manifests).map(Self::Index)
            }
            (Some(MediaKind::Manifest) | None, Some(config)) => {
                Manifest::from_wire(config, document.layers).map(Box::new).map(Self::Manifest)
            }
            (Some(MediaKind::Schema1), _) => Err(ManifestError::Schema1),
            _ => Err(ManifestError::NotAnImage(media_type.clone())),
        }
    }
}

impl Index {
    fn from_wire(entries: Option<Vec<IndexEntryWire>>) -> Result<Self, ManifestError> {
        let manifests = entries
            .unwrap_or_default()
            .into_iter()
            .map(|entry| {
                let mut descriptor = Descriptor::try_from(entry.descriptor)?;
                descriptor.platform = entry.platform.map(Platform::from);
                Ok(descriptor)
            })
            .collect::<Result<_, ManifestError>>()?;
        Ok(Self { manifests })
    }
}

impl Manifest {
    fn from_wire(
        config: wire::OciDescriptor,
        layers: Option<Vec<wire::OciDescriptor>>,
    ) -> Result<Self, ManifestError> {
        let layers = layers.unwrap_or_default();
        if layers.len() > MAX_LAYERS {
            return Err(ManifestError::TooManyLayers(layers.len()));
        }
        Ok(Self {
            config: config.try_into()?,
            layers: layers.into_iter().map(Descriptor::try_from).collect::<Result<_, _>>()?,
        })
    }
}

impl ImageConfig {
    /// Parses a configuration and checks that it has one diff ID for each of `layers` layers.
    ///
    /// # Errors
    /// [`ManifestError`] when it is no JSON or its diff IDs do not fit.
    pub fn parse(bytes: &[u8], layers: usize) -> Result<Self, ManifestError> {
        let config: ConfigWire = parse_json("image configuration", bytes)?;
        let diff_ids = config
            .rootfs
            .and_then(|rootfs| rootfs.diff_ids)
            .unwrap_or_default()
            .iter()
            .map(|text| text.parse().map(DiffId))
            .collect::<Result<Vec<_>, DigestError>>()?;
        if diff_ids.len() != layers {
            return Err(ManifestError::DiffIdCount { diff_ids: diff_ids.len(), layers });
        }
        Ok(Self { platform: config.platform.into(), diff_ids })
    }
}

fn parse_json<'a, T: Deserialize<'a>>(
    what: &'static str,
    bytes: &'a [u8],
) -> Result<T, ManifestError> {
    serde_json::from_slice(bytes).map_err(|source| {
        if bytes.trim_ascii_start().starts_with(b"<") {
            ManifestError::Html { what }
        } else {
            ManifestError::Json { what, source }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OCI: &str = wire::OCI_IMAGE_MEDIA_TYPE;
    const INDEX: &str = wire::OCI_IMAGE_INDEX_MEDIA_TYPE;
    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(media_type: &str, json: &str) -> Result<ManifestKind, ManifestError> {
        ManifestKind::parse(&MediaType::new(media_type), json.as_bytes())
    }

    fn descriptor(size: i64) -> String {
        format!(r#"{{"mediaType":"x","digest":"{EMPTY}","size":{size}}}"#)
    }

    #[test]
    fn reads_a_manifest_whatever_type_the_server_gave_it() {
        let config = descriptor(2);
        let json = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{config}]}}"#);
        for media_type in [OCI, wire::IMAGE_MANIFEST_MEDIA_TYPE, "application/json", ""] {
            let Ok(ManifestKind::Manifest(manifest)) = parse(media_type, &json) else {
                panic!("{media_type} is no manifest");
            };
            assert_eq!(manifest.config.size, 2);
            assert_eq!(manifest.layers.len(), 1);
        }
    }

    #[test]
    fn takes_null_for_an_empty_list_as_go_writes_it() {
        let json = format!(r#"{{"config":{},"layers":null}}"#, descriptor(2));
        assert!(matches!(parse(OCI, &json), Ok(ManifestKind::Manifest(m)) if m.layers.is_empty()));
        let json = r#"{"manifests":null}"#;
        assert!(matches!(parse(INDEX, json), Ok(ManifestKind::Index(i)) if i.manifests.is_empty()));
    }

    #[test]
    fn reads_the_platforms_of_an_index() {
        let json = format!(
            r#"{{"manifests":[{{"mediaType":"{OCI}","digest":"{EMPTY}","size":7,
                "platform":{{"os":"linux","architecture":"arm","variant":"v7"}}}},
               {{"mediaType":"{OCI}","digest":"{EMPTY}","size":7}}]}}"#
        );
        let Ok(ManifestKind::Index(index)) = parse(INDEX, &json) else { panic!("no index") };
        let platform = index.manifests[0].platform.as_ref().unwrap();
        assert_eq!(platform.to_string(), "linux/arm/v7");
        assert!(index.manifests[1].platform.is_none());
    }

    #[test]
    fn refuses_what_is_no_image() {
        let schema1 = r#"{"schemaVersion":1,"fsLayers":[]}"#;
        assert!(matches!(parse("application/json", schema1), Err(ManifestError::Schema1)));
        let typed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
        assert!(matches!(parse(typed, "{}"), Err(ManifestError::Schema1)));
        assert!(matches!(parse(OCI, " <html></html>"), Err(ManifestError::Html { .. })));
        assert!(matches!(parse(OCI, "{"), Err(ManifestError::Json { .. })));
        assert!(matches!(parse(OCI, "{}"), Err(ManifestError::NotAnImage(_))));
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(matches!(parse(OCI, &deep), Err(ManifestError::Json { .. })));
        // Members that nobody asked for are skipped without recursion.
        let deep = format!(r#"{{"annotations":{}1{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert!(matches!(parse(OCI, &deep), Err(ManifestError::NotAnImage(_))));
    }

    #[test]
    fn refuses_descriptors_that_cannot_be() {
        let json = format!(r#"{{"config":{},"layers":[]}}"#, descriptor(-1));
        assert!(matches!(parse(OCI, &json), Err(ManifestError::NegativeSize { size: -1, .. })));
        let json = r#"{"config":{"mediaType":"x","digest":"sha256:12","size":1},"layers":[]}"#;
        assert!(matches!(parse(OCI, json), Err(ManifestError::Digest(_))));
        let layers = vec![descriptor(1); MAX_LAYERS + 1].join(",");
        let json = format!(r#"{{"config":{},"layers":[{layers}]}}"#, descriptor(1));
        assert!(matches!(parse(OCI, &json), Err(ManifestError::TooManyLayers(_))));
    }

    #[test]
    fn wants_one_diff_id_for_each_layer() {
        let json = format!(
            r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":["{EMPTY}"]}}}}"#
        );
        let config = ImageConfig::parse(json.as_bytes(), 1).unwrap();
        assert_eq!(config.platform.to_string(), "linux/amd64");
        assert_eq!(config.diff_ids.len(), 1);
        assert!(matches!(
            ImageConfig::parse(json.as_bytes(), 2),
            Err(ManifestError::DiffIdCount { diff_ids: 1, layers: 2 })
        ));
        assert!(ImageConfig::parse(b"{}", 0).is_ok());
    }
}
