//! Layers into snapshots. Each way of doing it leaves a snapshot committed under the layer's chain
//! ID, with containerd's labels.
//!
//! | file | owns |
//! |---|---|
//! | `daemon` | containerd's own way: stored content, applied by its diff service |
//! | `direct` | our way: the files are written by us while the blob streams in |
//! | `ground` | whether, and where, files may be written by us |
//! | `places` | where the layers of this run lie |
//! | `unpacker` | the choice between them, and layers that wait for those below |
//! | `active` | snapshots that are being filled, by either |
//! | [`extract`], [`inflate`] | a stream of bytes into files, beneath one directory |
//!
//! Knows nothing of registries and of images' names.

mod active;
mod daemon;
mod direct;
mod error;
pub mod extract;
mod ground;
pub mod inflate;
mod places;
mod unpacker;

use daemon::DaemonUnpacker;
use direct::{DirectUnpacker, Extraction, Filled};
pub use error::Error;
pub use ground::Unsound;
pub use unpacker::{LayerSink, Unpacker, Way};

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
    fn check(&self, actual: DiffId) -> Result<(), Error> {
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
