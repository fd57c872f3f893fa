//! Why a layer did not become a snapshot.

use super::extract::{ATTRIBUTE_HINT, ExtractError};
use super::unsound::Unsound;
use crate::containerd;
use crate::failure::{Diagnose, Failure};
use crate::oci::{DiffId, Digest, MediaType};

/// What to do about a sparse file in old GNU tar's way.
pub(super) const OLD_SPARSE_HINT: &str = "--unpacker direct unpacks it, as root beside containerd; so \
    that the kubelet's own pulls do too, build the image with tar --format=posix";

/// A layer that could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// containerd could not do its part.
    #[error(transparent)]
    Containerd(#[from] containerd::Error),
    /// The blob has the right digest, but is no tar of the kind that its media type says.
    #[error("layer {layer} is not the archive that its media type {media_type} says")]
    Malformed {
        /// The layer's blob.
        layer: Digest,
        /// As the manifest has it.
        media_type: String,
        /// What the daemon stumbled over.
        source: containerd::Error,
    },
    /// The layer holds a kind of entry that no containerd unpacks, though others do.
    #[error(
        "layer {layer} holds a sparse file in old GNU tar's way, which containerd does not unpack"
    )]
    OldSparse {
        /// The layer's blob.
        layer: Digest,
        /// The daemon's words.
        source: containerd::Error,
    },
    /// The layer is an archive, of what no unpacker makes files of.
    #[error("layer {layer} can't be unpacked, by containerd or by pullctl")]
    Impossible {
        /// The layer's blob.
        layer: Digest,
        /// The daemon's words.
        source: containerd::Error,
    },
    /// The daemon's file system takes no attribute of the size that the layer has.
    #[error("layer {layer} has an attribute that is larger than containerd's file system takes")]
    Attribute {
        /// The layer's blob.
        layer: Digest,
        /// The daemon's words.
        source: containerd::Error,
    },
    /// The blob has the right digest, but unpacks to something else than the configuration says.
    #[error("layer {layer} has diff ID {actual}, but the image configuration says {expected}")]
    DiffId {
        /// The layer's blob.
        layer: Digest,
        /// From the image's configuration.
        expected: DiffId,
        /// What the blob is, uncompressed.
        actual: DiffId,
    },
    /// The layer can't be extracted by us.
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// The snapshot is not ours to write to.
    #[error(transparent)]
    Unsound(#[from] Unsound),
    /// A blob among the layers that is no layer.
    #[error("layer {layer} has media type {media_type}, which can't be unpacked")]
    NotALayer {
        /// The blob.
        layer: Digest,
        /// As the manifest has it.
        media_type: MediaType,
    },
    /// A thread ended without a result.
    #[error("unpacking stopped")]
    Stopped(#[source] tokio::task::JoinError),
    /// Preparing says that the snapshot exists, looking it up says that it does not, again and again.
    #[error("containerd both has and has not the snapshot of layer {layer}")]
    Undecided {
        /// The layer's blob.
        layer: Digest,
    },
}

impl Diagnose for Error {
    fn failure(&self) -> Failure {
        match self {
            Self::Containerd(error) => error.failure(),
            Self::Malformed { .. }
            | Self::DiffId { .. }
            | Self::NotALayer { .. }
            | Self::Impossible { .. } => Failure::Verification,
            Self::Extract(error) => error.failure(),
            Self::Unsound(_) | Self::Stopped(_) | Self::Attribute { .. } => Failure::Other,
            Self::Undecided { .. } | Self::OldSparse { .. } => Failure::Containerd,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Containerd(error) => error.hint(),
            Self::Malformed { .. } | Self::DiffId { .. } => Some(
                "the image was built or copied wrongly: push it again from where it is intact"
                    .to_owned(),
            ),
            Self::Extract(error) => error.hint(),
            Self::OldSparse { .. } => Some(OLD_SPARSE_HINT.to_owned()),
            Self::Impossible { .. } => {
                Some("build the image again, by another tool: no node can run it".to_owned())
            }
            Self::Attribute { .. } => Some(ATTRIBUTE_HINT.to_owned()),
            Self::NotALayer { .. } => Some("pull it with --no-unpack to store it only".to_owned()),
            Self::Unsound(_) => {
                Some("--unpacker auto leaves it to containerd where this cannot be done".to_owned())
            }
            Self::Stopped(_) | Self::Undecided { .. } => None,
        }
    }
}
