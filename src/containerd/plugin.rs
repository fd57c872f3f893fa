//! A plugin of the daemon, as it describes itself.

use containerd_client::services::v1 as api;

use super::labels::Labels;

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
