//! Active snapshots: prepared for a layer, filled by somebody, committed or removed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use tokio_util::task::TaskTracker;
use tracing::debug;

use super::{Error, Layer};
use crate::containerd::{Committed, Labels, Mount, Prepared, Snapshots};
use crate::sync::lock;

/// How often a snapshot is prepared when the daemon says that it exists, yet it can't be found: its
/// removal and our asking may cross once, hardly twice.
const PREPARE_TRIES: usize = 3;

/// The active snapshots that this run has open. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct ActiveSnapshots {
    snapshots: Snapshots,
    keys: Arc<Mutex<BTreeSet<String>>>,
    /// Calls that prepare one; closed, under the lock of the keys, when the last was to begin.
    preparing: TaskTracker,
}

/// An active snapshot that is being filled. One that is dropped without being committed or removed
/// is removed by [`ActiveSnapshots::remove_left`], or goes with the lease.
#[derive(Debug)]
pub(super) struct ActiveSnapshot {
    all: ActiveSnapshots,
    key: String,
    pub(super) mounts: Vec<Mount>,
}

impl ActiveSnapshots {
    pub(super) fn new(snapshots: Snapshots) -> Self {
        Self { snapshots, keys: Arc::default(), preparing: TaskTracker::new() }
    }

    /// Prepares `layer` on top of its parent, which must be committed; `None` when the layer's own
    /// snapshot is committed already.
    pub(super) async fn on_parent(&self, layer: &Layer) -> Result<Option<ActiveSnapshot>, Error> {
        let chain = layer.identity.chain_id.to_string();
        let parent = layer.identity.parent.map(|parent| parent.to_string());
        let labels = self.layer_labels(layer);
        for _ in 0..PREPARE_TRIES {
            let prepared = self.prepare(&chain, parent.as_deref(), &labels).await?;
            if prepared.is_some() {
                return Ok(prepared);
            }
            if self.snapshots.stat(&chain).await?.is_some() {
                return Ok(None);
            }
            debug!(chain, "the snapshot exists, yet is not found");
        }
        Err(Error::Undecided { layer: layer.descriptor.digest })
    }

    /// Prepares an empty snapshot without parent, to extract `layer` before its parent is there.
    pub(super) async fn apart(&self, layer: &Layer) -> Result<ActiveSnapshot, Error> {
        // Without labels: this is a place to work in, which need not become that chain.
        let chain = layer.identity.chain_id.to_string();
        let prepared = self.prepare(&chain, None, &Labels::new()).await?;
        prepared.ok_or(Error::Undecided { layer: layer.descriptor.digest })
    }

    /// Prepares an empty snapshot that never becomes a layer's: a place to work in, on `parent` or on
    /// none, for the sake of `chain`. `None` when it can't be told from another.
    pub(super) async fn scratch(
        &self,
        chain: &str,
        parent: Option<&str>,
    ) -> Result<Option<ActiveSnapshot>, Error> {
        self.prepare(chain, parent, &Labels::new()).await
    }

    /// Whether a snapshot that was made [apart](Self::apart) can be committed on top of a parent.
    pub(super) async fn can_rebase(&self) -> Result<bool, Error> {
        Ok(self.snapshots.can_rebase().await?)
    }

    /// Removes what a failed or abandoned extraction has left. Nothing is prepared from then on.
    pub(super) async fn remove_left(&self) {
        {
            let _keys = self.keys();
            self.preparing.close();
        }
        self.preparing.wait().await;
        let left = std::mem::take(&mut *self.keys());
        for key in left {
            self.remove(&key).await;
        }
    }

    async fn prepare(
        &self,
        chain: &str,
        parent: Option<&str>,
        labels: &Labels,
    ) -> Result<Option<ActiveSnapshot>, Error> {
        let key = extraction_key(chain);
        let (snapshots, wanted) = (self.snapshots.clone(), key.clone());
        let (parent, labels) = (parent.map(str::to_owned), labels.clone());
        let preparing = {
            let mut keys = self.keys();
            if self.preparing.is_closed() {
                // Of a task that was given up, and has not noticed yet.
                return Ok(None);
            }
            keys.insert(key.clone());
            // It goes on when its caller is given up: what the daemon makes after it was told to remove it
            // would stay.
            self.preparing
                .spawn(async move { snapshots.prepare(&wanted, parent.as_deref(), &labels).await })
        };
        match preparing.await.map_err(Error::Stopped)?? {
            Prepared::Mounts(mounts) => Ok(Some(ActiveSnapshot { all: self.clone(), key, mounts })),
            Prepared::Exists => {
                self.keys().remove(&key);
                Ok(None)
            }
        }
    }

    /// Labels of the snapshot that becomes `layer`'s.
    fn layer_labels(&self, layer: &Layer) -> Labels {
        let mut labels = layer.labels.clone();
        labels.extend(self.snapshots.layer_labels(&layer.identity));
        labels
    }

    /// What can't be removed is left to the lease.
    async fn remove(&self, key: &str) {
        if let Err(error) = self.snapshots.remove(key).await {
            debug!(key, %error, "an unfinished snapshot is left to the lease");
        }
    }

    fn keys(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // Nothing that could panic happens under this lock.
        lock(&self.keys)
    }
}

impl ActiveSnapshot {
    /// How many files and directories are in it, as the daemon sees it.
    pub(super) async fn inodes(&self) -> Result<u64, Error> {
        Ok(self.all.snapshots.usage(&self.key).await?.inodes)
    }

    /// Commits it as `layer`'s snapshot. One that was made [apart](ActiveSnapshots::apart) gets its
    /// parent by this, of a daemon that [can do so](ActiveSnapshots::can_rebase). Where another client
    /// was quicker, or the daemon refuses, it is removed.
    pub(super) async fn commit(self, layer: &Layer) -> Result<Committed, Error> {
        let chain = layer.identity.chain_id.to_string();
        let parent = layer.identity.parent.map(|parent| parent.to_string());
        let labels = self.all.layer_labels(layer);
        match self.all.snapshots.commit(&chain, &self.key, parent.as_deref(), &labels).await {
            Ok(Committed::Done) => {
                self.all.keys().remove(&self.key);
                Ok(Committed::Done)
            }
            Ok(Committed::Exists) => {
                self.remove().await;
                Ok(Committed::Exists)
            }
            Err(error) => {
                self.remove().await;
                Err(error.into())
            }
        }
    }

    /// Removes it.
    pub(super) async fn remove(&self) {
        self.all.remove(&self.key).await;
        self.all.keys().remove(&self.key);
    }
}

/// Unique among all clients that unpack `chain` at the same time, in the form that containerd's own
/// clients use.
pub(super) fn extraction_key(chain: &str) -> String {
    let nanoseconds = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    format!("extract-{nanoseconds}-{:08x} {chain}", fastrand::u32(..))
}
