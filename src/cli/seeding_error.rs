//! Why a node could not be seeded, or nobody told of it.

use std::io;
use std::path::PathBuf;

use crate::failure::{Diagnose, Failure, is_disk_full, place_for_file};

/// Why a node could not be seeded, or nobody told of it.
#[derive(Debug, thiserror::Error)]
pub enum SeedingError {
    /// A list that no ConfigMap takes.
    #[error("the list of images has {0} bytes, and a ConfigMap takes a million")]
    LongForConfigMap(usize),
    /// A path of the nodes in the place of one that pods have themselves.
    #[error("{} of the node would hide {own} of the pod", path.display())]
    InTheWay {
        /// The node's.
        path: PathBuf,
        /// The pod's.
        own: &'static str,
    },
    /// What is no path of a socket that pods can have.
    #[error("{address:?} is no socket on the nodes: {problem}")]
    Socket {
        /// As typed.
        address: String,
        /// What Kubernetes has against it.
        problem: String,
    },
    /// Two values for what can have one. They may be secrets and are not told.
    #[error("{flag} {name} has two values")]
    Contradiction {
        /// The flag that says so.
        flag: &'static str,
        /// What is to be so.
        name: String,
    },
    /// A file of ours can't be written.
    #[error("cannot write {}", path.display())]
    NotNoted {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Nobody has noted how seeding went, or not there.
    #[error("cannot read the status {}", path.display())]
    NoStatus {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Standard input can't be read twice.
    #[error("standard input can't be read again in the next round")]
    InputInRounds,
}

impl Diagnose for SeedingError {
    fn failure(&self) -> Failure {
        match self {
            Self::LongForConfigMap(_)
            | Self::InTheWay { .. }
            | Self::Socket { .. }
            | Self::Contradiction { .. }
            | Self::InputInRounds => Failure::Usage,
            Self::NotNoted { source, .. } if is_disk_full(source) => Failure::DiskFull,
            Self::NoStatus { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Failure::NotFound
            }
            Self::NotNoted { .. } | Self::NoStatus { .. } => Failure::Other,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::InTheWay { .. } => {
                "name the directory in it that pullctl needs, or a socket in a directory of its own"
            }
            Self::Socket { .. } => "name its path there: --address /run/containerd/containerd.sock",
            Self::Contradiction { .. } => {
                "leave one out; every pod has kubernetes.io/os=linux, and DOCKER_CONFIG with --secret"
            }
            Self::LongForConfigMap(_) => "make two seedings of it, with a --name each",
            Self::NotNoted { source, .. } => {
                place_for_file(source).unwrap_or("name a file in a directory that can be written")
            }
            Self::NoStatus { .. } => "name the file that pullctl pull --status-file keeps",
            Self::InputInRounds => "put the images into a file",
        };
        Some(hint.to_owned())
    }
}
