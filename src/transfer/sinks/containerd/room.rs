//! How much room images will take, and how much there is where the daemon keeps content and snapshots.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::estimate::Ratio;
use super::listed::Listed;
use crate::config::kubelet::Threshold;
use crate::containerd::{self, CONTENT_DIRECTORY, Client, ingest_reference, may_fetch};
use crate::oci::{ChainId, Descriptor, Digest};
use crate::transfer::forecast::{FileSystem, Forecast, Need};
use crate::transfer::plan::{Plan, PlatformImage};

/// What of a file system stays free, in percent: a full one does not only end this pull.
const RESERVE_PERCENT: u64 = 5;

/// Up to what size, in bytes, a blob has no beginning that an earlier run has left (2 MiB).
const MAX_WHOLE: u64 = 2 << 20;

/// Questions that the daemon is asked side by side.
const CONCURRENT_QUESTIONS: usize = 16;

/// The room that there is for a run.
pub(super) struct Room {
    client: Client,
    snapshotter: Option<String>,
    /// Another namespace of the same daemon: what it has of content takes no room a second time, and of
    /// what it has unpacked there will be copies.
    beside: Option<Client>,
    /// How little the kubelet lets the file system of images have free.
    threshold: Option<Threshold>,
}

/// A directory of the daemon's.
struct Place {
    path: PathBuf,
    device: u64,
    holds_snapshots: bool,
}

/// What is to come, counted once each.
#[derive(Default)]
struct Coming {
    blobs: HashSet<Digest>,
    chains: HashSet<ChainId>,
}

/// What the namespace has, and how layers grow when they are unpacked.
struct Known<'a> {
    blobs: &'a HashMap<Digest, containerd::Info>,
    snapshots: &'a HashSet<String>,
    beside: Beside,
    /// How much there is of blobs that are not complete.
    begun: HashMap<Digest, u64>,
    ratio: Ratio,
}

/// What another namespace of the daemon has.
#[derive(Default)]
struct Beside {
    blobs: HashSet<Digest>,
    /// What layers that are not unpacked here are there, in bytes.
    unpacked: HashMap<ChainId, u64>,
}

impl Room {
    pub(super) fn new(
        client: Client,
        snapshotter: Option<String>,
        beside: Option<Client>,
        threshold: Option<Threshold>,
    ) -> Self {
        Self { client, snapshotter, beside, threshold }
    }

    /// What `plans` will take of it.
    pub(super) async fn forecast(&self, plans: &[&Plan]) -> Result<Forecast, containerd::Error> {
        let listed = Listed::new(self.client.clone(), self.snapshotter.clone());
        let (blobs, snapshots) = tokio::try_join!(listed.blobs(), listed.snapshots())?;
        let known = Known {
            blobs,
            snapshots,
            beside: self.beside(plans, snapshots).await?,
            begun: self.begun(plans, blobs).await?,
            ratio: self.ratio(blobs, snapshots).await?,
        };
        let mut coming = Coming::default();
        let needs: Vec<Need> = plans.iter().map(|plan| known.need(plan, &mut coming)).collect();
        let mut places = self.places().await?;
        let content = places.iter().find(|place| !place.holds_snapshots);
        if content.is_some_and(|content| !holds(&content.path, blobs)) {
            // The daemon is on another machine, or in another mount namespace.
            places.clear();
        }
        let content = needs.iter().fold(0, |sum: u64, need| sum.saturating_add(need.fetched_bytes));
        let unpacked =
            needs.iter().fold(0, |sum: u64, need| sum.saturating_add(need.unpacked_bytes));
        Ok(Forecast { needs, filesystems: self.measured(places, content, unpacked) })
    }

    /// Whether `plans` have room in any case, as far as can be told without looking at what there is.
    pub(super) async fn is_ample(&self, plans: &[&Plan]) -> Result<bool, containerd::Error> {
        let fetched = plans.iter().fold(0, |sum: u64, plan| sum.saturating_add(plan.total_bytes()));
        let filesystems = self.measured(self.places().await?, fetched, Ratio::MOST.of(fetched));
        Ok(filesystems.iter().all(FileSystem::fits))
    }

    /// Where content is kept, and where snapshots are, as far as that is within reach.
    async fn places(&self) -> Result<Vec<Place>, containerd::Error> {
        // What may be had from elsewhere takes a room that nobody knows.
        if self.snapshotter.as_deref().is_some_and(may_fetch) {
            return Ok(Vec::new());
        }
        let introspection = self.client.introspection();
        let snapshotters = introspection.snapshotters().await?;
        let root = |name: &String| {
            let plugin = snapshotters.iter().find(|plugin| plugin.id == *name);
            plugin.and_then(|plugin| plugin.exports.get("root")).map(PathBuf::from)
        };
        let snapshots = self.snapshotter.as_ref().and_then(root);
        let content = match introspection.content_root().await? {
            Some(root) => Some(root),
            // containerd 2 does not tell: it is beside the snapshots unless somebody moved those.
            None => {
                snapshots.as_ref().and_then(|root| Some(root.parent()?.join(CONTENT_DIRECTORY)))
            }
        };
        let place = |(path, holds_snapshots): (Option<PathBuf>, bool)| {
            let path = path?;
            // A daemon that has no content yet has not made its directory.
            let path = path.ancestors().take(2).find(|path| path.is_dir())?.to_owned();
            let device = std::fs::metadata(&path).ok()?.dev();
            Some(Place { path, device, holds_snapshots })
        };
        Ok([(content, false), (snapshots, true)].into_iter().filter_map(place).collect())
    }

    /// The file systems of `places`, each once, with what is needed of it.
    fn measured(&self, places: Vec<Place>, content: u64, unpacked: u64) -> Vec<FileSystem> {
        let mut found: Vec<(u64, FileSystem)> = Vec::new();
        for Place { path, device, holds_snapshots } in places {
            let needed_bytes = if holds_snapshots { unpacked } else { content };
            let known = found.iter().position(|(known, _)| *known == device);
            let known = known.or_else(|| {
                found.push((device, measure(path)?));
                Some(found.len() - 1)
            });
            let Some((_, filesystem)) = known.and_then(|position| found.get_mut(position)) else {
                continue;
            };
            filesystem.needed_bytes = filesystem.needed_bytes.saturating_add(needed_bytes);
            if holds_snapshots {
                self.reserve_for_kubelet(filesystem);
            }
        }
        found.into_iter().map(|(_, filesystem)| filesystem).collect()
    }

    fn reserve_for_kubelet(&self, filesystem: &mut FileSystem) {
        let Some(threshold) = self.threshold else { return };
        let bytes = threshold.of(filesystem.size_bytes);
        if bytes > filesystem.reserved_bytes {
            filesystem.reserved_bytes = bytes;
            filesystem.reserved_for =
                "below that the kubelet evicts pods (imagefs.available)".to_owned();
        }
    }

    /// What the other namespace has of what `plans` want and is not among `snapshots`.
    async fn beside(
        &self,
        plans: &[&Plan],
        snapshots: &HashSet<String>,
    ) -> Result<Beside, containerd::Error> {
        let (Some(other), Some(snapshotter)) = (&self.beside, &self.snapshotter) else {
            return Ok(Beside::default());
        };
        let listed = Listed::new(other.clone(), Some(snapshotter.clone()));
        let (blobs, there) = tokio::try_join!(listed.blobs(), listed.snapshots())?;
        let images = plans.iter().flat_map(|plan| &plan.images).filter(|image| image.unpack);
        let chains = images.flat_map(|image| &image.identities).map(|layer| layer.chain_id);
        let copied = |chain: &ChainId| {
            let name = chain.to_string();
            there.contains(&name) && !snapshots.contains(&name)
        };
        let copied: HashSet<ChainId> = chains.filter(copied).collect();
        let looks = copied.into_iter().map(|chain| {
            let snapshots = other.snapshots(snapshotter);
            async move { Ok((chain, snapshots.usage(&chain.to_string()).await?.size_bytes)) }
        });
        let unpacked = stream::iter(looks).buffer_unordered(CONCURRENT_QUESTIONS).try_collect();
        Ok(Beside { blobs: blobs.keys().copied().collect(), unpacked: unpacked.await? })
    }

    /// How much there is of the layers' blobs that are not complete.
    async fn begun(
        &self,
        plans: &[&Plan],
        blobs: &HashMap<Digest, containerd::Info>,
    ) -> Result<HashMap<Digest, u64>, containerd::Error> {
        let layers = plans.iter().flat_map(|plan| &plan.images).flat_map(|image| &image.layers);
        let large =
            layers.filter(|layer| layer.size > MAX_WHOLE && !blobs.contains_key(&layer.digest));
        let looks = large.cloned().collect::<Vec<Descriptor>>().into_iter().map(|layer| {
            let content = self.client.content();
            async move {
                let status = content.status(&ingest_reference(&layer)).await?;
                Ok::<_, containerd::Error>((layer.digest, status.map_or(0, |status| status.offset)))
            }
        });
        stream::iter(looks).buffer_unordered(CONCURRENT_QUESTIONS).try_collect().await
    }

    async fn ratio(
        &self,
        blobs: &HashMap<Digest, containerd::Info>,
        snapshots: &HashSet<String>,
    ) -> Result<Ratio, containerd::Error> {
        match &self.snapshotter {
            Some(name) => Ratio::measured(&self.client.snapshots(name), blobs, snapshots).await,
            None => Ok(Ratio::USUAL),
        }
    }
}

impl Known<'_> {
    fn need(&self, plan: &Plan, coming: &mut Coming) -> Need {
        let mut need = Need::default();
        for document in &plan.documents {
            self.count(&document.descriptor, coming, &mut need);
        }
        for image in &plan.images {
            self.count_layers(image, coming, &mut need);
        }
        need
    }

    fn count_layers(&self, image: &PlatformImage, coming: &mut Coming, need: &mut Need) {
        let identities = if image.unpack { image.identities.as_slice() } else { &[] };
        let is_unpacked = |chain: &ChainId| self.snapshots.contains(&chain.to_string());
        let ready = identities.iter().rposition(|layer| is_unpacked(&layer.chain_id));
        let ready = ready.map_or(0, |position| position + 1);
        for (position, layer) in image.layers.iter().enumerate() {
            if position < ready {
                need.present_bytes = need.present_bytes.saturating_add(layer.size);
                continue;
            }
            self.count(layer, coming, need);
            if let Some(identity) = identities.get(position)
                && coming.chains.insert(identity.chain_id)
            {
                let known = self.beside.unpacked.get(&identity.chain_id).copied();
                let bytes = known.unwrap_or_else(|| self.ratio.of_layer(layer));
                need.unpacked_bytes = need.unpacked_bytes.saturating_add(bytes);
            }
        }
    }

    fn count(&self, blob: &Descriptor, coming: &mut Coming, need: &mut Need) {
        let is_known =
            self.blobs.contains_key(&blob.digest) || self.beside.blobs.contains(&blob.digest);
        let is_there = is_known || !coming.blobs.insert(blob.digest);
        let begun = if is_there { blob.size } else { *self.begun.get(&blob.digest).unwrap_or(&0) };
        let begun = begun.min(blob.size);
        need.present_bytes = need.present_bytes.saturating_add(begun);
        need.fetched_bytes = need.fetched_bytes.saturating_add(blob.size - begun);
    }
}

/// The file system of `path`.
fn measure(path: PathBuf) -> Option<FileSystem> {
    let stat = rustix::fs::statvfs(&path).ok()?;
    let size_bytes = stat.f_blocks.saturating_mul(stat.f_frsize);
    Some(FileSystem {
        path,
        size_bytes,
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        reserved_bytes: size_bytes / 100 * RESERVE_PERCENT,
        reserved_for: format!("{RESERVE_PERCENT} % of it"),
        needed_bytes: 0,
    })
}

/// Whether the content store in `root` is that of the daemon, as far as one of its `blobs` tells.
fn holds(root: &Path, blobs: &HashMap<Digest, containerd::Info>) -> bool {
    let Some((digest, info)) = blobs.iter().next() else { return true };
    let path = Path::new("blobs/sha256").join(digest.hex());
    match std::fs::metadata(root.join(path)) {
        Ok(found) => found.len() == info.size,
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}
