//! Small blobs that wait in memory for the layers below them.

use std::io::{BufRead, Read as _};
use std::mem;
use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::inflate::Decoder;
use crate::oci::{Compression, Descriptor, DiffId, Hasher};

/// Largest blob, in bytes, that waits in memory for the layers below instead of being extracted apart
/// (256 KiB), where it would have to move then. That saves two of the daemon's transactions and the
/// move, which cost more than extracting so little.
pub(super) const MAX_HELD_BLOB: u64 = 256 * 1024;

/// Most bytes of blobs that wait in memory where nobody says another number (8 MiB), whatever the number of
/// layers.
const MAX_HELD_BYTES: u64 = 8 * 1024 * 1024;

/// Up to what uncompressed size a blob in memory is proved before it is stored (16 MiB).
const MAX_PROVEN_BYTES: u64 = 16 << 20;

/// The memory that there is for such blobs.
#[derive(Debug)]
pub(super) struct Memory(Arc<Semaphore>);

/// A small blob in memory.
#[derive(Debug)]
pub(super) struct Held {
    bytes: BytesMut,
    _memory: OwnedSemaphorePermit,
}

impl Memory {
    /// Room for `bytes`, or as many as usual.
    pub(super) fn new(bytes: Option<u64>) -> Self {
        let bytes = bytes.unwrap_or(MAX_HELD_BYTES).min(MAX_HELD_BYTES);
        Self(Arc::new(Semaphore::new(usize::try_from(bytes).unwrap_or(0))))
    }

    /// A place for the whole `blob`, if it is small and there is room.
    pub(super) fn room_for(&self, blob: &Descriptor) -> Option<Held> {
        let size = u32::try_from(blob.size).ok().filter(|_| blob.size <= MAX_HELD_BLOB)?;
        let memory = Arc::clone(&self.0).try_acquire_many_owned(size).ok()?;
        Some(Held { bytes: BytesMut::new(), _memory: memory })
    }
}

impl Held {
    /// Takes the next bytes.
    pub(super) fn push(&mut self, bytes: &Bytes) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The diff ID, unless it takes too long to find out.
    pub(super) fn diff_id(&mut self, compression: Compression) -> Option<DiffId> {
        let blob = mem::take(&mut self.bytes).freeze();
        let diff_id = diff_id_of(blob.clone(), compression);
        // Nobody else has it any more, so that nothing is copied.
        self.bytes = blob.into();
        diff_id
    }

    /// The blob.
    pub(super) fn into_reader(self) -> impl BufRead + Send + 'static {
        self.bytes.freeze().reader()
    }
}

fn diff_id_of(blob: Bytes, compression: Compression) -> Option<DiffId> {
    let mut content = Decoder::new(blob.reader(), compression).ok()?.take(MAX_PROVEN_BYTES);
    let mut hasher = Hasher::new();
    hasher.update_from(&mut content).ok()?;
    (content.limit() > 0).then(|| DiffId(hasher.finish()))
}
