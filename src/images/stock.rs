//! All that a namespace holds, and what of it goes when names go: by the labels that containerd's garbage
//! collector follows, and from the same roots.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::containerd::{
    Client, Container, Error, Image, Info, Lease, Resource, SnapshotInfo, SnapshotKind, labels,
};
use crate::oci::Digest;

/// Questions that the daemon is asked side by side.
const CONCURRENT_QUESTIONS: usize = 16;

/// A snapshot, by its snapshotter and its key.
type SnapshotKey = (String, String);

/// The blobs and snapshots of a namespace, and who keeps them beside its names.
#[derive(Debug, Default)]
pub struct Stock {
    blobs: HashMap<Digest, Info>,
    snapshots: HashMap<SnapshotKey, SnapshotInfo>,
    containers: Vec<Container>,
    leased: Vec<Resource>,
}

/// Something that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Piece {
    Blob(Digest),
    Snapshot(SnapshotKey),
}

/// What would be freed, or was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    /// Blobs that nothing else keeps.
    pub blobs: usize,
    /// Their size; 0 of those that another namespace has too.
    pub content_bytes: u64,
    /// Layers that nothing else keeps.
    pub snapshots: usize,
    /// Their size.
    pub snapshot_bytes: u64,
}

impl Freed {
    /// All of it.
    pub fn total_bytes(&self) -> u64 {
        self.content_bytes.saturating_add(self.snapshot_bytes)
    }
}

impl Stock {
    /// What the client's namespace holds.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn read(client: &Client) -> Result<Self, Error> {
        let content = client.content();
        let (blobs, containers, leased) =
            tokio::try_join!(content.list(), client.containers(), leased(client))?;
        let blobs: HashMap<Digest, Info> = blobs.into_iter().collect();
        let mut stock = Self { blobs, containers, leased, ..Self::default() };
        for snapshotter in stock.snapshotters() {
            let found = match client.snapshots(&snapshotter).list().await {
                Ok(found) => found,
                // A label may name a snapshotter that the daemon has no more.
                Err(error) if is_refusal(&error) => continue,
                Err(error) => return Err(error),
            };
            let keyed =
                found.into_iter().map(|info| ((snapshotter.clone(), info.name.clone()), info));
            stock.snapshots.extend(keyed);
        }
        Ok(stock)
    }

    fn snapshotters(&self) -> BTreeSet<String> {
        let labelled = self.blobs.values().flat_map(|info| labels::kept_snapshots(&info.labels));
        let used = self.containers.iter().map(|container| container.snapshotter.as_str());
        let names = labelled.map(|(snapshotter, _)| snapshotter).chain(used);
        names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    /// The containers of the namespace.
    pub fn containers(&self) -> &[Container] {
        &self.containers
    }

    /// The topmost snapshots of the image with the configuration `id`.
    pub(super) fn tops(&self, id: &Digest) -> impl Iterator<Item = (&str, &str)> {
        self.blobs.get(id).into_iter().flat_map(|info| labels::kept_snapshots(&info.labels))
    }

    /// Whether the blob is there.
    pub(super) fn has_blob(&self, digest: &Digest) -> bool {
        self.blobs.contains_key(digest)
    }

    /// The snapshots of the image with the configuration `id`, topmost first; `None` where it is not
    /// unpacked.
    pub(super) fn chain(&self, id: &Digest) -> Option<Vec<(&str, &str)>> {
        let is_there = |(snapshotter, key): &(&str, &str)| {
            self.snapshots.contains_key(&((*snapshotter).to_owned(), (*key).to_owned()))
        };
        let (snapshotter, top) = self.tops(id).find(is_there)?;
        let mut chain = Vec::new();
        let mut next = Some(top);
        while let Some(key) = next {
            chain.push((snapshotter, key));
            let info = self.snapshots.get(&(snapshotter.to_owned(), key.to_owned()));
            next = info.and_then(|info| info.parent.as_deref());
        }
        Some(chain)
    }

    /// The snapshots that something is written on top of, which is more than an image that was
    /// unpacked: a container, running or not, by whomever it was made.
    pub(super) fn written_on(&self) -> HashSet<(&str, &str)> {
        let written =
            self.snapshots.iter().filter(|(_, info)| info.kind != SnapshotKind::Committed);
        written
            .filter_map(|((snapshotter, _), info)| {
                Some((snapshotter.as_str(), info.parent.as_deref()?))
            })
            .collect()
    }

    /// What goes of the namespace when of the image `names` those go that are `doomed`.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn freed(
        &self,
        client: &Client,
        names: &[Image],
        doomed: &BTreeSet<String>,
    ) -> Result<Freed, Error> {
        let gone = self.gone(names, doomed);
        let mut freed = Freed::default();
        let mut sizes = BTreeMap::new();
        let mut keys = Vec::new();
        for piece in gone {
            match piece {
                Piece::Blob(digest) => {
                    sizes.insert(digest, self.blobs.get(&digest).map_or(0, |info| info.size));
                }
                Piece::Snapshot(key) => keys.push(key),
            }
        }
        (freed.blobs, freed.snapshots) = (sizes.len(), keys.len());
        for digest in elsewhere(client, &sizes).await? {
            sizes.remove(&digest);
        }
        freed.content_bytes = sizes.values().fold(0, |sum, size| sum.saturating_add(*size));
        let usages = keys.into_iter().map(|(snapshotter, key)| async move {
            match client.snapshots(&snapshotter).usage(&key).await {
                Ok(usage) => Ok(usage.size_bytes),
                Err(Error::NotFound { .. }) => Ok(0),
                Err(error) => Err(error),
            }
        });
        let usages: Vec<u64> =
            stream::iter(usages).buffer_unordered(CONCURRENT_QUESTIONS).try_collect().await?;
        freed.snapshot_bytes = usages.into_iter().fold(0, u64::saturating_add);
        Ok(freed)
    }

    fn gone(&self, names: &[Image], doomed: &BTreeSet<String>) -> Vec<Piece> {
        let (going, staying): (Vec<_>, Vec<_>) =
            names.iter().partition(|name| doomed.contains(&name.name));
        let mut kept = HashSet::new();
        for root in
            staying.into_iter().map(|name| Piece::Blob(name.target.digest)).chain(self.roots())
        {
            self.reach(root, &mut kept);
        }
        let before = kept.clone();
        for name in going {
            self.reach(Piece::Blob(name.target.digest), &mut kept);
        }
        kept.into_iter().filter(|piece| !before.contains(piece) && self.has(piece)).collect()
    }

    /// What is kept whatever names there are.
    fn roots(&self) -> impl Iterator<Item = Piece> {
        let leased = self.leased.iter().filter_map(|resource| match resource.kind.as_str() {
            Resource::CONTENT => resource.name.parse().ok().map(Piece::Blob),
            kind => {
                let snapshotter = kind.strip_prefix(Resource::SNAPSHOTS)?;
                Some(Piece::Snapshot((snapshotter.to_owned(), resource.name.clone())))
            }
        });
        let used = self.containers.iter().map(|container| {
            Piece::Snapshot((container.snapshotter.clone(), container.snapshot.clone()))
        });
        let blobs = self.blobs.iter().filter(|(_, info)| labels::is_root(&info.labels));
        let snapshots = self.snapshots.iter().filter(|(_, info)| labels::is_root(&info.labels));
        leased
            .chain(used)
            .chain(blobs.map(|(digest, _)| Piece::Blob(*digest)))
            .chain(snapshots.map(|(key, _)| Piece::Snapshot(key.clone())))
    }

    fn has(&self, piece: &Piece) -> bool {
        match piece {
            Piece::Blob(digest) => self.blobs.contains_key(digest),
            Piece::Snapshot(key) => self.snapshots.contains_key(key),
        }
    }

    /// Adds `piece` to what is `kept`, with all that it keeps.
    fn reach(&self, piece: Piece, kept: &mut HashSet<Piece>) {
        let mut pending = vec![piece];
        while let Some(piece) = pending.pop() {
            if !self.has(&piece) || !kept.insert(piece.clone()) {
                continue;
            }
            let own = match &piece {
                Piece::Blob(digest) => self.blobs.get(digest).map(|info| &info.labels),
                Piece::Snapshot(key) => {
                    let info = self.snapshots.get(key);
                    let parent = info.and_then(|info| info.parent.clone());
                    pending.extend(parent.map(|parent| Piece::Snapshot((key.0.clone(), parent))));
                    info.map(|info| &info.labels)
                }
            };
            let Some(own) = own else { continue };
            pending.extend(labels::kept_content(own).map(Piece::Blob));
            pending.extend(
                labels::kept_snapshots(own)
                    .map(|(name, key)| Piece::Snapshot((name.to_owned(), key.to_owned()))),
            );
        }
    }
}

/// What the leases of the namespace hold.
async fn leased(client: &Client) -> Result<Vec<Resource>, Error> {
    let leases = client.leases();
    let all = leases.list().await?.into_iter().map(|Lease { id, .. }| {
        let leases = leases.clone();
        async move {
            match leases.resources(&id).await {
                // It expired between the two questions.
                Err(Error::NotFound { .. }) => Ok(Vec::new()),
                resources => resources,
            }
        }
    });
    let all: Vec<Vec<Resource>> =
        stream::iter(all).buffer_unordered(CONCURRENT_QUESTIONS).try_collect().await?;
    Ok(all.concat())
}

/// Those of the blobs that another namespace has too: namespaces of one daemon share their bytes.
async fn elsewhere(client: &Client, blobs: &BTreeMap<Digest, u64>) -> Result<Vec<Digest>, Error> {
    let mut found = Vec::new();
    for namespace in client.namespaces().await? {
        if namespace != client.namespace() && !blobs.is_empty() {
            let there = client.in_namespace(&namespace)?.content().list().await?;
            let shared = there.into_iter().map(|(digest, _)| digest);
            found.extend(shared.filter(|digest| blobs.contains_key(digest)));
        }
    }
    Ok(found)
}

/// Whether the daemon answered, and said no.
fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::NotFound { .. } | Error::Refused { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containerd::Labels;
    use crate::oci::{Descriptor, MediaType};

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn snapshot(parent: Option<&str>, kind: SnapshotKind) -> SnapshotInfo {
        SnapshotInfo {
            name: String::new(),
            parent: parent.map(str::to_owned),
            kind,
            labels: Labels::new(),
        }
    }

    fn key(name: &str) -> SnapshotKey {
        ("overlayfs".to_owned(), name.to_owned())
    }

    /// Two images, each a manifest, a configuration and a layer, on one base.
    fn stock() -> Stock {
        let mut stock = Stock::default();
        let mut blob = |name: &str, labels: &[(&str, String)]| {
            let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
            stock.blobs.insert(digest(name), Info { size: 1, labels: labels.collect() });
        };
        blob("base", &[]);
        for image in ["a", "b"] {
            let [config, layer] = ["config", "layer"].map(|part| format!("{image} {part}"));
            blob(&layer, &[]);
            blob(&config, &[("containerd.io/gc.ref.snapshot.overlayfs", image.to_owned())]);
            blob(
                image,
                &[
                    ("containerd.io/gc.ref.content.config", digest(&config).to_string()),
                    ("containerd.io/gc.ref.content.l.0", digest("base").to_string()),
                    ("containerd.io/gc.ref.content.l.1", digest(&layer).to_string()),
                ],
            );
            stock.snapshots.insert(key(image), snapshot(Some("base"), SnapshotKind::Committed));
        }
        stock.snapshots.insert(key("base"), snapshot(None, SnapshotKind::Committed));
        stock
    }

    fn names() -> Vec<Image> {
        let media_type = || MediaType::new("application/vnd.oci.image.manifest.v1+json");
        let name = |(name, target): (&str, &str)| Image {
            name: name.to_owned(),
            target: Descriptor::new(media_type(), digest(target), 1),
            labels: Labels::new(),
            created: None,
        };
        [("a:1", "a"), ("a:2", "a"), ("b:1", "b")].map(name).into()
    }

    /// How many blobs and snapshots go with the names `doomed`.
    fn gone(stock: &Stock, doomed: &[&str]) -> (usize, usize) {
        let doomed = doomed.iter().map(|name| (*name).to_owned()).collect();
        let gone = stock.gone(&names(), &doomed);
        let blobs = gone.iter().filter(|piece| matches!(piece, Piece::Blob(_))).count();
        (blobs, gone.len() - blobs)
    }

    #[test]
    fn what_another_image_shares_stays() {
        let stock = stock();
        assert_eq!(gone(&stock, &["a:1"]), (0, 0), "a:2 keeps it");
        assert_eq!(gone(&stock, &["a:1", "a:2"]), (3, 1));
        assert_eq!(gone(&stock, &["a:1", "a:2", "b:1"]), (7, 3));
    }

    #[test]
    fn what_leases_and_containers_and_roots_keep_stays() {
        let mut stock = stock();
        let all = ["a:1", "a:2", "b:1"];
        stock.leased = vec![
            Resource::new(Resource::CONTENT, digest("a").to_string()),
            Resource::new("snapshots/overlayfs", "base"),
        ];
        assert_eq!(gone(&stock, &all), (3, 1), "of b");
        stock.leased.clear();
        stock.snapshots.insert(key("writable"), snapshot(Some("b"), SnapshotKind::Active));
        stock.containers = vec![Container {
            id: "one".to_owned(),
            image: String::new(),
            snapshotter: "overlayfs".to_owned(),
            snapshot: "writable".to_owned(),
            labels: Labels::new(),
        }];
        assert_eq!(gone(&stock, &all), (7, 1), "of a");
        assert_eq!(stock.written_on(), [("overlayfs", "b")].into());
        let root = [("containerd.io/gc.root".to_owned(), "now".to_owned())];
        stock.blobs.get_mut(&digest("a")).unwrap().labels.extend(root);
        assert_eq!(gone(&stock, &all), (3, 0));
    }
}
