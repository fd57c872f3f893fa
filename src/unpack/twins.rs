//! Layers that another namespace of the daemon has unpacked: where their files lie, and that they stay
//! there while they are copied.
//!
//! A namespace's snapshots are its own: the daemon lends none to another one, and Prepare makes a new
//! directory in each. What can be saved is inflating, not the files.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::OnceCell;
use tracing::debug;

use super::Error;
use super::ground::Ground;
use crate::containerd::{Client, Labels, Lease};
use crate::oci::ChainId;
use crate::sync::lock;

/// How long a run that is killed keeps what it looked at (24 h, the lifetime of containerd's own
/// leases).
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The layers that a namespace has unpacked.
#[derive(Debug)]
pub(super) struct Twins {
    client: Client,
    snapshotter: String,
    lease: Lease,
    taken: OnceCell<()>,
    views: Mutex<Vec<String>>,
    directories: Mutex<HashMap<ChainId, PathBuf>>,
}

impl Twins {
    /// Those of the namespace of `client`, in the snapshotter of that name.
    pub(super) fn new(client: &Client, snapshotter: &str) -> Self {
        let lease = Lease::ours([]);
        Self {
            client: client.with_lease(&lease.id),
            snapshotter: snapshotter.to_owned(),
            lease,
            taken: OnceCell::new(),
            views: Mutex::default(),
            directories: Mutex::default(),
        }
    }

    /// Looks for the layers of an image, base first. Whatever keeps them from being found, they can be
    /// unpacked anew.
    pub(super) async fn look(&self, chain: &[ChainId]) {
        let Some(top) = chain.last().filter(|top| !self.directories().contains_key(top)) else {
            return;
        };
        match self.directories_of(top).await {
            Ok(Some(directories)) if directories.len() == chain.len() => {
                let base_first = directories.into_iter().rev();
                self.directories().extend(chain.iter().copied().zip(base_first));
            }
            Ok(other) => debug!(%top, ?other, "not unpacked in the other namespace"),
            Err(error) => debug!(%top, %error, "the other namespace's layers are of no use"),
        }
    }

    /// Where the layer `top` lies and all below it, topmost first.
    async fn directories_of(&self, top: &ChainId) -> Result<Option<Vec<PathBuf>>, Error> {
        let top = top.to_string();
        let snapshots = self.client.snapshots(&self.snapshotter);
        if snapshots.stat(&top).await?.is_none() {
            return Ok(None);
        }
        let Lease { id, labels } = &self.lease;
        let leases = self.client.leases();
        self.taken.get_or_try_init(|| leases.create(id, LIFETIME, labels)).await?;
        // It holds all layers that it shows.
        let key = format!("{id}-view {top}");
        lock(&self.views).push(key.clone());
        Ok(Some(Ground::layers_of(&snapshots.view(&key, &top, &Labels::new()).await?)?))
    }

    /// Where the files of the layer lie.
    pub(super) fn directory(&self, chain_id: &ChainId) -> Option<PathBuf> {
        self.directories().get(chain_id).cloned()
    }

    /// Takes note that the layer's files there are of no use.
    pub(super) fn forget(&self, chain_id: &ChainId) {
        self.directories().remove(chain_id);
    }

    /// Lets go of what was looked at.
    pub(super) async fn close(&self) {
        if self.taken.get().is_none() {
            return;
        }
        let views = std::mem::take(&mut *lock(&self.views));
        let snapshots = self.client.snapshots(&self.snapshotter);
        for view in &views {
            if let Err(error) = snapshots.remove(view).await {
                debug!(view, %error, "a view goes with its lease");
            }
        }
        if let Err(error) = self.client.leases().delete(&self.lease.id, false).await {
            debug!(%error, "what was looked at is kept until its lease expires");
        }
    }

    fn directories(&self) -> MutexGuard<'_, HashMap<ChainId, PathBuf>> {
        // Nothing that could panic happens under this lock.
        lock(&self.directories)
    }
}
