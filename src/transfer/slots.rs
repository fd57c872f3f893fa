//! How many blobs are worked on at the same time.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::Error;

/// The slots of a run, and as many places to wait in.
#[derive(Debug)]
pub(super) struct Slots {
    working: Semaphore,
    waiting: Semaphore,
}

/// A blob's slot, or its place among those that wait.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    slots: &'a Slots,
    working: Option<SemaphorePermit<'a>>,
    waiting: Option<SemaphorePermit<'a>>,
}

impl Slots {
    pub(super) fn new(count: usize) -> Self {
        Self { working: Semaphore::new(count), waiting: Semaphore::new(count) }
    }

    /// A slot, as soon as one is free.
    pub(super) async fn take(&self) -> Result<Slot<'_>, Error> {
        let slot = self.working.acquire().await.map_err(|_closed| Error::Closed)?;
        Ok(Slot { slots: self, working: Some(slot), waiting: None })
    }
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
