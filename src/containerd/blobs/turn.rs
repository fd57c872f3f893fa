//! Waiting for one's turn while another client writes the same blob.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::content::ContentStore;
use crate::containerd::Error;
use crate::oci::Digest;

/// First and longest pause before a blob that another client is writing is opened again. Opening it
/// while it is locked costs the daemon up to half a second inside a database transaction, so patience
/// is cheaper for everyone.
const LOCK_FIRST_PAUSE: Duration = Duration::from_millis(50);
const LOCK_LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// How often the store is meanwhile asked whether the blob has turned up, which costs it nothing.
const LOCK_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Waiting while another client writes the same blob.
pub(super) struct Turn<'a> {
    store: &'a ContentStore,
    digest: &'a Digest,
    pause: Duration,
}

impl<'a> Turn<'a> {
    pub(super) fn new(store: &'a ContentStore, digest: &'a Digest) -> Self {
        Self { store, digest, pause: LOCK_FIRST_PAUSE }
    }

    /// When `error` is that another client holds the lock, returns as soon as opening is worth
    /// another try; hands back any other error.
    pub(super) async fn wait(&mut self, error: Error) -> Result<(), Error> {
        let Error::Locked { source, .. } = error else { return Err(error) };
        if self.pause == LOCK_FIRST_PAUSE {
            info!(digest = %self.digest, %source, "another client writes this blob, waiting");
        }
        // Jitter: several waiting clients must not ask in step.
        let until = Instant::now() + self.pause.mul_f64(0.5 + fastrand::f64());
        self.pause = (self.pause * 2).min(LOCK_LONGEST_PAUSE);
        while Instant::now() < until && self.store.info(self.digest).await?.is_none() {
            sleep_until(until.min(Instant::now() + LOCK_LOOK_INTERVAL)).await;
        }
        Ok(())
    }
}
