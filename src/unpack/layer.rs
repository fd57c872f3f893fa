//! A layer of an image, and where it belongs.

use super::Error;
use crate::containerd::Labels;
use crate::oci::{Compression, Descriptor, DiffId, LayerIdentity, MediaKind};

/// One layer of an image, and where it belongs.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The blob.
    pub descriptor: Descriptor,
    /// What it must hash to uncompressed, the snapshot that it makes, and the one below.
    pub identity: LayerIdentity,
    /// Labels of its snapshot, besides the one that every snapshot has.
    pub labels: Labels,
}

impl Layer {
    /// How its media type says that it is packed.
    pub(super) fn compression(&self) -> Result<Compression, Error> {
        match self.descriptor.kind() {
            MediaKind::Layer { compression, .. } => Ok(compression),
            _ => Err(Error::NotALayer {
                layer: self.descriptor.digest,
                media_type: self.descriptor.media_type.clone(),
            }),
        }
    }

    /// Compares what the layer is, uncompressed, with what the image configuration says.
    pub(super) fn check(&self, actual: DiffId) -> Result<(), Error> {
        if actual == self.identity.diff_id {
            return Ok(());
        }
        Err(Error::DiffId {
            layer: self.descriptor.digest,
            expected: self.identity.diff_id,
            actual,
        })
    }
}
