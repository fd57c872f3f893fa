//! Layers into snapshots. Each way of doing it is handed one layer at a time, base first, as soon as
//! the layer's bytes are at hand, and leaves a snapshot committed under the layer's chain ID.
//!
//! | file | way |
//! |---|---|
//! | `daemon` | containerd's own: stored content, applied by its diff service |
//!
//! Knows nothing of registries and of images' names.

mod daemon;
mod error;

pub use daemon::DaemonUnpacker;
pub use error::Error;

use crate::containerd::{self, SnapshotKind, Snapshots};
use crate::oci::{ChainId, Descriptor, DiffId};

/// One layer of an image, and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The blob.
    pub descriptor: Descriptor,
    /// What it must hash to uncompressed.
    pub diff_id: DiffId,
    /// The snapshot that it makes.
    pub chain_id: ChainId,
    /// The snapshot that it is stacked on; `None` for the base layer.
    pub parent: Option<ChainId>,
}

/// The outcome of unpacking one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpacked {
    /// The snapshot was made.
    Done,
    /// It was there already, or another client was quicker.
    Exists,
}

/// How many of `layers`, counted from the base, have their snapshot. A snapshot implies those below
/// it, so the topmost one is asked for first.
///
/// # Errors
/// When the daemon does not answer.
pub async fn count_unpacked(
    snapshots: &Snapshots,
    layers: &[Layer],
) -> Result<usize, containerd::Error> {
    for (below, layer) in layers.iter().enumerate().rev() {
        let found = snapshots.stat(&layer.chain_id.to_string()).await?;
        if found.is_some_and(|snapshot| snapshot.kind == SnapshotKind::Committed) {
            return Ok(below + 1);
        }
    }
    Ok(0)
}
