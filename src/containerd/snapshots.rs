//! Snapshots: unpacked layers, stacked by their chain IDs.

use containerd_client::services::v1::snapshots as api;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::types;
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::client::{Release, Service};
use super::introspection::Introspection;
use super::{Client, Error, Labels, labels};
use crate::oci::LayerIdentity;

const COMMIT: &str = "/containerd.services.snapshots.v1.Snapshots/Commit";

/// The release from which on a snapshot's labels say what it consists of.
const IDENTITY_LABELS_SINCE: Release = (2, 3);

/// What a snapshotter can do that takes a parent when a snapshot is committed.
const REBASE: &str = "rebase";

/// The snapshotters that are part of containerd and know nothing of registries. By name, since who
/// runs a snapshotter says nothing about what it does: k3s has stargz built in, and others run a plain
/// one, such as fuse-overlayfs, beside the daemon.
const LOCAL: [&str; 7] = ["overlayfs", "native", "btrfs", "zfs", "devmapper", "blockfile", "erofs"];

/// Whether the snapshotter called `name` may fetch layers by itself, as stargz, SOCI and nydus do.
pub fn may_fetch(name: &str) -> bool {
    !LOCAL.contains(&name)
}

/// One snapshotter of a namespace.
#[derive(Debug, Clone)]
pub struct Snapshots {
    client: Client,
    snapshotter: String,
}

/// What a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotKind {
    /// Read-only, for looking at its parent.
    View,
    /// Being written.
    Active,
    /// Finished; others may be stacked on it.
    Committed,
}

/// What a snapshotter knows about a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its key: the chain ID when it is committed by a pull.
    pub name: String,
    /// The committed snapshot that it is stacked on.
    pub parent: Option<String>,
    /// What it is.
    pub kind: SnapshotKind,
    /// Its labels.
    pub labels: Labels,
}

/// How to mount a snapshot, as `mount(8)` takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// `overlay`, `bind`, …
    pub kind: String,
    /// What is mounted.
    pub source: String,
    /// Where below the mount point, most often empty.
    pub target: String,
    /// `upperdir=…`, `rbind`, `ro`, …
    pub options: Vec<String>,
}

/// The outcome of [`Snapshots::prepare`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prepared {
    /// It is ours to fill.
    Mounts(Vec<Mount>),
    /// The key, or the chain ID in [`labels::snapshot_reference`], exists.
    Exists,
}

/// The outcome of [`Snapshots::commit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// Done by us.
    Done,
    /// Another client committed the same name first; the active snapshot is still there.
    Exists,
}

/// What a snapshot takes on disk, its parents apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes.
    pub size_bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

/// `CommitSnapshotRequest` with the parent that containerd's has from 2.2 on and the one of
/// containerd-client does not.
#[derive(Clone, PartialEq, prost::Message)]
struct CommitRequest {
    #[prost(string, tag = "1")]
    snapshotter: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    key: String,
    #[prost(btree_map = "string, string", tag = "4")]
    labels: Labels,
    #[prost(string, tag = "5")]
    parent: String,
}

impl Snapshots {
    pub(super) fn new(client: Client, snapshotter: &str) -> Self {
        Self { client, snapshotter: snapshotter.to_owned() }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn service(&self) -> SnapshotsClient<Service> {
        SnapshotsClient::new(self.client.service())
    }

    /// The snapshotter's name.
    pub fn name(&self) -> &str {
        &self.snapshotter
    }

    /// The snapshot `key`.
    ///
    /// # Errors
    /// When the daemon refuses, for instance because it has no such snapshotter.
    pub async fn stat(&self, key: &str) -> Result<Option<SnapshotInfo>, Error> {
        let operation = format!("look up snapshot {key}");
        let request =
            api::StatSnapshotRequest { snapshotter: self.snapshotter.clone(), key: key.to_owned() };
        match self.client.call(&*operation, self.service().stat(request)).await {
            Ok(answer) => {
                let info =
                    answer.info.ok_or_else(|| Error::bad_answer(&*operation, "no info in it"))?;
                from_wire(info).map(Some).map_err(|why| Error::bad_answer(operation, why))
            }
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the active snapshot `key` on top of the committed `parent`. A snapshotter that fetches
    /// layers by itself may do so now, so this takes as long as it likes.
    ///
    /// # Errors
    /// When the daemon refuses, for instance because `parent` does not exist.
    pub async fn prepare(
        &self,
        key: &str,
        parent: Option<&str>,
        labels: &Labels,
    ) -> Result<Prepared, Error> {
        let request = api::PrepareSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            key: key.to_owned(),
            parent: parent.unwrap_or_default().to_owned(),
            labels: labels.clone().into_iter().collect(),
        };
        let operation = format!("prepare snapshot {key}");
        match self.client.watch(&operation, self.service().prepare(request)).await {
            Ok(answer) => {
                let mounts = answer.into_inner().mounts;
                Ok(Prepared::Mounts(mounts.into_iter().map(Mount::from).collect()))
            }
            Err(error) if error.is_already_exists() => Ok(Prepared::Exists),
            Err(error) => Err(error),
        }
    }

    /// The labels that this daemon's own clients give a layer's snapshot.
    pub fn layer_labels(&self, identity: &LayerIdentity) -> Labels {
        let mut labels: Labels = [labels::snapshot_reference(identity)].into();
        if self.client.is_at_least(IDENTITY_LABELS_SINCE) {
            labels.extend(labels::snapshot_identity(identity));
        }
        labels
    }

    /// Whether a snapshot without parent can get one when it is committed, as from containerd 2.2 on.
    /// Other daemons take no notice of such a wish.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn can_rebase(&self) -> Result<bool, Error> {
        let introspection = Introspection::new(self.client.clone());
        let mut plugins = introspection.snapshotters().await?.into_iter();
        let plugin = plugins.find(|plugin| plugin.id == self.snapshotter);
        Ok(plugin.is_some_and(|plugin| plugin.capabilities.iter().any(|one| one == REBASE)))
    }

    /// Turns the active snapshot `key` into the committed one `name` on top of `parent`, which it was
    /// prepared on or, where that [can be done](Self::can_rebase), is put on now. The daemon walks the
    /// tree to account for its size, so this takes as long as it has files.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn commit(
        &self,
        name: &str,
        key: &str,
        parent: Option<&str>,
        labels: &Labels,
    ) -> Result<Committed, Error> {
        let request = CommitRequest {
            snapshotter: self.snapshotter.clone(),
            name: name.to_owned(),
            key: key.to_owned(),
            labels: labels.clone(),
            parent: parent.unwrap_or_default().to_owned(),
        };
        let operation = format!("commit snapshot {name}");
        match self.client.watch(&operation, self.send_commit(request)).await {
            Ok(_) => Ok(Committed::Done),
            Err(error) if error.is_already_exists() => Ok(Committed::Exists),
            Err(error) => Err(error),
        }
    }

    async fn send_commit(&self, request: CommitRequest) -> Result<Response<()>, Status> {
        let mut grpc = Grpc::new(self.client.service());
        grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let codec = ProstCodec::<CommitRequest, ()>::default();
        grpc.unary(Request::new(request), PathAndQuery::from_static(COMMIT), codec).await
    }

    /// Removes the snapshot `key`; one that does not exist is fine.
    ///
    /// # Errors
    /// When the daemon refuses, for instance because others are stacked on it.
    pub async fn remove(&self, key: &str) -> Result<(), Error> {
        let request = api::RemoveSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            key: key.to_owned(),
        };
        let operation = format!("remove snapshot {key}");
        match self.client.watch(&operation, self.service().remove(request)).await {
            Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// How to mount the active snapshot `key`.
    ///
    /// # Errors
    /// When the daemon refuses, for instance because there is none.
    pub async fn mounts(&self, key: &str) -> Result<Vec<Mount>, Error> {
        let request =
            api::MountsRequest { snapshotter: self.snapshotter.clone(), key: key.to_owned() };
        let operation = format!("tell the mounts of snapshot {key}");
        let answer = self.client.call(operation, self.service().mounts(request)).await?;
        Ok(answer.mounts.into_iter().map(Mount::from).collect())
    }

    /// What the snapshot `key` takes on disk. Of an active one the daemon walks the tree.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn usage(&self, key: &str) -> Result<Usage, Error> {
        let request =
            api::UsageRequest { snapshotter: self.snapshotter.clone(), key: key.to_owned() };
        let operation = format!("tell the usage of snapshot {key}");
        let answer = self.client.watch(&operation, self.service().usage(request)).await?;
        let usage = answer.into_inner();
        match (u64::try_from(usage.size), u64::try_from(usage.inodes)) {
            (Ok(size_bytes), Ok(inodes)) => Ok(Usage { size_bytes, inodes }),
            _ => Err(Error::bad_answer(operation, "a negative size")),
        }
    }
}

impl From<types::Mount> for Mount {
    fn from(mount: types::Mount) -> Self {
        Self {
            kind: mount.r#type,
            source: mount.source,
            target: mount.target,
            options: mount.options,
        }
    }
}

impl From<Mount> for types::Mount {
    fn from(mount: Mount) -> Self {
        Self {
            r#type: mount.kind,
            source: mount.source,
            target: mount.target,
            options: mount.options,
        }
    }
}

pub(super) fn from_wire(info: api::Info) -> Result<SnapshotInfo, String> {
    let kind = match info.kind() {
        api::Kind::View => SnapshotKind::View,
        api::Kind::Active => SnapshotKind::Active,
        api::Kind::Committed => SnapshotKind::Committed,
        api::Kind::Unknown => return Err(format!("snapshot kind {}", info.kind)),
    };
    Ok(SnapshotInfo {
        name: info.name,
        parent: Some(info.parent).filter(|parent| !parent.is_empty()),
        kind,
        labels: info.labels.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn a_commit_request_is_containerds_with_the_parent_in_field_5() {
        let labels: Labels = [("key".to_owned(), "value".to_owned())].into();
        let request = |parent: &str| CommitRequest {
            snapshotter: "overlayfs".to_owned(),
            name: "sha256:1".to_owned(),
            key: "extract".to_owned(),
            labels: labels.clone(),
            parent: parent.to_owned(),
        };
        let with_parent = request("sha256:0").encode_to_vec();
        // Who does not know of the parent reads the rest.
        let read = api::CommitSnapshotRequest::decode(&with_parent[..]).unwrap();
        assert_eq!(
            (&*read.snapshotter, &*read.name, &*read.key),
            ("overlayfs", "sha256:1", "extract")
        );
        assert_eq!(read.labels.into_iter().collect::<Labels>(), labels);

        // Wire type 2, length 8.
        let without = request("").encode_to_vec();
        assert_eq!(with_parent, [&without[..], &[5 << 3 | 2, 8], b"sha256:0"].concat());
    }
}
