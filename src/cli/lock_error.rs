//! What goes wrong with locks.

use std::io;
use std::path::PathBuf;

use crate::failure::{Diagnose, Failure, is_disk_full, place_for_file};

/// What goes wrong with locks.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// `lock --check` or `pull --locked` of something else than a lock.
    #[error("{0} is in no lock")]
    NotLocked(String),
    /// The lock has no place.
    #[error("cannot write the lock {}", path.display())]
    NotWritten {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl Diagnose for LockError {
    fn failure(&self) -> Failure {
        match self {
            Self::NotLocked(_) => Failure::Usage,
            Self::NotWritten { source, .. } if is_disk_full(source) => Failure::DiskFull,
            Self::NotWritten { .. } => Failure::Other,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotLocked(_) => Some(
                "make one with pullctl lock -f LIST -o images.lock, and name it with -f".to_owned(),
            ),
            Self::NotWritten { source, .. } => place_for_file(source).map(str::to_owned),
        }
    }
}
