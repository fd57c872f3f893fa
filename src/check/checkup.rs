//! A checkup of a namespace's images: what is looked at for each, in which order.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::OnceCell;

use super::finding::{Finding, Remark, Remedy};
use super::walk::{StoredPart, Walk};
use crate::containerd::{
    self, Client, Container, Image, Lease, Resource, SnapshotInfo, SnapshotKind, labels,
};
use crate::images::{NameKind, StoredImage};
use crate::oci::{ChainId, Descriptor, Digest};
use crate::progress::Sink;
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
    has_cri: bool,
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

    /// Looks at one image.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn image(&mut self, image: &StoredImage) -> Result<Report, containerd::Error> {
        let name = image.names.first().map(|name| name.name.clone()).unwrap_or_default();
        let mut report =
            Report { image: name, id: image.id, findings: Vec::new(), remarks: Vec::new() };
        let targets: BTreeMap<Digest, &Descriptor> =
            image.names.iter().map(|name| (name.target.digest, &name.target)).collect();
        let mut is_whole = true;
        let mut platform = None;
        for target in targets.into_values() {
            let mut walk = Walk::of(&self.client.content(), target).await?;
            report.findings.append(&mut walk.findings);
            self.check_labels(&walk, &mut report).await?;
            if let Some(part) = &walk.part {
                platform = platform.or_else(|| part.platform.clone());
                self.check_layers(part, &mut report).await?;
                self.check_snapshots(part, &mut report);
            }
            if self.options.is_deep {
                self.look_deep(&walk, &mut report).await?;
            }
            is_whole &= walk.part.is_some_and(|part| !part.identities.is_empty());
        }
        if self.options.is_for_kubelet {
            self.check_names(image, &mut report);
            let runs_here = platform.is_some_and(|it| {
                let host = crate::platform::Platform::host();
                crate::platform::Matcher::default_for(&host).rank(&it).is_some()
            });
            if self.has_cri && is_whole && runs_here && report.findings.is_empty() {
                self.check_kubelet(image, &mut report).await?;
            }
        }
        self.say_fixes(&mut report);
        Ok(report)
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

    /// Says of each finding what to do about it.
    fn say_fixes(&self, report: &mut Report) {
        let deep = if self.options.is_deep { " --deep" } else { "" };
        let repair = format!("pullctl check{deep} --repair {}", report.image);
        for finding in &mut report.findings {
            let users = match &finding.remedy {
                Remedy::Rewrite(unpacked, position) => {
                    let layer = unpacked.layers.get(*position);
                    let chain = layer.map(|(_, identity)| identity.chain_id.to_string());
                    self.users(&unpacked.snapshotter, &chain.unwrap_or_default())
                }
                Remedy::Discard(snapshotter, chain) => self.users(snapshotter, &chain.to_string()),
                _ => Vec::new(),
            };
            finding.fix = match users.is_empty() {
                true => repair.clone(),
                false => {
                    format!("it is in use by {}: end that first, then {repair}", users.join(", "))
                }
            };
        }
    }

    /// The names that a pull would have given the image beside those that it has.
    fn check_names(&self, image: &StoredImage, report: &mut Report) {
        const WHY: &str =
            "the kubelet asks by the tag, by the repository's digest and by the image ID";
        let Some(id) = image.id else { return };
        let has = |name: &str| image.names.iter().any(|known| known.name == name);
        let mut wanted: BTreeMap<String, &Image> = BTreeMap::new();
        for name in &image.names {
            let Ok(reference) = name.name.parse::<crate::reference::Reference>() else { continue };
            let is_usable = crate::images::is_found_by_kubelet(&name.name);
            if NameKind::of(&name.name) == NameKind::Id || !is_usable {
                continue;
            }
            for stored in labels::image_names(&reference, &name.target.digest, &id) {
                wanted.entry(stored).or_insert(name);
            }
        }
        for (name, of) in wanted {
            let labels = labels::image_labels(image.has_pin(), &of.labels);
            if !has(&name) {
                let what = format!("name {name} is missing");
                let remedy = Remedy::Name(name.clone(), of.target.clone(), labels);
                report.findings.push(Finding::new("name-missing", name, what, WHY, remedy));
            }
        }
        let (key, value) = labels::CRI_IMAGE;
        for name in
            image.names.iter().filter(|name| name.labels.get(key).is_none_or(|it| it != value))
        {
            if !self.has_cri || !crate::images::is_found_by_kubelet(&name.name) {
                continue;
            }
            let what = format!("name {} lacks the label {key}={value}", name.name);
            let why = "containerd's CRI plugin takes no care of names without it";
            let labels = labels::image_labels(image.has_pin(), &name.labels);
            let remedy = Remedy::Name(name.name.clone(), name.target.clone(), labels);
            report.findings.push(Finding::new("name-unmanaged", &name.name, what, why, remedy));
        }
    }
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
