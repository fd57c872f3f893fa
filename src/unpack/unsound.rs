//! Why files can't be written into snapshots by us.

use std::io;
use std::path::PathBuf;

/// Why files can't be written into snapshots by us; containerd then does it.
#[derive(Debug, thiserror::Error)]
pub enum Unsound {
    /// Owners, devices and trusted attributes are root's to set.
    #[error("pullctl does not run as root")]
    NotRoot,
    /// In a user namespace, root is not root.
    #[error("pullctl runs in a user namespace")]
    UserNamespace,
    /// Another snapshotter than overlayfs.
    #[error("snapshotter {0} is not overlayfs")]
    Snapshotter(String),
    /// Mounts of another kind than expected.
    #[error("containerd mounts the snapshot in an unfamiliar way: {0}")]
    Mounts(String),
    /// The directory is not there, or not the daemon's: it runs in another mount namespace.
    #[error("{} is not the directory that containerd means", .0.display())]
    Elsewhere(PathBuf),
    /// The daemon, and the owners that it means, are in a user namespace.
    #[error("{} belongs to user {owner}: containerd runs in a user namespace", path.display())]
    Owned {
        /// The directory.
        path: PathBuf,
        /// Its owner's ID.
        owner: u32,
    },
    /// The directory can't be used.
    #[error("cannot use {}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}
