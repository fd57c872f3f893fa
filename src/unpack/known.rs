//! What is known of each layer in a run, by the chain that it ends.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use super::Error;
use super::active::ActiveSnapshot;
use super::extraction::Filled;
use super::ground::Ground;
use super::held::Held;
use super::target::Target;
use crate::oci::{ChainId, LayerIdentity};
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
    Committed(Committed),
}

/// What came of making a layer a snapshot; nothing where another client was quicker.
#[derive(Debug, Default)]
pub(super) struct Unpacked {
    /// Where its files lie, and what is below, where that was seen.
    pub(super) ground: Option<Ground>,
    /// How many bytes it is, unpacked: those of its files by our way, those of its whole archive by
    /// containerd's.
    pub(super) bytes: Option<u64>,
}

/// What is known of a snapshot.
#[derive(Debug, Default)]
struct Committed {
    place: Option<Place>,
    bytes: Option<u64>,
}

/// Where the files of a layer lie. For one that is put on its parent when it is committed, the daemon
/// names no directories of those below.
#[derive(Debug)]
struct Place {
    upper: PathBuf,
    parent: Option<ChainId>,
    /// The layers below, topmost first, where what is known here does not lead down from the parent.
    lowers: Vec<PathBuf>,
    leads_to_base: bool,
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
    /// Takes note that the snapshot is there. What more is known of it stays known.
    pub(super) fn know(&self, chain_id: ChainId) {
        let mut layers = self.layers();
        if !matches!(layers.get(&chain_id), Some(Known::Committed(_))) {
            layers.insert(chain_id, Known::Committed(Committed::default()));
        }
    }

    /// Takes note of a layer that became a snapshot.
    pub(super) fn commit(&self, layer: &LayerIdentity, unpacked: Unpacked) {
        let Unpacked { ground, bytes } = unpacked;
        let mut layers = self.layers();
        let place = ground.map(|ground| place(&layers, layer, ground));
        layers.insert(layer.chain_id, Known::Committed(Committed { place, bytes }));
    }

    /// The directories from the layer `top` down, topmost first; `None` when one of them is not known.
    pub(super) fn directories_down_from(&self, top: ChainId) -> Option<Vec<PathBuf>> {
        let layers = self.layers();
        let mut directories = Vec::new();
        let mut next = Some(top);
        while let Some(chain_id) = next {
            let place = place_of(&layers, &chain_id).filter(|place| place.leads_to_base)?;
            directories.push(place.upper.clone());
            directories.extend_from_slice(&place.lowers);
            next = place.parent.filter(|_| place.lowers.is_empty());
        }
        Some(directories)
    }

    /// How many bytes the layer is, unpacked, if it was unpacked by this run.
    pub(super) fn unpacked_bytes(&self, chain_id: &ChainId) -> Option<u64> {
        match self.layers().get(chain_id)? {
            Known::Committed(committed) => committed.bytes,
            Known::Arrived(_) | Known::Staged(_) => None,
        }
    }

    /// Whether the snapshot is known to be there.
    pub(super) fn is_committed(&self, chain_id: &ChainId) -> bool {
        matches!(self.layers().get(chain_id), Some(Known::Committed(_)))
    }

    /// Whether the layer needs nothing before those below it are there.
    pub(super) fn is_ready(&self, chain_id: &ChainId) -> bool {
        matches!(self.layers().get(chain_id), Some(Known::Committed(_) | Known::Staged(_)))
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

fn place_of<'a>(layers: &'a HashMap<ChainId, Known>, chain_id: &ChainId) -> Option<&'a Place> {
    match layers.get(chain_id)? {
        Known::Committed(committed) => committed.place.as_ref(),
        Known::Arrived(_) | Known::Staged(_) => None,
    }
}

/// Where a layer lies whose `ground` names what is below it.
fn place(layers: &HashMap<ChainId, Known>, layer: &LayerIdentity, ground: Ground) -> Place {
    let Ground { upper, lowers } = ground;
    let parent = layer.parent;
    let below = parent.and_then(|parent| place_of(layers, &parent));
    let is_known = below.is_some_and(|place| place.leads_to_base);
    // A list of all below for each would grow with the square of the layers.
    let lowers = if is_known { Vec::new() } else { lowers };
    let leads_to_base = parent.is_none() || is_known || !lowers.is_empty();
    Place { upper, parent, lowers, leads_to_base }
}

fn put_back<T>(
    layers: &mut HashMap<ChainId, Known>,
    chain_id: &ChainId,
    known: Known,
) -> Option<T> {
    layers.insert(*chain_id, known);
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{DiffId, Digest};

    fn chain() -> Vec<LayerIdentity> {
        LayerIdentity::of_layers(&[b"a", b"b", b"c"].map(|name| DiffId(Digest::of(name))))
    }

    fn unpacked(upper: &str, lowers: &[&str]) -> Unpacked {
        let lowers = lowers.iter().map(PathBuf::from).collect();
        Unpacked { ground: Some(Ground { upper: upper.into(), lowers }), bytes: None }
    }

    fn paths(names: &[&str]) -> Option<Vec<PathBuf>> {
        Some(names.iter().map(PathBuf::from).collect())
    }

    #[test]
    fn finds_its_way_down_to_the_base() {
        let (chain, layers) = (chain(), Layers::default());
        layers.commit(&chain[0], unpacked("/1", &[]));
        layers.commit(&chain[1], unpacked("/2", &["/1"]));
        layers.commit(&chain[2], unpacked("/3", &["/2", "/1"]));
        // Another image has it too.
        layers.know(chain[1].chain_id);
        assert_eq!(layers.directories_down_from(chain[0].chain_id), paths(&["/1"]));
        assert_eq!(layers.directories_down_from(chain[2].chain_id), paths(&["/3", "/2", "/1"]));
    }

    #[test]
    fn goes_on_with_what_the_daemon_named() {
        let (chain, layers) = (chain(), Layers::default());
        layers.commit(&chain[1], unpacked("/2", &["/1"]));
        layers.commit(&chain[2], unpacked("/3", &["/2", "/1"]));
        assert_eq!(layers.directories_down_from(chain[2].chain_id), paths(&["/3", "/2", "/1"]));
    }

    #[test]
    fn does_not_know_layers_of_others() {
        let (chain, layers) = (chain(), Layers::default());
        assert_eq!(layers.directories_down_from(chain[0].chain_id), None);
        // Put on a parent that is not known, by one who looked for nothing there.
        layers.commit(&chain[1], unpacked("/2", &[]));
        assert_eq!(layers.directories_down_from(chain[1].chain_id), None);
        // What the daemon names above it leads past it.
        layers.commit(&chain[2], unpacked("/3", &["/2", "/1"]));
        assert_eq!(layers.directories_down_from(chain[2].chain_id), paths(&["/3", "/2", "/1"]));
    }
}
