//! The daemon's plugins: which there are, where they keep their data, what they can do.

use std::path::PathBuf;

use containerd_client::services::v1 as api;
use containerd_client::services::v1::introspection_client::IntrospectionClient;

use super::{Client, Error, Labels};

const CONTENT_PLUGIN: (&str, &str) = ("io.containerd.content.v1", "content");
const METADATA_PLUGIN: (&str, &str) = ("io.containerd.metadata.v1", "bolt");
pub(super) const SNAPSHOTTER_PLUGIN: &str = "io.containerd.snapshotter.v1";

/// One plugin of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// `io.containerd.snapshotter.v1`, `io.containerd.content.v1`, …
    pub kind: String,
    /// `overlayfs`, `content`, …
    pub id: String,
    /// Its own facts: `root` is where it keeps its data.
    pub exports: Labels,
    /// What it can do: `rebase` of a snapshotter, for one.
    pub capabilities: Vec<String>,
    /// Why it could not be started.
    pub failure: Option<String>,
}

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
    pub(super) async fn list(&self) -> Result<Vec<Plugin>, Error> {
        let types = [CONTENT_PLUGIN.0, METADATA_PLUGIN.0, SNAPSHOTTER_PLUGIN];
        let request =
            api::PluginsRequest { filters: types.map(|kind| format!("type=={kind}")).into() };
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
    pub(super) async fn shared_content_root(&self) -> Result<Option<PathBuf>, Error> {
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

    async fn export(&self, (kind, id): (&str, &str), key: &str) -> Result<Option<String>, Error> {
        let mut plugins = self.client.plugins().await?.iter();
        let plugin = plugins.find(|plugin| plugin.kind == kind && plugin.id == id);
        Ok(plugin.and_then(|plugin| plugin.exports.get(key).cloned()))
    }
}

impl From<api::Plugin> for Plugin {
    fn from(plugin: api::Plugin) -> Self {
        Self {
            kind: plugin.r#type,
            id: plugin.id,
            exports: plugin.exports.into_iter().collect(),
            capabilities: plugin.capabilities,
            failure: plugin.init_err.map(|status| status.message),
        }
    }
}
