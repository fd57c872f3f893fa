//! Active snapshots: prepared for a layer, filled by somebody, committed or removed.

use std::time::SystemTime;

use tracing::debug;

use super::{Error, Layer, Unpacked};
use crate::containerd::labels::SNAPSHOT_REFERENCE;
use crate::containerd::{Committed, Labels, Mount, Prepared, Snapshots};

/// How often a snapshot is prepared when the daemon says that it exists, yet it can't be found: its
/// removal and our asking may cross once, hardly twice.
const PREPARE_TRIES: usize = 3;

/// An active snapshot that is being filled. One that is dropped without being committed or removed
/// goes with the lease.
#[derive(Debug)]
pub(super) struct ActiveSnapshot {
    snapshots: Snapshots,
    key: String,
    pub(super) mounts: Vec<Mount>,
}

impl ActiveSnapshot {
    /// Prepares `layer` on top of its parent, which must be committed; `None` when the layer's own
    /// snapshot is committed already.
    pub(super) async fn on_parent(
        snapshots: &Snapshots,
        layer: &Layer,
    ) -> Result<Option<Self>, Error> {
        let chain = layer.identity.chain_id.to_string();
        let parent = layer.identity.parent.map(|parent| parent.to_string());
        for _ in 0..PREPARE_TRIES {
            let key = extraction_key(&chain);
            match snapshots.prepare(&key, parent.as_deref(), &chain_label(&chain)).await? {
                Prepared::Mounts(mounts) => {
                    return Ok(Some(Self { snapshots: snapshots.clone(), key, mounts }));
                }
                Prepared::Exists if snapshots.stat(&chain).await?.is_some() => return Ok(None),
                Prepared::Exists => debug!(chain, "the snapshot exists, yet is not found"),
            }
        }
        Err(Error::Undecided { layer: layer.descriptor.digest })
    }

    /// Prepares an empty snapshot without parent, to extract `layer` before its parent is there.
    pub(super) async fn apart(snapshots: &Snapshots, layer: &Layer) -> Result<Self, Error> {
        // Without the label: this is a place to work in, which never becomes that chain.
        let key = extraction_key(&layer.identity.chain_id.to_string());
        match snapshots.prepare(&key, None, &Labels::new()).await? {
            Prepared::Mounts(mounts) => Ok(Self { snapshots: snapshots.clone(), key, mounts }),
            Prepared::Exists => Err(Error::Undecided { layer: layer.descriptor.digest }),
        }
    }

    /// What it takes on disk, as the daemon sees it.
    pub(super) async fn inodes(&self) -> Result<u64, Error> {
        Ok(self.snapshots.usage(&self.key).await?.inodes)
    }

    /// Commits it as `layer`'s snapshot. Where another client was quicker, or the daemon refuses, it
    /// is removed.
    pub(super) async fn commit(self, layer: &Layer) -> Result<Unpacked, Error> {
        let chain = layer.identity.chain_id.to_string();
        match self.snapshots.commit(&chain, &self.key, &chain_label(&chain)).await {
            Ok(Committed::Done) => Ok(Unpacked::Done),
            Ok(Committed::Exists) => {
                self.remove().await;
                Ok(Unpacked::Exists)
            }
            Err(error) => {
                self.remove().await;
                Err(error.into())
            }
        }
    }

    /// Removes it; what can't be removed is left to the lease.
    pub(super) async fn remove(&self) {
        if let Err(error) = self.snapshots.remove(&self.key).await {
            debug!(key = self.key, %error, "an unfinished snapshot is left to the lease");
        }
    }
}

fn chain_label(chain: &str) -> Labels {
    [(SNAPSHOT_REFERENCE.to_owned(), chain.to_owned())].into()
}

/// Unique among all clients that unpack `chain` at the same time, in the form that containerd's own
/// clients use.
fn extraction_key(chain: &str) -> String {
    let nanoseconds = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    format!("extract-{nanoseconds}-{:08x} {chain}", fastrand::u32(..))
}
