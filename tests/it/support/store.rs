//! What a daemon holds in one namespace, read over gRPC independently of the product: images,
//! content, snapshots, leases and unfinished ingests.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::snapshots::{
    ListSnapshotsRequest, MountsRequest, PrepareSnapshotRequest, RemoveSnapshotRequest,
    UsageRequest,
};
use containerd_client::services::v1::{
    InfoRequest, ListContentRequest, ListImagesRequest, ListStatusesRequest, ReadContentRequest,
};
use containerd_client::tonic::metadata::MetadataValue;
use containerd_client::tonic::{Request, Streaming};
use containerd_client::types::Mount;
use jiff::Timestamp;

use super::block_on;
use super::containerd::Containerd;

/// The snapshotter under test, if nothing else is said.
const SNAPSHOTTER: &str = "overlayfs";

/// An image's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageRecord {
    pub(crate) target: String,
    pub(crate) labels: BTreeMap<String, String>,
}

/// A blob's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContentRecord {
    pub(crate) size: i64,
    pub(crate) labels: BTreeMap<String, String>,
}

/// A snapshot's record; `committed` is false for one that is still being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotRecord {
    pub(crate) parent: String,
    pub(crate) committed: bool,
    pub(crate) labels: BTreeMap<String, String>,
}

/// When something was created and when it was last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) created: Timestamp,
    pub(crate) changed: Timestamp,
}

impl Times {
    fn of(
        created: Option<prost_types::Timestamp>,
        changed: Option<prost_types::Timestamp>,
    ) -> Self {
        let read = |time: Option<prost_types::Timestamp>| {
            let time = time.expect("the daemon tells times");
            Timestamp::new(time.seconds, time.nanos).expect("the daemon's clock is sane")
        };
        Self { created: read(created), changed: read(changed) }
    }
}

/// One namespace of one daemon.
pub(crate) struct Store<'a> {
    daemon: &'a Containerd,
    namespace: String,
    snapshotter: &'static str,
}

impl<'a> Store<'a> {
    pub(crate) fn new(daemon: &'a Containerd, namespace: &str) -> Self {
        Self { daemon, namespace: namespace.to_owned(), snapshotter: SNAPSHOTTER }
    }

    /// The same, where the snapshots are those of another snapshotter.
    pub(crate) fn with_snapshotter(self, snapshotter: &'static str) -> Self {
        Self { snapshotter, ..self }
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let namespace: MetadataValue<_> = self.namespace.parse().expect("the namespace is ASCII");
        request.metadata_mut().insert("containerd-namespace", namespace);
        request
    }

    /// Images by name.
    pub(crate) fn images(&self) -> BTreeMap<String, ImageRecord> {
        let answer = block_on(async {
            let mut client = ImagesClient::new(self.daemon.channel().await);
            client.list(self.request(ListImagesRequest::default())).await
        });
        let images = answer.expect("images can be listed").into_inner().images;
        images
            .into_iter()
            .map(|image| {
                let target = image.target.map(|target| target.digest).unwrap_or_default();
                (image.name, ImageRecord { target, labels: sorted(image.labels) })
            })
            .collect()
    }

    /// Committed blobs by digest.
    pub(crate) fn content(&self) -> BTreeMap<String, ContentRecord> {
        let pages = block_on(async {
            let mut client = ContentClient::new(self.daemon.channel().await);
            let answer = client.list(self.request(ListContentRequest::default())).await;
            collect(answer.expect("content can be listed").into_inner()).await
        });
        pages
            .into_iter()
            .flat_map(|page| page.info)
            .map(|info| {
                (info.digest, ContentRecord { size: info.size, labels: sorted(info.labels) })
            })
            .collect()
    }

    /// When each image, blob and snapshot was created and when it was last changed, by what it is.
    pub(crate) fn times(&self) -> BTreeMap<String, Times> {
        let digests = self.content().into_keys();
        let (images, content, snapshots) = block_on(async {
            let channel = self.daemon.channel().await;
            let wanted = self.request(ListImagesRequest::default());
            let images = ImagesClient::new(channel.clone()).list(wanted).await;
            let wanted = self.request(self.all());
            let snapshots = SnapshotsClient::new(channel.clone()).list(wanted).await;
            // One by one: the list of containerd 1.7 leaves the second time out.
            let mut content = Vec::new();
            for digest in digests {
                let wanted = self.request(InfoRequest { digest });
                let answer = ContentClient::new(channel.clone()).info(wanted).await;
                content.extend(answer.expect("the blob is there").into_inner().info);
            }
            (
                images.expect("images can be listed").into_inner().images,
                content,
                collect(snapshots.expect("snapshots can be listed").into_inner()).await,
            )
        });
        let images = images.into_iter().map(|image| {
            (format!("image {}", image.name), Times::of(image.created_at, image.updated_at))
        });
        let content = content.into_iter().map(|info| {
            (format!("blob {}", info.digest), Times::of(info.created_at, info.updated_at))
        });
        let snapshots = snapshots.into_iter().flat_map(|page| page.info).map(|info| {
            (format!("snapshot {}", info.name), Times::of(info.created_at, info.updated_at))
        });
        images.chain(content).chain(snapshots).collect()
    }

    /// Asks for all snapshots.
    fn all(&self) -> ListSnapshotsRequest {
        ListSnapshotsRequest { snapshotter: self.snapshotter.to_owned(), ..Default::default() }
    }

    /// Bytes of a committed blob.
    pub(crate) fn blob(&self, digest: &str) -> Vec<u8> {
        let pages = block_on(async {
            let mut client = ContentClient::new(self.daemon.channel().await);
            let wanted = ReadContentRequest { digest: digest.to_owned(), offset: 0, size: 0 };
            let answer = client.read(self.request(wanted)).await;
            collect(answer.expect("the blob can be read").into_inner()).await
        });
        pages.into_iter().flat_map(|page| page.data).collect()
    }

    /// Offsets of unfinished ingests by their ref.
    pub(crate) fn ingests(&self) -> BTreeMap<String, i64> {
        let answer = block_on(async {
            let mut client = ContentClient::new(self.daemon.channel().await);
            client.list_statuses(self.request(ListStatusesRequest::default())).await
        });
        let statuses = answer.expect("ingests can be listed").into_inner().statuses;
        statuses.into_iter().map(|status| (status.r#ref, status.offset)).collect()
    }

    /// Snapshots by key.
    pub(crate) fn snapshots(&self) -> BTreeMap<String, SnapshotRecord> {
        let pages = block_on(async {
            let mut client = SnapshotsClient::new(self.daemon.channel().await);
            let answer = client.list(self.request(self.all())).await;
            collect(answer.expect("snapshots can be listed").into_inner()).await
        });
        let committed = containerd_client::services::v1::snapshots::Kind::Committed as i32;
        pages
            .into_iter()
            .flat_map(|page| page.info)
            .map(|info| {
                let record = SnapshotRecord {
                    parent: info.parent,
                    committed: info.kind == committed,
                    labels: sorted(info.labels),
                };
                (info.name, record)
            })
            .collect()
    }

    /// Bytes and inodes that the daemon counts for the snapshot `key` itself.
    pub(crate) fn usage(&self, key: &str) -> (i64, i64) {
        let wanted = UsageRequest { snapshotter: self.snapshotter.to_owned(), key: key.to_owned() };
        let answer = block_on(async {
            let mut client = SnapshotsClient::new(self.daemon.channel().await);
            client.usage(self.request(wanted)).await
        });
        let usage = answer.expect("the daemon counts").into_inner();
        (usage.size, usage.inodes)
    }

    /// Labels of the leases that exist, by the leases' IDs.
    pub(crate) fn leases(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let answer = block_on(async {
            let mut client = LeasesClient::new(self.daemon.channel().await);
            client.list(self.request(Default::default())).await
        });
        let leases = answer.expect("leases can be listed").into_inner().leases;
        leases.into_iter().map(|lease| (lease.id, sorted(lease.labels))).collect()
    }

    /// Where the files of the uncommitted snapshot `key`, which has no parent, are.
    pub(crate) fn directory(&self, key: &str) -> PathBuf {
        match self.mounts(key).as_slice() {
            [mount] if mount.r#type == "bind" => PathBuf::from(&mount.source),
            mounts => panic!("{key} has a parent: {mounts:?}"),
        }
    }

    /// Mounts a writable snapshot on top of the committed `parent`, hands its folder to `look`, and
    /// takes it away again.
    pub(crate) fn with_mounted<T>(&self, parent: &str, look: impl FnOnce(&Path) -> T) -> T {
        self.with_layers(parent, |point, _| look(point))
    }

    /// The same, with the folders of the layers themselves, topmost first.
    pub(crate) fn with_layers<T>(
        &self,
        parent: &str,
        look: impl FnOnce(&Path, &[PathBuf]) -> T,
    ) -> T {
        let key = super::unique("mounted");
        self.prepare(&key, parent);
        let mounts = self.mounts(&key);
        let point = self.daemon.scratch("mount");
        for mount in &mounts {
            bind_or_overlay(mount, &point);
        }
        let seen = look(&point, &layers(&mounts));
        // A command that another test starts has what is open here until it is itself.
        self.daemon.wait_until("a mount that nobody uses", || {
            let unmounted = std::process::Command::new("umount").arg(&point).status();
            unmounted.expect("umount runs").success().then_some(())
        });
        self.remove(&key);
        seen
    }

    fn prepare(&self, key: &str, parent: &str) {
        let request = PrepareSnapshotRequest {
            snapshotter: self.snapshotter.to_owned(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            // Without it the daemon's garbage collection may take the snapshot from under us.
            labels: HashMap::from([("containerd.io/gc.root".to_owned(), "test".to_owned())]),
        };
        block_on(async {
            let mut client = SnapshotsClient::new(self.daemon.channel().await);
            client.prepare(self.request(request)).await.expect("a snapshot can be prepared");
        });
    }

    fn mounts(&self, key: &str) -> Vec<Mount> {
        let wanted =
            MountsRequest { snapshotter: self.snapshotter.to_owned(), key: key.to_owned() };
        let answer = block_on(async {
            let mut client = SnapshotsClient::new(self.daemon.channel().await);
            client.mounts(self.request(wanted)).await
        });
        answer.expect("its mounts can be had").into_inner().mounts
    }

    fn remove(&self, key: &str) {
        let request =
            RemoveSnapshotRequest { snapshotter: self.snapshotter.to_owned(), key: key.to_owned() };
        block_on(async {
            let mut client = SnapshotsClient::new(self.daemon.channel().await);
            client.remove(self.request(request)).await.expect("the snapshot can be removed");
        });
    }
}

/// Folders of the layers below an overlay, topmost first.
fn layers(mounts: &[Mount]) -> Vec<PathBuf> {
    let options = mounts.iter().flat_map(|mount| &mount.options);
    let lowers = options.filter_map(|option| option.strip_prefix("lowerdir="));
    lowers.flat_map(|lowers| lowers.split(':')).map(PathBuf::from).collect()
}

fn bind_or_overlay(mount: &Mount, point: &Path) {
    let mut command = std::process::Command::new("mount");
    // A snapshot without a parent is a bind mount, which mount(8) knows as an option.
    if mount.r#type != "bind" {
        command.args(["-t", &mount.r#type]);
    }
    let options = mount.options.join(",");
    let done = command.args(["-o", &options, &mount.source]).arg(point).status();
    assert!(done.expect("mount runs").success(), "{mount:?}");
}

fn sorted(labels: HashMap<String, String>) -> BTreeMap<String, String> {
    labels.into_iter().collect()
}

async fn collect<T>(mut pages: Streaming<T>) -> Vec<T> {
    let mut all = Vec::new();
    while let Some(page) = pages.message().await.expect("the list arrives") {
        all.push(page);
    }
    all
}
