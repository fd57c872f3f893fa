//! What is to be said of layers that are unpacked here and would not be by others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Layer;
use super::error::OLD_SPARSE_HINT;
use super::extraction::Files;
use crate::containerd::Client;
use crate::failure::Notice;
use crate::oci::{Compression, MediaKind};
use crate::progress::{Event, Sink};

/// The major version from which on containerd itself unpacks zstd layers under docker's media types:
/// 1.6.20 has "no processor" for them, 1.7.24 finds a "mismatched rootfs", 2.1.9 takes them.
const DOCKER_ZSTD_SINCE: u32 = 2;

/// What was said in this run. Clones share it.
#[derive(Clone)]
pub(super) struct Remarks {
    /// Whether nothing is to be said of docker's zstd layers, or no more.
    passes_docker_zstd: Arc<AtomicBool>,
    sink: Arc<dyn Sink>,
}

impl Remarks {
    /// Nothing yet; `sink` is told what the user should know about the daemon of `client`.
    pub(super) fn new(client: &Client, sink: Arc<dyn Sink>) -> Self {
        let passes = client.major_version().is_none_or(|major| major >= DOCKER_ZSTD_SINCE);
        let passes_docker_zstd = Arc::new(AtomicBool::new(passes));
        Self { passes_docker_zstd, sink }
    }

    /// Says what there is to be said of a layer that was extracted by us.
    pub(super) fn extracted(&self, layer: &Layer, files: &Files) {
        self.unpacked(layer);
        let Some(entry) = &files.old_sparse else { return };
        let message = format!(
            "layer {} holds {entry} as a sparse file in old GNU tar's way, which no containerd \
             unpacks: pulls by the kubelet and by ctr fail",
            layer.descriptor.digest
        );
        let notice = Notice::new("old-sparse-file", message).with_hint(OLD_SPARSE_HINT);
        self.sink.event(Event::Warning(notice));
    }

    /// Says what there is to be said of a layer that was unpacked, by whomever.
    pub(super) fn unpacked(&self, layer: &Layer) {
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
}

fn is_docker_zstd(layer: &Layer) -> bool {
    let zstd = MediaKind::Layer { compression: Compression::Zstd, foreign: false };
    layer.descriptor.kind() == zstd && layer.descriptor.media_type.is_docker()
}

impl std::fmt::Debug for Remarks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remarks").finish_non_exhaustive()
    }
}
