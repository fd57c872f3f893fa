//! What can go wrong with a layout directory.

use std::io;
use std::path::{Path, PathBuf};

use crate::failure::{Diagnose, Failure, is_disk_full};
use crate::oci::Digest;

/// Why an image layout can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory holds files but no `oci-layout`.
    #[error("{} is not empty and is no OCI image layout", .0.display())]
    NotALayout(PathBuf),
    /// A file can't be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// `read`, `write`, …
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// `index.json` is no image index.
    #[error("cannot understand {}", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What the parser met.
        source: serde_json::Error,
    },
    /// The bytes written are not what the descriptor promised.
    #[error("blob {expected} arrived as {actual} ({size} bytes)")]
    Mismatch {
        /// What it should hash to.
        expected: Digest,
        /// What it hashes to.
        actual: Digest,
        /// How many bytes arrived.
        size: u64,
    },
    /// The thread that writes a blob is gone.
    #[error("the file writer stopped")]
    Stopped(#[source] io::Error),
}

impl Error {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}

impl Diagnose for Error {
    fn failure(&self) -> Failure {
        match self {
            Self::NotALayout(_) => Failure::Usage,
            Self::Io { source, .. } if is_disk_full(source) => Failure::DiskFull,
            Self::Mismatch { .. } => Failure::Verification,
            Self::Io { .. } | Self::Index { .. } | Self::Stopped(_) => Failure::Other,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotALayout(_) => {
                Some("name an empty or new directory, or one that holds an OCI layout".into())
            }
            Self::Io { source, path, .. } if is_disk_full(source) => {
                Some(format!("free space on the file system of {}", path.display()))
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("choose a directory that you may write to".into())
            }
            Self::Index { .. } => {
                Some("move the broken index.json away, or use another directory".into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_full_quota_are_one_kind() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let error = Error::io("write", Path::new("/layout"), kind.into());
            assert_eq!(error.failure(), Failure::DiskFull, "{kind}");
            assert!(error.hint().is_some_and(|hint| hint.contains("/layout")), "{kind}");
        }
    }
}
