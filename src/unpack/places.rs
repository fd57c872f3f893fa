//! Where the files lie of the layers that this run has committed: for a layer that is put on its parent
//! when it is committed, the daemon names no directories of those below.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use super::ground::Ground;
use crate::oci::{ChainId, LayerIdentity};
use crate::sync::lock;

/// Directories by chain ID.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<HashMap<ChainId, Place>>);

#[derive(Debug)]
struct Place {
    upper: PathBuf,
    parent: Option<ChainId>,
    /// The layers below, topmost first, where the places here do not lead down from the parent.
    lowers: Vec<PathBuf>,
    leads_to_base: bool,
}

impl Places {
    /// Takes note of a committed layer, whose `ground` names what is below it.
    pub(super) fn remember(&self, layer: &LayerIdentity, ground: Ground) {
        let Ground { upper, lowers } = ground;
        let LayerIdentity { chain_id, parent, .. } = *layer;
        let mut places = self.places();
        let below = parent.and_then(|parent| places.get(&parent));
        let is_known = below.is_some_and(|place| place.leads_to_base);
        // A list of all below for each would grow with the square of the layers.
        let lowers = if is_known { Vec::new() } else { lowers };
        let leads_to_base = parent.is_none() || is_known || !lowers.is_empty();
        places.insert(chain_id, Place { upper, parent, lowers, leads_to_base });
    }

    /// The directories from the layer `top` down, topmost first; `None` when one of them is not known.
    pub(super) fn down_from(&self, top: ChainId) -> Option<Vec<PathBuf>> {
        let places = self.places();
        let mut directories = Vec::new();
        let mut next = Some(top);
        while let Some(chain_id) = next {
            let place = places.get(&chain_id).filter(|place| place.leads_to_base)?;
            directories.push(place.upper.clone());
            directories.extend_from_slice(&place.lowers);
            next = place.parent.filter(|_| place.lowers.is_empty());
        }
        Some(directories)
    }

    fn places(&self) -> MutexGuard<'_, HashMap<ChainId, Place>> {
        // Nothing that could panic happens under this lock.
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{DiffId, Digest};

    fn layers() -> Vec<LayerIdentity> {
        LayerIdentity::of_layers(&[b"a", b"b", b"c"].map(|name| DiffId(Digest::of(name))))
    }

    fn ground(upper: &str, lowers: &[&str]) -> Ground {
        Ground { upper: upper.into(), lowers: lowers.iter().map(PathBuf::from).collect() }
    }

    fn paths(names: &[&str]) -> Option<Vec<PathBuf>> {
        Some(names.iter().map(PathBuf::from).collect())
    }

    #[test]
    fn finds_its_way_down_to_the_base() {
        let (layers, places) = (layers(), Places::default());
        places.remember(&layers[0], ground("/1", &[]));
        places.remember(&layers[1], ground("/2", &["/1"]));
        places.remember(&layers[2], ground("/3", &["/2", "/1"]));
        assert_eq!(places.down_from(layers[0].chain_id), paths(&["/1"]));
        assert_eq!(places.down_from(layers[2].chain_id), paths(&["/3", "/2", "/1"]));
    }

    #[test]
    fn goes_on_with_what_the_daemon_named() {
        let (layers, places) = (layers(), Places::default());
        places.remember(&layers[1], ground("/2", &["/1"]));
        places.remember(&layers[2], ground("/3", &["/2", "/1"]));
        assert_eq!(places.down_from(layers[2].chain_id), paths(&["/3", "/2", "/1"]));
    }

    #[test]
    fn does_not_know_layers_of_others() {
        let (layers, places) = (layers(), Places::default());
        assert_eq!(places.down_from(layers[0].chain_id), None);
        // Put on a parent that is not known, by one who looked for nothing there.
        places.remember(&layers[1], ground("/2", &[]));
        assert_eq!(places.down_from(layers[1].chain_id), None);
        // What the daemon names above it leads past it.
        places.remember(&layers[2], ground("/3", &["/2", "/1"]));
        assert_eq!(places.down_from(layers[2].chain_id), paths(&["/3", "/2", "/1"]));
    }
}
