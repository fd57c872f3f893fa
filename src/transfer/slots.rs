//! How many blobs are worked on at the same time, and how much memory there is for them.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::Error;

/// Most that a blob under way holds in memory (6 MiB), whichever way it goes and whatever its size:
/// - into containerd, 3 MiB on their way to its file and to the extractor, which have the same bytes, and
///   2 MiB inflated;
/// - into containerd over gRPC, five messages of 1 MiB;
/// - from containerd to a registry or into an archive, eight pieces of 512 KiB that were read;
/// - a small one, itself, up to 2 MiB, and the message or the request that is made of it.
pub const BLOB_BYTES: u64 = 6 << 20;

/// The same of a layer that is packed by zstd and unpacked on its way (16 MiB): it has a window of 8 MiB, and
/// zstd's own buffers.
pub const ZSTD_LAYER_BYTES: u64 = 16 << 20;

/// Memory is counted in units of this many bytes (1 MiB).
const UNIT: u64 = 1 << 20;

/// The slots of a run, as many places to wait in, and the memory for both.
#[derive(Debug)]
pub(super) struct Slots {
    working: Semaphore,
    waiting: Semaphore,
    memory: Option<Memory>,
}

/// Memory for blobs. Whoever waits is served in order of arrival, so that small ones do not keep a large
/// one waiting for ever.
#[derive(Debug)]
struct Memory {
    units: Semaphore,
    total: u32,
}

/// A blob's slot, or its place among those that wait.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    slots: &'a Slots,
    working: Option<SemaphorePermit<'a>>,
    waiting: Option<SemaphorePermit<'a>>,
    /// Until the end, since a blob that waits may have to go on.
    _memory: Option<SemaphorePermit<'a>>,
}

impl Slots {
    /// `count` slots, for blobs that hold `memory_bytes` together, if that is bounded.
    pub(super) fn new(count: usize, memory_bytes: Option<u64>) -> Self {
        let memory = memory_bytes.map(|bytes| {
            let total = units(bytes).max(1);
            Memory { units: Semaphore::new(total as usize), total }
        });
        Self { working: Semaphore::new(count), waiting: Semaphore::new(count), memory }
    }

    /// A slot for a blob that holds up to `bytes` in memory, as soon as there is one and room for them. More
    /// than there is at all counts as all of it.
    pub(super) async fn take(&self, bytes: u64) -> Result<Slot<'_>, Error> {
        let working = self.working.acquire().await.map_err(|_closed| Error::Closed)?;
        let memory = match &self.memory {
            Some(Memory { units: free, total }) => {
                let wanted = units(bytes).min(*total);
                Some(free.acquire_many(wanted).await.map_err(|_closed| Error::Closed)?)
            }
            None => None,
        };
        Ok(Slot { slots: self, working: Some(working), waiting: None, _memory: memory })
    }
}

fn units(bytes: u64) -> u32 {
    // What a semaphore counts has an end, far beyond what machines have.
    u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).min(u32::MAX >> 3)
}

impl Slot<'_> {
    /// Lets another blob have the slot, while nothing is done for this one here. Of those that wait, there
    /// are no more than slots: a place that takes its time is not to be flooded.
    pub(super) async fn wait(&mut self) -> Result<(), Error> {
        if self.waiting.is_none() {
            let place = self.slots.waiting.acquire().await.map_err(|_closed| Error::Closed)?;
            self.waiting = Some(place);
        }
        self.working = None;
        Ok(())
    }

    /// Goes on with the blob, with a slot if one is free. Otherwise without: who has them may wait for this
    /// very blob.
    pub(super) fn work(&mut self) {
        if self.working.is_none()
            && let Ok(slot) = self.slots.working.try_acquire()
        {
            self.working = Some(slot);
            self.waiting = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[tokio::test]
    async fn blobs_have_room_in_memory_together_in_the_order_in_which_they_came() {
        let slots = Slots::new(8, Some(26 * MIB));
        let gzip = slots.take(BLOB_BYTES).await.unwrap();
        let zstd = slots.take(ZSTD_LAYER_BYTES).await.unwrap();
        let mut second = Box::pin(slots.take(ZSTD_LAYER_BYTES));
        assert!(second.as_mut().now_or_never().is_none());
        let mut small = Box::pin(slots.take(MIB));
        assert!(small.as_mut().now_or_never().is_none(), "it came later");
        drop(gzip);
        assert!(second.as_mut().now_or_never().is_none());
        drop(zstd);
        assert!(second.as_mut().now_or_never().is_some());
        assert!(small.as_mut().now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_blob_that_waits_lets_its_slot_go_and_keeps_its_memory() {
        let slots = Slots::new(1, Some(8 * MIB));
        let mut first = slots.take(BLOB_BYTES).await.unwrap();
        first.wait().await.unwrap();
        assert!(slots.take(BLOB_BYTES).now_or_never().is_none());
        assert!(slots.take(2 * MIB).now_or_never().is_some());
    }

    #[tokio::test]
    async fn what_needs_more_than_there_is_comes_alone_and_without_a_bound_nothing_waits() {
        let slots = Slots::new(2, Some(MIB));
        let first = slots.take(u64::MAX).await.unwrap();
        assert!(slots.take(MIB).now_or_never().is_none());
        drop(first);
        assert!(slots.take(MIB).now_or_never().is_some());
        let unbounded = Slots::new(2, None);
        let _first = unbounded.take(u64::MAX).await.unwrap();
        assert!(unbounded.take(u64::MAX).now_or_never().is_some());
    }
}
