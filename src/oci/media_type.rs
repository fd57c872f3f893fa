//! Media types, and what they stand for in an image.

use std::fmt;

use oci_distribution::manifest as wire;
use serde::{Deserialize, Serialize};

/// A media type as the registry wrote it; classified by [`MediaType::kind`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaType(String);

/// What a media type stands for in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaKind {
    /// OCI image index or docker manifest list.
    Index,
    /// OCI or docker v2 image manifest.
    Manifest,
    /// Docker schema1, which has no digests worth the name and is refused.
    Schema1,
    /// OCI or docker image configuration.
    Config,
    /// A file system layer, `foreign` when it may live at its own URLs.
    Layer {
        /// How the tar is packed.
        compression: Compression,
        /// Docker "foreign", OCI "nondistributable".
        foreign: bool,
    },
    /// Anything else: attestations, signatures, charts.
    Other,
}

/// How a layer's tar is packed, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// A bare tar.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
const DOCKER_PREFIX: &str = "application/vnd.docker.";
const DOCKER_FOREIGN_LAYER: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";
const OCI_NONDISTRIBUTABLE: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";

/// Types that servers give to whatever they do not know, so that they say nothing.
const GENERIC_TYPES: [&str; 6] = [
    "",
    "application/json",
    "application/octet-stream",
    "binary/octet-stream",
    "text/json",
    "text/plain",
];

impl MediaType {
    /// Takes any string; an unknown one is [`MediaKind::Other`].
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The media type as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it stands for.
    pub fn kind(&self) -> MediaKind {
        match self.0.as_str() {
            wire::OCI_IMAGE_INDEX_MEDIA_TYPE | wire::IMAGE_MANIFEST_LIST_MEDIA_TYPE => {
                MediaKind::Index
            }
            wire::OCI_IMAGE_MEDIA_TYPE | wire::IMAGE_MANIFEST_MEDIA_TYPE => MediaKind::Manifest,
            DOCKER_SCHEMA1 | DOCKER_SCHEMA1_SIGNED => MediaKind::Schema1,
            wire::IMAGE_CONFIG_MEDIA_TYPE | wire::IMAGE_DOCKER_CONFIG_MEDIA_TYPE => {
                MediaKind::Config
            }
            other => layer_kind(other),
        }
    }

    /// Whether it is one of docker's own types rather than OCI's.
    pub fn is_docker(&self) -> bool {
        self.0.starts_with(DOCKER_PREFIX)
    }

    /// Whether servers give this type to whatever they do not know.
    pub fn is_generic(&self) -> bool {
        GENERIC_TYPES.contains(&self.as_str())
    }
}

fn layer_kind(text: &str) -> MediaKind {
    // `rootfs.diff.tar.gzip` is docker's spelling of `+gzip`.
    let (base, compression) = if let Some(base) =
        text.strip_suffix("+gzip").or_else(|| text.strip_suffix(".gzip"))
    {
        (base, Compression::Gzip)
    } else if let Some(base) = text.strip_suffix("+zstd").or_else(|| text.strip_suffix(".zstd")) {
        (base, Compression::Zstd)
    } else if text.starts_with(DOCKER_PREFIX) {
        // Old builders gave docker's type without a suffix to packed layers too: as in containerd, the
        // content decides, which it does for all but uncompressed ones.
        (text, Compression::Gzip)
    } else {
        (text, Compression::None)
    };
    let foreign = match base {
        wire::IMAGE_LAYER_MEDIA_TYPE | wire::IMAGE_DOCKER_LAYER_TAR_MEDIA_TYPE => false,
        OCI_NONDISTRIBUTABLE | DOCKER_FOREIGN_LAYER => true,
        _ => return MediaKind::Other,
    };
    MediaKind::Layer { compression, foreign }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classifies_the_media_types_in_use() {
        use Compression::{Gzip, None, Zstd};
        let layer = |compression, foreign| MediaKind::Layer { compression, foreign };
        for (text, kind) in [
            ("application/vnd.oci.image.index.v1+json", MediaKind::Index),
            ("application/vnd.docker.distribution.manifest.list.v2+json", MediaKind::Index),
            ("application/vnd.oci.image.manifest.v1+json", MediaKind::Manifest),
            ("application/vnd.docker.distribution.manifest.v2+json", MediaKind::Manifest),
            ("application/vnd.docker.distribution.manifest.v1+prettyjws", MediaKind::Schema1),
            ("application/vnd.oci.image.config.v1+json", MediaKind::Config),
            ("application/vnd.docker.container.image.v1+json", MediaKind::Config),
            ("application/vnd.oci.image.layer.v1.tar", layer(None, false)),
            ("application/vnd.oci.image.layer.v1.tar+gzip", layer(Gzip, false)),
            ("application/vnd.oci.image.layer.v1.tar+zstd", layer(Zstd, false)),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", layer(Gzip, true)),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", layer(Gzip, false)),
            ("application/vnd.docker.image.rootfs.diff.tar", layer(Gzip, false)),
            ("application/vnd.docker.image.rootfs.diff.tar.zstd", layer(Zstd, false)),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", layer(Gzip, true)),
            ("application/vnd.in-toto+json", MediaKind::Other),
            ("", MediaKind::Other),
        ] {
            assert_eq!(MediaType::new(text).kind(), kind, "{text}");
        }
    }
}
