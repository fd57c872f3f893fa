//! The daemon's plugins: which there are, where they keep their data, what they can do.

use std::path::{Path, PathBuf};

use containerd_client::services::v1 as api;
use containerd_client::services::v1::introspection_client::IntrospectionClient;
use tracing::debug;

use super::Error;
use super::blobs::blob_file::BlobDirectory;
use super::client::Client;
use super::plugin::Plugin;
use crate::failure::read_only_mount;
use crate::oci::Digest;

const CONTENT_PLUGIN: (&str, &str) = ("io.containerd.content.v1", "content");
const METADATA_PLUGIN: (&str, &str) = ("io.containerd.metadata.v1", "bolt");

/// Where containerd keeps content, below its root.
pub const CONTENT_DIRECTORY: &str = "io.containerd.content.v1.content";

pub(super) const SNAPSHOTTER_PLUGIN: &str = "io.containerd.snapshotter.v1";

/// The introspection service.
#[derive(Debug, Clone)]
pub struct Introspection {
    client: Client,
}

impl Introspection {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Asks for every plugin of the types that matter here, those that failed included.
    async fn list(&self) -> Result<Vec<Plugin>, Error> {
        let types = [CONTENT_PLUGIN.0, METADATA_PLUGIN.0, SNAPSHOTTER_PLUGIN];
        self.filtered(types.map(|kind| format!("type=={kind}")).into()).await
    }

    /// Every plugin, those that failed included.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn all(&self) -> Result<Vec<Plugin>, Error> {
        self.filtered(Vec::new()).await
    }

    async fn filtered(&self, filters: Vec<String>) -> Result<Vec<Plugin>, Error> {
        let request = api::PluginsRequest { filters };
        let mut service = IntrospectionClient::new(self.client.service());
        let answer = self.client.call("list its plugins", service.plugins(request)).await?;
        Ok(answer.plugins.into_iter().map(Plugin::from).collect())
    }

    /// Every snapshotter, those that failed included.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn snapshotters(&self) -> Result<Vec<&Plugin>, Error> {
        let plugins = self.client.plugins().await?.iter();
        Ok(plugins.filter(|plugin| plugin.kind == SNAPSHOTTER_PLUGIN).collect())
    }

    /// The root directory of the content store, if what one namespace has stored is, by its digest,
    /// as good as stored for others. `None` with `content_sharing_policy = "isolated"`.
    async fn shared_content_root(&self) -> Result<Option<PathBuf>, Error> {
        let policy = self.export(METADATA_PLUGIN, "policy").await?;
        if policy.as_deref() != Some("shared") {
            return Ok(None);
        }
        self.content_root().await
    }

    /// The root directory of the content store, as the daemon names it. `None` where content is
    /// kept by a plugin that does not tell.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn content_root(&self) -> Result<Option<PathBuf>, Error> {
        Ok(self.export(CONTENT_PLUGIN, "root").await?.map(PathBuf::from))
    }

    /// The directories in which it keeps content and snapshots, as far as it tells.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn stores(&self) -> Result<Vec<PathBuf>, Error> {
        let snapshotters = self.snapshotters().await?;
        let roots = snapshotters.iter().filter_map(|plugin| plugin.exports.get("root"));
        let mut stores: Vec<PathBuf> = roots.map(PathBuf::from).collect();
        // containerd 2 does not tell of content: it is beside the snapshots unless somebody moved those.
        let beside = || stores.iter().find_map(|root| Some(root.parent()?.join(CONTENT_DIRECTORY)));
        stores.extend(self.content_root().await?.or_else(beside));
        Ok(stores)
    }

    /// Finds out before it is begun whether `operation`, of which the daemon would not tell that it had
    /// no effect on a disk that is mounted read-only, would have one.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; when the daemon refuses.
    pub async fn check_writable(&self, operation: &str) -> Result<(), Error> {
        let is_read_only = |path: &PathBuf| read_only_mount(path).is_some();
        match self.stores().await?.into_iter().find(is_read_only) {
            Some(path) => Err(Error::read_only(operation, path)),
            None => Ok(()),
        }
    }

    async fn export(&self, (kind, id): (&str, &str), key: &str) -> Result<Option<String>, Error> {
        let mut plugins = self.client.plugins().await?.iter();
        let plugin = plugins.find(|plugin| plugin.kind == kind && plugin.id == id);
        Ok(plugin.and_then(|plugin| plugin.exports.get(key).cloned()))
    }
}

impl Client {
    /// The daemon's plugins, asked once.
    pub(super) async fn plugins(&self) -> Result<&[Plugin], Error> {
        let list = async || Introspection::new(self.clone()).list().await;
        Ok(self.daemon().plugins.get_or_try_init(list).await?)
    }

    /// Where the daemon says that it keeps content, asked once; `None` when the socket alone is to be
    /// used. Whether that place is within reach, nobody knows yet.
    pub(super) async fn content_root(&self) -> Option<&Path> {
        if self.is_socket_only() {
            return None;
        }
        let root = self.daemon().content_root.get_or_init(async || {
            Introspection::new(self.clone()).shared_content_root().await.unwrap_or_else(|error| {
                debug!(%error, "the content root is unknown");
                None
            })
        });
        root.await.as_deref()
    }

    /// Where small blobs can be put: where the daemon was seen to store one; and until it has, where a
    /// daemon that sees the files that we see says that it keeps them.
    pub(super) async fn place_of_blobs(&self) -> Option<&BlobDirectory> {
        if self.daemon().blobs.initialized() || self.is_socket_only() {
            return self.blobs();
        }
        let expected = async || {
            let root = self.content_root().await?;
            self.daemon().peer.sees_our_files().then(|| BlobDirectory::below(root))
        };
        self.daemon().expected_blobs.get_or_init(expected).await.as_ref()
    }

    /// Takes note that the daemon did not find a blob where it was not yet seen to store one: what is found
    /// there later may be what we put there.
    pub(super) async fn lost_blobs(&self) {
        self.daemon().blobs.get_or_init(async || None).await;
    }

    /// Takes note that the daemon has stored the blob `digest` of `size` bytes: by the first one, its
    /// directory is recognised.
    pub(super) async fn learn_blobs(&self, digest: &Digest, size: u64) {
        let found = async || {
            let root = self.content_root().await?;
            BlobDirectory::proven_by(root, digest, size)
        };
        self.daemon().blobs.get_or_init(found).await;
    }
}
