//! What a namespace holds of an image beside its names: blobs, snapshots, and who keeps or uses them.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::anatomy::{Anatomy, Part};
use crate::containerd::{Client, Container, Error, Info, Lease, Resource, SnapshotInfo, labels};
use crate::oci::{ChainId, Descriptor, Digest};

/// Blobs looked for side by side: each costs the daemon a short read.
const CONCURRENT_LOOKS: usize = 16;

/// What a namespace holds of one image.
#[derive(Debug, Clone, Default)]
pub struct Holdings {
    /// Its blobs that are there.
    pub blobs: HashMap<Digest, Info>,
    /// Its layers' snapshots, by snapshotter and chain ID.
    pub snapshots: BTreeMap<String, HashMap<ChainId, SnapshotState>>,
    /// Leases that hold some of it.
    pub leases: Vec<Holder>,
    /// Containers that are made of it.
    pub containers: Vec<User>,
}

/// What is known of the snapshot of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotState {
    /// On the snapshot of the layer below.
    Right,
    /// On another one, or on none.
    OtherParent,
}

/// A lease that holds some of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its name.
    pub lease: String,
    /// When it goes by itself, RFC 3339.
    pub expires: Option<String>,
    /// How many of the image's blobs and snapshots it holds.
    pub resources: usize,
}

/// A container that lives on an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its ID.
    pub container: String,
    /// The name by which it was made of the image.
    pub image: String,
    /// `namespace/pod/container` of Kubernetes, where it is one of the kubelet's.
    pub pod: Option<String>,
}

impl Holdings {
    /// What `client`'s namespace holds of the image of `anatomy`; `usual` is the snapshotter that is
    /// looked into in any case.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn of(client: &Client, anatomy: &Anatomy, usual: &str) -> Result<Self, Error> {
        let blobs = blobs(client, anatomy).await?;
        let mut snapshotters: HashSet<String> = [usual.to_owned()].into();
        for part in &anatomy.parts {
            let config = blobs.get(&part.manifest.config.digest);
            let named = config.into_iter().flat_map(|info| labels::snapshotters(&info.labels));
            snapshotters.extend(named.map(str::to_owned));
        }
        let mut snapshots = BTreeMap::new();
        let mut containers = Vec::new();
        let all = client.containers().await?;
        for snapshotter in snapshotters {
            let listed = match client.snapshots(&snapshotter).list().await {
                Ok(listed) => listed,
                // Of a snapshotter that is no more, nothing is there.
                Err(Error::NotFound { .. } | Error::Refused { .. }) if snapshotter != usual => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            let by_name: HashMap<&str, &SnapshotInfo> =
                listed.iter().map(|info| (info.name.as_str(), info)).collect();
            let states = states(&anatomy.parts, &by_name);
            containers.extend(users(&all, &snapshotter, &states, &by_name, anatomy));
            snapshots.insert(snapshotter, states);
        }
        containers.sort_by(|a: &User, b| a.container.cmp(&b.container));
        let leases = leases(client, anatomy).await?;
        Ok(Self { blobs, snapshots, leases, containers })
    }
}

/// Those of the image's blobs that are there.
async fn blobs(client: &Client, anatomy: &Anatomy) -> Result<HashMap<Digest, Info>, Error> {
    let listed = anatomy.listed.iter().map(|listed| &listed.manifest);
    let parts = anatomy.parts.iter().flat_map(Part::blobs);
    let wanted: HashSet<Digest> =
        std::iter::once(&anatomy.target).chain(listed).chain(parts).map(|it| it.digest).collect();
    let content = client.content();
    let looks = wanted.into_iter().map(|digest| {
        let content = content.clone();
        async move { Ok::<_, Error>(content.info(&digest).await?.map(|info| (digest, info))) }
    });
    let found: Vec<_> =
        stream::iter(looks).buffer_unordered(CONCURRENT_LOOKS).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

fn states(
    parts: &[Part],
    by_name: &HashMap<&str, &SnapshotInfo>,
) -> HashMap<ChainId, SnapshotState> {
    let identities = parts.iter().flat_map(|part| &part.identities);
    identities
        .filter_map(|identity| {
            let info = by_name.get(identity.chain_id.to_string().as_str())?;
            let wanted = identity.parent.map(|parent| parent.to_string());
            let is_right = info.parent == wanted;
            let state = if is_right { SnapshotState::Right } else { SnapshotState::OtherParent };
            Some((identity.chain_id, state))
        })
        .collect()
}

/// The containers whose snapshots lie on the topmost layer of a part, which is the image's own.
fn users(
    containers: &[Container],
    snapshotter: &str,
    states: &HashMap<ChainId, SnapshotState>,
    by_name: &HashMap<&str, &SnapshotInfo>,
    anatomy: &Anatomy,
) -> Vec<User> {
    let tops = anatomy.parts.iter().filter_map(|part| part.identities.last());
    let tops: HashSet<String> = tops
        .filter(|top| states.contains_key(&top.chain_id))
        .map(|top| top.chain_id.to_string())
        .collect();
    let is_on_top = |container: &&Container| {
        let parent = by_name.get(container.snapshot.as_str()).and_then(|info| info.parent.as_ref());
        container.snapshotter == snapshotter && parent.is_some_and(|parent| tops.contains(parent))
    };
    containers.iter().filter(is_on_top).map(User::of).collect()
}

impl User {
    /// The container as one that lives on an image.
    pub fn of(container: &Container) -> Self {
        let label = |name: &str| container.labels.get(&format!("io.kubernetes.{name}")).cloned();
        let pod = || {
            let [namespace, pod] = ["pod.namespace", "pod.name"].map(label);
            let name = label("container.name").unwrap_or_else(|| "sandbox".to_owned());
            Some(format!("{}/{}/{name}", namespace?, pod?))
        };
        Self { container: container.id.clone(), image: container.image.clone(), pod: pod() }
    }
}

/// The leases that hold any of the image.
async fn leases(client: &Client, anatomy: &Anatomy) -> Result<Vec<Holder>, Error> {
    let mut own: HashSet<String> = HashSet::new();
    let documents = anatomy.parts.iter().flat_map(Part::blobs).chain([&anatomy.target]);
    own.extend(documents.map(|blob: &Descriptor| blob.digest.to_string()));
    let identities = anatomy.parts.iter().flat_map(|part| &part.identities);
    own.extend(identities.map(|identity| identity.chain_id.to_string()));
    let leases = client.leases();
    let mut found = Vec::new();
    for lease in leases.list().await? {
        let held = match leases.resources(&lease.id).await {
            Ok(held) => held,
            // It expired between the two questions.
            Err(Error::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        let is_own = |resource: &&Resource| own.contains(&resource.name);
        match held.iter().filter(is_own).count() {
            0 => {}
            resources => found.push(holder(&lease, resources)),
        }
    }
    Ok(found)
}

fn holder(lease: &Lease, resources: usize) -> Holder {
    let expires = lease.expires().map(|expires| expires.to_string());
    Holder { lease: lease.id.clone(), expires, resources }
}
