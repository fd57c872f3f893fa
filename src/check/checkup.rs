//! A checkup of a namespace's images: what they have in common, and what was seen in this run.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::OnceCell;

use super::finding::{Finding, Remark};
use super::walk::StoredPart;
use crate::containerd::{
    self, Client, Container, Lease, Resource, SnapshotInfo, SnapshotKind, labels,
};
use crate::images::StoredImage;
use crate::oci::{ChainId, Descriptor, Digest};
use crate::progress::{BlobKind, BlobState, Event, Sink};
use crate::unpack::Sight;

/// How long what a checkup makes for itself stays when it is killed (24 h, as for a pull).
const LIFETIME: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);

/// How a checkup is done.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// The snapshotter that containers of the kubelet are started from.
    pub snapshotter: String,
    /// Whether every byte is read.
    pub is_deep: bool,
    /// Layers that are read at the same time.
    pub layers_at_once: usize,
    /// Whether the images have to be found by the kubelet.
    pub is_for_kubelet: bool,
}

/// What was found of one image.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Its first name.
    pub image: String,
    /// Digest of its configuration, as far as that is known.
    pub id: Option<Digest>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What there is to know.
    pub remarks: Vec<Remark>,
}

/// A namespace's images being looked at.
pub struct Checkup {
    pub(super) client: Client,
    pub(super) options: CheckOptions,
    pub(super) progress: Arc<dyn Sink>,
    /// Every snapshot, by snapshotter and key.
    pub(super) snapshots: BTreeMap<String, HashMap<String, SnapshotInfo>>,
    pub(super) containers: Vec<Container>,
    /// What configurations keep, by snapshotter and key, with all that it lies on.
    kept: HashSet<(String, String)>,
    pub(super) has_cri: bool,
    /// Blobs that were read in this run and are right.
    pub(super) right: HashSet<Digest>,
    /// Layers that were compared in this run and are as they should be.
    pub(super) alike: HashSet<(String, ChainId)>,
    lease: OnceCell<(String, Client)>,
    /// The files of snapshots, or why they are out of sight.
    pub(super) sight: OnceCell<Result<Sight, String>>,
    /// Snapshots that were removed so that they are made anew.
    pub(super) discarded: BTreeSet<String>,
}

impl Checkup {
    /// A checkup of the namespace of `client`.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn new(
        client: Client,
        options: CheckOptions,
        progress: Arc<dyn Sink>,
    ) -> Result<Self, containerd::Error> {
        let has_cri = options.is_for_kubelet && client.cri().status().await?.is_some();
        Ok(Self {
            client,
            options,
            progress,
            snapshots: BTreeMap::new(),
            containers: Vec::new(),
            kept: HashSet::new(),
            has_cri,
            right: HashSet::new(),
            alike: HashSet::new(),
            lease: OnceCell::new(),
            sight: OnceCell::new(),
            discarded: BTreeSet::new(),
        })
    }

    /// Looks at what all images of the namespace have in common: to be done before the first of them,
    /// and after something was mended.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn survey(&mut self, all: &[StoredImage]) -> Result<(), containerd::Error> {
        let content = self.client.content();
        let mut keeping: Vec<(String, String)> = Vec::new();
        for id in all.iter().filter_map(|image| image.id) {
            let Some(info) = content.info(&id).await? else { continue };
            let kept = labels::kept_snapshots(&info.labels);
            keeping.extend(kept.map(|(name, key)| (name.to_owned(), key.to_owned())));
        }
        let mut snapshotters: BTreeSet<String> =
            keeping.iter().map(|(name, _)| name.clone()).collect();
        snapshotters.insert(self.options.snapshotter.clone());
        self.snapshots.clear();
        for name in snapshotters {
            let listed = match self.client.snapshots(&name).list().await {
                Ok(listed) => listed,
                // An image may remember a snapshotter that is no more.
                Err(containerd::Error::NotFound { .. } | containerd::Error::Refused { .. })
                    if name != self.options.snapshotter =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            };
            let by_name = listed.into_iter().map(|info| (info.name.clone(), info)).collect();
            self.snapshots.insert(name, by_name);
        }
        self.kept.clear();
        for (snapshotter, top) in keeping {
            let Some(by_name) = self.snapshots.get(&snapshotter) else { continue };
            let mut next = Some(top);
            while let Some(name) = next {
                next = by_name.get(&name).and_then(|info| info.parent.clone());
                if !self.kept.insert((snapshotter.clone(), name)) {
                    break;
                }
            }
        }
        self.containers = self.client.containers().await?;
        Ok(())
    }

    /// Ends the checkup: what it made for itself goes.
    pub async fn close(&self) {
        if let Some(Ok(sight)) = self.sight.get() {
            sight.close().await;
        }
        if let Some((id, _)) = self.lease.get()
            && let Err(error) = self.client.leases().delete(id, false).await
        {
            tracing::debug!(%error, "the lease is left to expire");
        }
    }

    /// The client under the lease of the checkup, which exists from now on.
    pub(super) async fn leased(&self) -> Result<&Client, containerd::Error> {
        let take = async || {
            let Lease { id, labels } = Lease::ours([]);
            self.client.leases().create(&id, LIFETIME, &labels).await?;
            Ok::<_, containerd::Error>((id.clone(), self.client.with_lease(&id)))
        };
        Ok(&self.lease.get_or_try_init(take).await?.1)
    }

    /// Keeps a snapshot, if it is there, for as long as the checkup goes on: garbage collection may come
    /// at any time.
    pub(super) async fn hold(
        &self,
        snapshotter: &str,
        name: &str,
    ) -> Result<(), containerd::Error> {
        let leases = self.leased().await?.leases();
        let Some((id, _)) = self.lease.get() else { return Ok(()) };
        let kind = format!("{}{snapshotter}", Resource::SNAPSHOTS);
        leases.hold(id, &Resource::new(kind, name)).await
    }

    /// Whether the snapshot is there.
    pub(super) fn has_snapshot(&self, snapshotter: &str, chain_id: &ChainId) -> bool {
        let by_name = self.snapshots.get(snapshotter);
        by_name.is_some_and(|by_name| by_name.contains_key(&chain_id.to_string()))
    }

    /// Whether the layer is unpacked for any snapshotter.
    pub(super) fn is_unpacked(&self, part: &StoredPart, position: usize) -> bool {
        let Some(identity) = part.identities.get(position) else { return false };
        self.snapshots.keys().any(|name| self.has_snapshot(name, &identity.chain_id))
    }

    /// Whether some image's configuration keeps the snapshot.
    pub(super) fn is_kept(&self, snapshotter: &str, chain_id: &ChainId) -> bool {
        self.kept.contains(&(snapshotter.to_owned(), chain_id.to_string()))
    }

    /// Who uses the snapshot, or one that lies on it: containers, and what is neither a layer nor ours.
    pub(super) fn users(&self, snapshotter: &str, name: &str) -> Vec<String> {
        let Some(by_name) = self.snapshots.get(snapshotter) else { return Vec::new() };
        let mut users = BTreeSet::new();
        for info in by_name.values().filter(|info| info.kind != SnapshotKind::Committed) {
            let mut next = info.parent.as_deref();
            // No chain is longer than all snapshots together.
            for _ in 0..by_name.len() {
                match next {
                    Some(found) if found == name => {
                        users.insert(self.user(snapshotter, &info.name));
                        break;
                    }
                    Some(other) => next = by_name.get(other).and_then(|it| it.parent.as_deref()),
                    None => break,
                }
            }
        }
        users.into_iter().collect()
    }

    fn user(&self, snapshotter: &str, key: &str) -> String {
        let is_its = |it: &&Container| it.snapshot == key && it.snapshotter == snapshotter;
        match self.containers.iter().find(is_its) {
            Some(container) => match super::User::of(container).pod {
                Some(pod) => format!("container {} ({pod})", container.id),
                None => format!("container {}", container.id),
            },
            None => format!("snapshot {key}"),
        }
    }
}

/// Tells what becomes of a layer's blob.
pub(super) fn tell(progress: &dyn Sink, blob: &Descriptor, state: BlobState) {
    let Descriptor { digest, size: size_bytes, .. } = *blob;
    let kind = BlobKind::Layer;
    progress.event(Event::Blob { digest, kind, size_bytes, state, resumed_bytes: 0 });
}

impl Report {
    /// Whether nothing is wrong any more.
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| finding.repaired)
    }

    pub(super) fn remark(&mut self, code: &'static str, what: impl Into<String>) {
        let remark = Remark { code, what: what.into() };
        if !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }
}
