//! A directory by its name in another one that is open; what a link leads to is never opened.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

/// Opens the directory `name` in `parent`; a link is not followed.
pub(crate) fn open_directory(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(parent, name, directory_flags(), Mode::empty())
}

/// The flags by which directories are opened.
pub(crate) fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}
