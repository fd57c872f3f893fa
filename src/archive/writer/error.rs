//! Why an archive can't be written.

use std::io;
use std::path::PathBuf;

use crate::failure::{Diagnose, Failure, is_disk_full, place_for_file};
use crate::oci::Digest;

/// Why an archive can't be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody would see the archive's bytes.
    #[error("an archive is not written to a terminal")]
    Terminal,
    /// A directory where the archive is to be.
    #[error("{} is a directory", .0.display())]
    Directory(PathBuf),
    /// The file can't be made.
    #[error("cannot create {place}")]
    Create {
        /// The file, or `standard output`.
        place: String,
        /// The system's reason.
        source: io::Error,
    },
    /// Bytes were not taken.
    #[error("cannot write {place}")]
    Write {
        /// The file, or `standard output`.
        place: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The bytes of a blob are not what its descriptor promised.
    #[error("blob {expected} arrived as {actual} ({size} bytes)")]
    Mismatch {
        /// What it should hash to.
        expected: Digest,
        /// What it hashes to.
        actual: Digest,
        /// How many bytes arrived.
        size: u64,
    },
    /// A wrong blob is in a stream.
    #[error("{0} can't be gone on with: a blob that is wrong has been written to it")]
    Spoiled(String),
    /// A layer that old dockers can't unpack.
    #[error("blob {digest} is of the type {media_type}, which docker's own form has no place for")]
    Packing {
        /// The blob.
        digest: Digest,
        /// What it is.
        media_type: String,
    },
    /// Docker's own form knows no indexes.
    #[error("an archive in docker's own form holds one platform of an image")]
    SeveralPlatforms,
    /// No JSON came of a table of contents.
    #[error("a table of contents can't be made")]
    Contents(#[from] serde_json::Error),
    /// The thread that writes is gone.
    #[error("the archive's writer stopped")]
    Stopped(#[source] io::Error),
}

impl Error {
    fn reason(&self) -> Option<&io::Error> {
        match self {
            Self::Create { source, .. } | Self::Write { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl Diagnose for Error {
    fn failure(&self) -> Failure {
        match self {
            Self::Terminal | Self::Directory(_) | Self::Packing { .. } | Self::SeveralPlatforms => {
                Failure::Usage
            }
            Self::Mismatch { .. } | Self::Spoiled(_) => Failure::Verification,
            _ if self.reason().is_some_and(is_disk_full) => Failure::DiskFull,
            Self::Create { .. } | Self::Write { .. } | Self::Contents(_) | Self::Stopped(_) => {
                Failure::Other
            }
        }
    }

    fn hint(&self) -> Option<String> {
        use io::ErrorKind::{BrokenPipe, FileTooLarge};
        let hint = match self {
            Self::Terminal => {
                "name a file with -o FILE, or let another program read it: pullctl save -o - REF | ssh NODE pullctl load"
            }
            Self::Directory(_) => "name a file in it",
            Self::Spoiled(_) => {
                "write to a file without --compress: there a blob can be taken back"
            }
            Self::Packing { .. } => {
                "leave out --format docker: docker takes the other form, too, from 23 on with zstd in it"
            }
            Self::SeveralPlatforms => "leave out --format docker, or name one --platform",
            _ => {
                let reason = self.reason()?;
                match reason.kind() {
                    BrokenPipe => "the program that reads the archive ended early: it may say why",
                    // Sticks come so formatted.
                    FileTooLarge => {
                        "FAT takes no file of 4 GiB: format the stick with exfat or ext4, or cut the archive: pullctl save -o - REF | split -b 2G - FILE."
                    }
                    _ => place_for_file(reason)?,
                }
            }
        };
        Some(hint.to_owned())
    }
}
