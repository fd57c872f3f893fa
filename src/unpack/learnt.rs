//! What unpacking tells of layers besides their files: how much they take, and what others would not
//! have unpacked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::Layer;
use super::error::OLD_SPARSE_HINT;
use super::extract::Extracted;
use crate::failure::Notice;
use crate::oci::ChainId;
use crate::progress::{Event, Sink};
use crate::sync::lock;

/// What this run has learnt. Clones share it.
#[derive(Clone)]
pub(super) struct Learnt {
    unpacked_bytes: Arc<Mutex<HashMap<ChainId, u64>>>,
    sink: Arc<dyn Sink>,
}

impl Learnt {
    /// Nothing yet; `sink` is told what the user should know.
    pub(super) fn new(sink: Arc<dyn Sink>) -> Self {
        Self { unpacked_bytes: Arc::default(), sink }
    }

    /// Takes note of a layer that was extracted by us.
    pub(super) fn extracted(&self, layer: &Layer, extracted: &Extracted) {
        self.unpacked(layer, extracted.written_bytes);
        let Some(entry) = &extracted.old_sparse else { return };
        let message = format!(
            "layer {} holds {entry} as a sparse file in old GNU tar's way, which no containerd \
             unpacks: pulls by the kubelet and by ctr fail",
            layer.descriptor.digest
        );
        let notice = Notice::new("old-sparse-file", message).with_hint(OLD_SPARSE_HINT);
        self.sink.event(Event::Warning(notice));
    }

    /// Takes note of how many bytes a layer is, unpacked.
    pub(super) fn unpacked(&self, layer: &Layer, bytes: u64) {
        lock(&self.unpacked_bytes).insert(layer.identity.chain_id, bytes);
    }

    /// How many bytes the layer is, unpacked, if it was unpacked by this run.
    pub(super) fn bytes_of(&self, chain_id: &ChainId) -> Option<u64> {
        lock(&self.unpacked_bytes).get(chain_id).copied()
    }
}

impl std::fmt::Debug for Learnt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Learnt").finish_non_exhaustive()
    }
}
