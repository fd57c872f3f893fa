//! One unpacking of a chain at a time: images that share layers, pulled at the same time, wait for
//! each other instead of unpacking twice. Other processes are not kept out; the snapshotter decides
//! between them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

use crate::oci::ChainId;

type Lock = tokio::sync::Mutex<()>;

/// The chains being unpacked. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct ChainLocks {
    locks: Arc<Mutex<HashMap<ChainId, Weak<Lock>>>>,
}

impl ChainLocks {
    /// Waits for its turn on `chain`, which lasts until the guard is dropped.
    pub(super) async fn lock(&self, chain: &ChainId) -> OwnedMutexGuard<()> {
        self.of(chain).lock_owned().await
    }

    fn of(&self, chain: &ChainId) -> Arc<Lock> {
        // Nothing that could panic happens under this lock.
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(chain).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(Lock::default());
        locks.insert(*chain, Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;

    fn chain(text: &str) -> ChainId {
        ChainId(Digest::of(text.as_bytes()))
    }

    #[tokio::test]
    async fn lets_one_at_a_time_unpack_a_chain_and_others_go_on() {
        let locks = ChainLocks::default();
        let first = locks.lock(&chain("a")).await;
        assert!(locks.clone().of(&chain("a")).try_lock().is_err());
        let other = locks.lock(&chain("b")).await;
        drop(first);
        assert!(locks.of(&chain("a")).try_lock().is_ok());
        drop(other);
    }

    #[tokio::test]
    async fn forgets_chains_that_are_done() {
        let locks = ChainLocks::default();
        for text in ["a", "b", "c"] {
            drop(locks.lock(&chain(text)).await);
        }
        assert_eq!(locks.locks.lock().unwrap().len(), 1);
    }
}
