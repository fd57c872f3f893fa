//! A layer of an image, and where it belongs.

use super::Error;
use crate::containerd::Labels;
use crate::oci::{Descriptor, DiffId, LayerIdentity};

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

/// The outcome of unpacking one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpacked {
    /// The snapshot was made.
    Done,
    /// It was there already, or another client was quicker.
    Exists,
}
