//! Why a layer could not be unpacked.

use std::io;

use crate::failure::{Diagnose, Failure, is_disk_full, is_read_only, make_writable};
use crate::tar::{self, EntryName, Problem};
use crate::unpack::inflate::Format;
use crate::unpack::room::Exhausted;

/// Why a layer could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The compressed stream is damaged, truncated, followed by something else, or needs too much
    /// memory.
    #[error("cannot inflate the layer's {format} data")]
    Inflate {
        /// What it is packed with.
        format: Format,
        /// What the decoder says.
        source: io::Error,
    },
    /// The layer's bytes can't be had, or whoever sends them went away before the end.
    #[error("cannot read the layer")]
    Source(#[source] io::Error),
    /// The uncompressed stream is no tar archive, or one outside the bounds.
    #[error("the layer's tar archive is unusable at byte {offset}")]
    Archive {
        /// Where in the uncompressed stream the trouble was found, in bytes.
        offset: u64,
        /// What it is.
        source: Problem,
    },
    /// An entry asks for what no unpacker may or can do.
    #[error("the layer's entry {entry} is unusable: {problem}")]
    Unusable {
        /// The entry.
        entry: EntryName,
        /// What is wrong with it.
        problem: &'static str,
        /// What the system said, where it was what noticed.
        source: Option<io::Error>,
    },
    /// The file system refuses.
    #[error("cannot {action} {entry} of the layer")]
    File {
        /// What was attempted: `create the file`, `set the owner of`.
        action: &'static str,
        /// The entry it was attempted for.
        entry: EntryName,
        /// The system's reason.
        source: io::Error,
    },
    /// The files of all layers are more than the user allows.
    #[error("the layers are more, unpacked, than the {limit_bytes} bytes of --max-unpacked")]
    Limit {
        /// For all layers of the run, in bytes.
        limit_bytes: u64,
    },
    /// The file system has less room than the entry needs.
    #[error("no room for {entry} of the layer")]
    Room {
        /// The entry.
        entry: EntryName,
    },
    /// The file system takes no attribute of this size.
    #[error(
        "cannot set the attribute {attribute} of {entry}: its {bytes} bytes are more than the file \
         system takes"
    )]
    Attribute {
        /// The entry.
        entry: EntryName,
        /// The attribute's name.
        attribute: EntryName,
        /// Length of its value, in bytes.
        bytes: usize,
        /// The system's reason, which may be that the disk is full although it is not.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a thread that unpacks")]
    Thread(#[source] io::Error),
}

impl ExtractError {
    /// A system call's failure on behalf of `entry`.
    pub(crate) fn file(
        action: &'static str,
        entry: &[u8],
    ) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::File { action, entry: EntryName::new(entry), source: errno.into() }
    }

    /// The same for an entry of this name.
    pub(crate) fn file_called(
        action: &'static str,
        entry: EntryName,
    ) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::File { action, entry, source: errno.into() }
    }

    /// That `entry` is more than may be written.
    pub(crate) fn exhausted(entry: &[u8], reason: Exhausted) -> Self {
        match reason {
            Exhausted::Limit(limit_bytes) => Self::Limit { limit_bytes },
            Exhausted::Room => Self::Room { entry: EntryName::new(entry) },
        }
    }

    /// An unusable entry.
    pub(crate) fn unusable(entry: &[u8], problem: &'static str) -> Self {
        Self::Unusable { entry: EntryName::new(entry), problem, source: None }
    }

    /// An entry that the system refuses for what else is in its layer.
    pub(crate) fn contradiction(
        entry: &[u8],
        problem: &'static str,
        errno: rustix::io::Errno,
    ) -> Self {
        Self::Unusable { entry: EntryName::new(entry), problem, source: Some(errno.into()) }
    }
}

impl Diagnose for ExtractError {
    fn failure(&self) -> Failure {
        match self {
            Self::Inflate { .. } | Self::Archive { .. } | Self::Unusable { .. } => {
                Failure::Verification
            }
            Self::Limit { .. } | Self::Room { .. } => Failure::DiskFull,
            Self::File { source, .. } if is_disk_full(source) => Failure::DiskFull,
            // As when the daemon meets it.
            Self::File { source, .. } if is_read_only(source) => Failure::Containerd,
            Self::Source(_) | Self::File { .. } | Self::Attribute { .. } | Self::Thread(_) => {
                Failure::Other
            }
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Limit { .. } => Some(LIMIT_HINT.to_owned()),
            Self::Room { .. } => Some(ROOM_HINT.to_owned()),
            Self::File { source, .. } if is_disk_full(source) => Some(ROOM_HINT.to_owned()),
            Self::File { source, .. } if is_read_only(source) => Some(make_writable(None)),
            Self::Attribute { .. } => Some(ATTRIBUTE_HINT.to_owned()),
            Self::Inflate { .. } | Self::Archive { .. } | Self::Unusable { .. } => {
                // Our bounds are narrower than containerd's here and there.
                let hint = "--unpacker auto has containerd try; if it can't either, build and \
                    push the image again";
                Some(hint.to_owned())
            }
            Self::Source(_) | Self::File { .. } | Self::Thread(_) => None,
        }
    }
}

/// What to do about a full disk.
const ROOM_HINT: &str = "free space (or inodes) where containerd keeps its snapshots";

/// What to do about an image that is larger than is allowed.
const LIMIT_HINT: &str = "if the image is worth that much disk, raise --max-unpacked";

/// What to do about an attribute that is too large.
pub(in crate::unpack) const ATTRIBUTE_HINT: &str = "keep containerd's snapshots on a file system that takes large \
    attributes (XFS, or ext4 with the feature ea_inode), or build the image without the attribute";

impl From<tar::Error> for ExtractError {
    fn from(error: tar::Error) -> Self {
        match error {
            // The stream's own error, which went through the archive's reader.
            tar::Error::Read(error) => error.downcast::<Self>().unwrap_or_else(Self::Source),
            tar::Error::Malformed { offset, source } => Self::Archive { offset, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_full_disk_from_other_refusals() {
        let error = |errno| ExtractError::file("write", b"a")(errno);
        assert_eq!(error(rustix::io::Errno::NOSPC).failure(), Failure::DiskFull);
        assert_eq!(error(rustix::io::Errno::DQUOT).failure(), Failure::DiskFull);
        assert_eq!(error(rustix::io::Errno::ACCESS).failure(), Failure::Other);
        assert_eq!(error(rustix::io::Errno::ROFS).failure(), Failure::Containerd);
        assert!(
            error(rustix::io::Errno::ROFS).hint().is_some_and(|hint| hint.contains("remount,rw"))
        );
        assert_eq!(error(rustix::io::Errno::NOSPC).to_string(), "cannot write \"a\" of the layer");
    }

    #[test]
    fn counts_a_malformed_layer_as_a_failed_verification() {
        let error = ExtractError::Archive { offset: 512, source: Problem::Header };
        assert_eq!(error.failure(), Failure::Verification);
        assert!(error.hint().is_some());
    }
}
