//! A place in memory for a rehearsal of a layer's extraction, of which nothing but names, owners, modes
//! and attributes is wanted, and that only for a moment.
//!
//! On a disk that would be slow: ext4 does not use an inode again that was free for less than a minute,
//! or five, and looks at each of them, one by one, for every file that it makes (`recently_deleted` in
//! its `ialloc.c`, Linux 6.18). With eight layers of 14,000 files each, which were made and removed one
//! after the other, that took half of the time.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use tracing::debug;

/// Most files that there can be. Each takes about a KiB of the kernel's memory.
const MAX_FILES: &str = "131072";

/// Most memory that links' targets and the like may take.
const MAX_SIZE: &str = "64m";

/// Attributes of the kinds that a layer's files can have. An older kernel's file system in memory takes
/// none of users: a rehearsal would leave them out.
const KINDS: [&str; 2] = ["user.pullctl", "trusted.pullctl"];

/// An empty file system in memory. Nobody else sees it, as it is mounted nowhere, and it is gone with the
/// last descriptor of it: a run that is killed leaves nothing.
#[derive(Debug)]
pub(super) struct Stage(OwnedFd);

impl Stage {
    /// One that keeps all that a disk would; `None` where this process may not have it, or the kernel
    /// has none (it came with Linux 5.2, and attributes of users with 6.6).
    pub(super) fn in_memory() -> Option<Self> {
        let stage = mounted().map(Self);
        let stage = stage.and_then(|stage| stage.takes_attributes().map(|()| stage));
        stage.inspect_err(|error| debug!(%error, "nothing is rehearsed in memory")).ok()
    }

    /// Its root directory.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn root(&self) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.0, ".", flags, Mode::empty())
    }

    fn takes_attributes(&self) -> rustix::io::Result<()> {
        let root = self.root()?;
        for name in KINDS {
            rustix::fs::fsetxattr(&root, name, b"", XattrFlags::CREATE)?;
            rustix::fs::fremovexattr(&root, name)?;
        }
        Ok(())
    }
}

fn mounted() -> rustix::io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let context = context.as_fd();
    for (key, value) in [("nr_inodes", MAX_FILES), ("size", MAX_SIZE), ("mode", "0755")] {
        rustix::mount::fsconfig_set_string(context, key, value)?;
    }
    rustix::mount::fsconfig_create(context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{AtFlags, Dir, FileType, Gid, Uid};

    use super::*;

    #[test]
    fn keeps_what_a_disk_would_and_is_seen_by_nobody() {
        // Who is not root, or has an older kernel, has none.
        let Some(stage) = Stage::in_memory() else { return };
        let root = stage.root().unwrap();
        rustix::fs::mknodat(&root, "gone", FileType::CharacterDevice, Mode::empty(), 0).unwrap();
        rustix::fs::mkdirat(&root, "directory", Mode::from_raw_mode(0o2750)).unwrap();
        rustix::fs::symlinkat("/nowhere", &root, "link").unwrap();
        let (owner, group) = (Uid::from_raw(7), Gid::from_raw(8));
        rustix::fs::chownat(&root, "link", Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)
            .unwrap();
        let link = rustix::fs::statat(&root, "link", AtFlags::SYMLINK_NOFOLLOW).unwrap();
        assert_eq!((link.st_uid, link.st_gid), (7, 8));

        let again = stage.root().unwrap();
        let names = Dir::read_from(&again).unwrap().filter(|entry| {
            !matches!(entry.as_ref().unwrap().file_name().to_bytes(), b"." | b"..")
        });
        assert_eq!(names.count(), 3);
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains("nr_inodes=131072"), "{mounts}");
    }
}
