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
    /// There is no `oci-layout` where a layout is to be read, or one of another version.
    #[error("{} is no OCI image layout that pullctl reads", .0.display())]
    NotReadable(PathBuf),
    /// There is not even a directory.
    #[error("{} does not exist", .0.display())]
    Absent(PathBuf),
    /// A symbolic link where a layout has files and directories of its own.
    #[error("{} is a symbolic link, which may lead out of the layout", .0.display())]
    Link(PathBuf),
    /// A document or file is larger than the reader allows.
    #[error("{} is larger than {limit_bytes} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound, in bytes.
        limit_bytes: u64,
    },
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
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A blob that a document of the layout names is not in it.
    #[error("blob {blob} is not in the layout: {} is missing", path.display())]
    Missing {
        /// The blob.
        blob: Digest,
        /// Where it should be.
        path: PathBuf,
    },
    /// The bytes written, or those in the layout, are not what the descriptor promised.
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

    /// Whether the system says that there is nothing of that name.
    pub(super) fn is_not_found(&self) -> bool {
        match self {
            Self::Absent(_) => true,
            Self::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }
}

impl Diagnose for Error {
    fn failure(&self) -> Failure {
        match self {
            Self::NotALayout(_) | Self::NotReadable(_) | Self::Absent(_) => Failure::Usage,
            Self::Io { source, .. } if is_disk_full(source) => Failure::DiskFull,
            Self::Missing { .. } => Failure::NotFound,
            Self::Mismatch { .. } | Self::Link(_) | Self::TooLarge { .. } => Failure::Verification,
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
            Self::Io { source, .. } if is_forbidden(source) => {
                Some("choose a directory that you may write to".into())
            }
            Self::NotReadable(_) | Self::Absent(_) => {
                Some("name the directory that holds oci-layout and index.json".into())
            }
            Self::Link(_) => Some(
                "put the file or directory itself in the link's place, for instance by cp -rL"
                    .into(),
            ),
            Self::Index { .. } => {
                Some("move the broken index.json away, or use another directory".into())
            }
            _ => None,
        }
    }
}

fn is_forbidden(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
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
