//! Snapshots: unpacked layers, stacked by their chain IDs.

use containerd_client::services::v1::snapshots as api;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::types;

use super::client::Service;
use super::{Client, Error, Labels};

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
    /// The key, or the chain ID in [`super::labels::SNAPSHOT_REFERENCE`], exists.
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

impl Snapshots {
    pub(super) fn new(client: Client, snapshotter: &str) -> Self {
        Self { client, snapshotter: snapshotter.to_owned() }
    }

    fn service(&self) -> SnapshotsClient<Service> {
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

    /// Turns the active snapshot `key` into the committed one `name`. The daemon walks the tree to
    /// account for its size, so this takes as long as it has files.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn commit(&self, name: &str, key: &str, labels: &Labels) -> Result<Committed, Error> {
        let request = api::CommitSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            name: name.to_owned(),
            key: key.to_owned(),
            labels: labels.clone().into_iter().collect(),
        };
        let operation = format!("commit snapshot {name}");
        match self.client.watch(&operation, self.service().commit(request)).await {
            Ok(_) => Ok(Committed::Done),
            Err(error) if error.is_already_exists() => Ok(Committed::Exists),
            Err(error) => Err(error),
        }
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

fn from_wire(info: api::Info) -> Result<SnapshotInfo, String> {
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
