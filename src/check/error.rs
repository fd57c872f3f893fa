//! Why something that is wrong could not be mended.

use crate::failure::{Diagnose, Diagnostic, Failure};
use crate::oci::Digest;
use crate::{containerd, transfer, unpack};

/// Why something could not be mended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry's side.
    #[error(transparent)]
    Transfer(#[from] transfer::Error),
    /// The daemon's side.
    #[error(transparent)]
    Containerd(#[from] containerd::Error),
    /// The snapshots' side.
    #[error(transparent)]
    Unpack(#[from] unpack::Error),
    /// Nothing tells where the blob could be had.
    #[error("no name of the image tells a registry that {0} could be fetched from")]
    NoSource(Digest),
    /// Nobody that may have the blob gave it.
    #[error("blob {digest} could not be fetched{}", told(tried))]
    Nowhere {
        /// The blob.
        digest: Digest,
        /// Who was asked, in this order, and why that did not work.
        tried: Vec<(String, Self)>,
    },
    /// The daemon takes no other bytes for a blob that it has, and its files are out of reach.
    #[error("blob {0} can't be replaced: containerd's files are out of reach")]
    OutOfReach(Digest),
    /// Somebody lives on the snapshot.
    #[error("snapshot {snapshot} is in use by {}", users.join(", "))]
    InUse {
        /// The snapshot.
        snapshot: String,
        /// Containers, or other snapshots.
        users: Vec<String>,
    },
    /// The snapshots' directories are out of sight.
    #[error("the files of the layer can't be replaced: {0}")]
    OutOfSight(String),
}

impl Diagnose for Error {
    fn failure(&self) -> Failure {
        match self {
            Self::Transfer(error) => error.failure(),
            Self::Containerd(error) => error.failure(),
            Self::Unpack(error) => error.failure(),
            Self::NoSource(_) => Failure::NotFound,
            // Where it came from is where it should be.
            Self::Nowhere { tried, .. } => {
                tried.first().map_or(Failure::NotFound, |(_, error)| error.failure())
            }
            Self::OutOfReach(_) | Self::InUse { .. } | Self::OutOfSight(_) => Failure::Other,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Transfer(error) => return error.hint(),
            Self::Containerd(error) => return error.hint(),
            Self::Unpack(error) => return error.hint(),
            Self::Nowhere { tried, .. } => {
                return tried.first().and_then(|(_, error)| error.hint());
            }
            Self::NoSource(_) => "pull the image by the name of its registry",
            Self::OutOfReach(_) | Self::OutOfSight(_) => {
                "run pullctl as root on the node itself, not in a container"
            }
            Self::InUse { .. } => {
                "end what uses it (kubectl drain, or kubectl delete pod), and run this again"
            }
        };
        Some(hint.to_owned())
    }
}

/// A line for each that was asked.
fn told(tried: &[(String, Error)]) -> String {
    let line =
        |(name, error): &(String, Error)| format!("\n{name}: {}", Diagnostic::of(error).one_line());
    tried.iter().map(line).collect()
}
