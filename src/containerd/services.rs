//! The services of a daemon, by way of its client.

use super::blobs::ContentStore;
use super::client::Client;
use super::cri::Cri;
use super::diff::Diff;
use super::images::Images;
use super::introspection::Introspection;
use super::leases::Leases;
use super::snapshots::Snapshots;

impl Client {
    /// Blobs.
    pub fn content(&self) -> ContentStore {
        ContentStore::new(self.clone())
    }

    /// Names of images.
    pub fn images(&self) -> Images {
        Images::new(self.clone())
    }

    /// Leases.
    pub fn leases(&self) -> Leases {
        Leases::new(self.clone())
    }

    /// The snapshotter called `name`.
    pub fn snapshots(&self, name: &str) -> Snapshots {
        Snapshots::new(self.clone(), name)
    }

    /// The daemon's own unpacking.
    pub fn diff(&self) -> Diff {
        Diff::new(self.clone())
    }

    /// The Kubernetes side of the daemon.
    pub fn cri(&self) -> Cri {
        Cri::new(self.clone())
    }

    /// The daemon's plugins.
    pub fn introspection(&self) -> Introspection {
        Introspection::new(self.clone())
    }
}
