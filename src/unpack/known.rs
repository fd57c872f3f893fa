//! What is known of each layer in a run, by the chain that it ends.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use super::Error;
use super::active::ActiveSnapshot;
use super::direct::Filled;
use super::held::Held;
use super::target::Target;
use crate::oci::ChainId;
use crate::sync::lock;

/// All layers of a run.
#[derive(Debug, Default)]
pub(super) struct Layers(Mutex<HashMap<ChainId, Known>>);

/// What is known of one.
#[derive(Debug)]
enum Known {
    /// Its blob came in while it was extracted.
    Arrived(Target),
    Staged(Staged),
    /// Its snapshot is there.
    Committed,
}

/// A layer that only waits for those below it.
#[derive(Debug)]
pub(super) enum Staged {
    Filled(Box<Filled>),
    Held(Held),
    /// Our way failed: containerd's is next.
    Failed(Error),
    /// The snapshotter was asked for the layer and has it not: containerd fills what it gave instead.
    Prepared(ActiveSnapshot),
}

impl Staged {
    /// Waits for the last file of a layer whose whole blob went to `target`, and checks that it is
    /// the right one.
    ///
    /// # Errors
    /// Why our way failed.
    pub(super) async fn of(target: Target) -> Result<Self, Error> {
        match target {
            Target::Memory(held) => Ok(Self::Held(held)),
            Target::Extraction(extraction) => {
                extraction.finish().await.map(|filled| Self::Filled(Box::new(filled)))
            }
            Target::Extracted(outcome) => outcome.map(Self::Filled),
        }
    }
}

impl Layers {
    /// Takes note that the snapshot is there.
    pub(super) fn commit(&self, chain_id: ChainId) {
        self.layers().insert(chain_id, Known::Committed);
    }

    /// Whether the snapshot is known to be there.
    pub(super) fn is_committed(&self, chain_id: &ChainId) -> bool {
        matches!(self.layers().get(chain_id), Some(Known::Committed))
    }

    /// Whether the layer needs nothing before those below it are there.
    pub(super) fn is_ready(&self, chain_id: &ChainId) -> bool {
        matches!(self.layers().get(chain_id), Some(Known::Committed | Known::Staged(_)))
    }

    /// Leaves what was made of a whole blob to be staged.
    pub(super) fn arrive(&self, chain_id: ChainId, target: Target) {
        self.layers().insert(chain_id, Known::Arrived(target));
    }

    pub(super) fn take_arrived(&self, chain_id: &ChainId) -> Option<Target> {
        let mut layers = self.layers();
        match layers.remove(chain_id)? {
            Known::Arrived(target) => Some(target),
            other => put_back(&mut layers, chain_id, other),
        }
    }

    pub(super) fn stage(&self, chain_id: ChainId, staged: Staged) {
        self.layers().insert(chain_id, Known::Staged(staged));
    }

    pub(super) fn take_staged(&self, chain_id: &ChainId) -> Option<Staged> {
        let mut layers = self.layers();
        match layers.remove(chain_id)? {
            Known::Staged(staged) => Some(staged),
            other => put_back(&mut layers, chain_id, other),
        }
    }

    /// Drops all of it.
    pub(super) fn clear(&self) {
        let layers = std::mem::take(&mut *self.layers());
        // Not under the lock: threads may end with it.
        drop(layers);
    }

    fn layers(&self) -> MutexGuard<'_, HashMap<ChainId, Known>> {
        // Nothing that could panic happens under this lock.
        lock(&self.0)
    }
}

fn put_back<T>(
    layers: &mut HashMap<ChainId, Known>,
    chain_id: &ChainId,
    known: Known,
) -> Option<T> {
    layers.insert(*chain_id, known);
    None
}
