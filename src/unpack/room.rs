//! Whether a file system has room.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::StatVfs;

/// Free bytes from which on a file system is not full (1 MiB): more than any single attribute takes,
/// which file systems refuse as if they were full where it is too large for them.
const ROOM_BYTES: u64 = 1 << 20;

/// Whether the file system that `nearby` is on has room for something small.
pub(super) fn has_room(nearby: impl AsFd) -> bool {
    rustix::fs::fstatvfs(nearby).is_ok_and(|stat| is_roomy(&stat))
}

/// Whether the file system of `path` has room for something small, as far as that is known.
pub(super) fn has_room_at(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|stat| is_roomy(&stat))
}

fn is_roomy(stat: &StatVfs) -> bool {
    let bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    // Where inodes are made as they are needed, none are counted.
    bytes >= ROOM_BYTES && (stat.f_files == 0 || stat.f_favail > 0)
}
