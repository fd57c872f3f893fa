//! Small blobs that lie in their place already, and of which the daemon is told by and by: what was unpacked
//! of one becomes a snapshot meanwhile. Nobody sees an image before all of its blobs are stored.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::Semaphore;

use crate::oci::Digest;
use crate::sync::lock;
use crate::transfer::error::Error;
use crate::unpack;

/// How many at a time. Each holds its bytes, besides those of the blobs that are under way.
const AT_ONCE: usize = 2;

type Stored = Shared<BoxFuture<'static, Result<(), Arc<Error>>>>;

/// What is being stored by itself. Clones share it.
#[derive(Clone)]
pub(super) struct Storing {
    blobs: Arc<Mutex<HashMap<Digest, Stored>>>,
    slots: Arc<Semaphore>,
}

impl Storing {
    pub(super) fn new() -> Self {
        Self { blobs: Arc::default(), slots: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Has `store`, which stores the blob `digest`, go on by itself; `Err` with it where too many do.
    pub(super) fn leave<F>(&self, digest: Digest, store: F) -> Result<(), F>
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else { return Err(store) };
        let task = tokio::spawn(async move {
            let stored = store.await;
            drop(slot);
            stored
        });
        let stored = async {
            task.await.unwrap_or_else(|stopped| Err(Error::Task(stopped))).map_err(Arc::new)
        };
        lock(&self.blobs).insert(digest, stored.boxed().shared());
        Ok(())
    }

    /// Waits until the blob is stored, if it was left to itself.
    ///
    /// # Errors
    /// Why it could not be stored.
    pub(super) async fn end(&self, digest: &Digest) -> Result<(), Error> {
        let stored = lock(&self.blobs).get(digest).cloned();
        match stored {
            Some(stored) => stored.await.map_err(Error::Shared),
            None => Ok(()),
        }
    }

    /// Waits until none is being stored any more. Whoever needs one is told why it is not there.
    pub(super) async fn end_all(&self) {
        let blobs = std::mem::take(&mut *lock(&self.blobs));
        for stored in blobs.into_values() {
            if let Err(error) = stored.await {
                tracing::debug!(%error, "a blob was not stored");
            }
        }
    }
}

#[async_trait]
impl unpack::Storing for Storing {
    async fn settled(&self, blob: &Digest) {
        // Whoever gives the image its name asks again.
        let _ = self.end(blob).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn whoever_needs_a_blob_waits_for_it_and_is_told() {
        let storing = Storing::new();
        let (good, bad) = (Digest::of(b"good"), Digest::of(b"bad"));
        let (go, gone) = oneshot::channel::<()>();
        assert!(storing.leave(good, async { gone.await.map_err(|_| Error::Closed) }).is_ok());
        assert!(storing.leave(bad, async { Err(Error::Closed) }).is_ok());
        assert!(storing.end(&good).now_or_never().is_none());
        go.send(()).unwrap();
        storing.end(&good).await.unwrap();
        for _ in 0..2 {
            assert!(matches!(storing.end(&bad).await, Err(Error::Shared(_))), "each of two images");
        }
        storing.end(&Digest::of(b"another")).await.unwrap();
    }

    #[tokio::test]
    async fn no_more_are_left_to_themselves_than_memory_is_meant_for() {
        let storing = Storing::new();
        let (_go, wait) = oneshot::channel::<()>();
        let wait = wait.map(|_| Ok(())).shared();
        for blob in 0..AT_ONCE {
            let (digest, wait) = (Digest::of(&[blob as u8]), wait.clone());
            assert!(
                storing.leave(digest, async { wait.await.map_err(|()| Error::Closed) }).is_ok()
            );
        }
        assert!(storing.leave(Digest::of(b"more"), async { Ok(()) }).is_err());
    }
}
