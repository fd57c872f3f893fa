//! What unpacking tells of layers besides their files: how much they take, and what others would not
//! have unpacked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::Layer;
use super::error::OLD_SPARSE_HINT;
use super::extract::Extracted;
use crate::containerd::Client;
use crate::failure::Notice;
use crate::oci::{ChainId, Compression, MediaKind};
use crate::progress::{Event, Sink};
use crate::sync::lock;

/// The major version from which on containerd itself unpacks zstd layers under docker's media types:
/// 1.6.20 has "no processor" for them, 1.7.24 finds a "mismatched rootfs", 2.1.9 takes them.
const DOCKER_ZSTD_SINCE: u32 = 2;

/// What this run has learnt. Clones share it.
#[derive(Clone)]
pub(super) struct Learnt {
    unpacked_bytes: Arc<Mutex<HashMap<ChainId, u64>>>,
    /// Whether nothing is to be said of docker's zstd layers, or no more.
    passes_docker_zstd: Arc<AtomicBool>,
    sink: Arc<dyn Sink>,
}

impl Learnt {
    /// Nothing yet; `sink` is told what the user should know about the daemon of `client`.
    pub(super) fn new(client: &Client, sink: Arc<dyn Sink>) -> Self {
        let passes = client.major_version().is_none_or(|major| major >= DOCKER_ZSTD_SINCE);
        let passes_docker_zstd = Arc::new(AtomicBool::new(passes));
        Self { unpacked_bytes: Arc::default(), passes_docker_zstd, sink }
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
        if is_docker_zstd(layer) && !self.passes_docker_zstd.swap(true, Ordering::Relaxed) {
            let message = "layers that are zstd under docker's media type are not unpacked by this \
                containerd itself: pulls of such images by the kubelet and by ctr fail";
            let notice = Notice::new("docker-zstd-layer", message).with_hint(
                "they are in place now; so that the kubelet's own pulls work too, build the image \
                 with OCI media types, or update containerd to 2.0 or later",
            );
            self.sink.event(Event::Warning(notice));
        }
    }

    /// How many bytes the layer is, unpacked, if it was unpacked by this run.
    pub(super) fn bytes_of(&self, chain_id: &ChainId) -> Option<u64> {
        lock(&self.unpacked_bytes).get(chain_id).copied()
    }
}

fn is_docker_zstd(layer: &Layer) -> bool {
    let zstd = MediaKind::Layer { compression: Compression::Zstd, foreign: false };
    layer.descriptor.kind() == zstd && layer.descriptor.media_type.is_docker()
}

impl std::fmt::Debug for Learnt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Learnt").finish_non_exhaustive()
    }
}
