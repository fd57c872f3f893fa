//! Owner, mode, extended attributes and times of what was just made.
//!
//! The order is containerd's: the owner first, since a change of owner clears capabilities and the
//! setuid bit, then attributes, then the mode, then the times. A call is left out where creation has
//! already given the file what it would set.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::LazyLock;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::error::ExtractError;
use super::tree::Directory;
use crate::tar::{Entry, EntryKind, EntryName, Timestamp};
use crate::unpack::room::has_room;

/// Latest time that containerd sets, 2262-04-11: what an `i64` of nanoseconds holds.
const LATEST: Timestamp = Timestamp { seconds: i64::MAX / 1_000_000_000, nanoseconds: 854_775_807 };

/// What a file gets by being made by this process, without anything being set on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CreationDefaults {
    owner: u32,
    group: u32,
    umask: u32,
}

impl CreationDefaults {
    /// This process's, which nothing in it changes.
    pub(crate) fn of_process() -> Self {
        static DEFAULTS: LazyLock<CreationDefaults> = LazyLock::new(|| CreationDefaults {
            owner: rustix::process::geteuid().as_raw(),
            group: rustix::process::getegid().as_raw(),
            umask: umask(),
        });
        *DEFAULTS
    }

    fn gives_owner(self, entry: &Entry, parent: &Directory) -> bool {
        let same = entry.owner.is_none_or(|owner| owner == self.owner)
            && entry.group.is_none_or(|group| group == self.group);
        same && !parent.hands_down()
    }

    fn gives_mode(self, entry: &Entry, parent: &Directory) -> bool {
        entry.mode & !0o777 == 0 && entry.mode & self.umask == 0 && !parent.hands_down()
    }
}

/// The umask as `/proc` tells it: the system call that reads it would change it for all threads.
/// Where it can't be known, every mode is set.
fn umask() -> u32 {
    let known = || {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
        u32::from_str_radix(line.trim(), 8).ok()
    };
    known().unwrap_or(0o777)
}

/// The mode to create a file with.
pub(crate) fn creation_mode(entry: &Entry) -> Mode {
    Mode::from_raw_mode(entry.mode & 0o777)
}

/// Sets everything but the times on an open file or directory. `is_new` tells that nobody but its
/// creation has had a say in its owner and mode.
///
/// # Errors
/// [`ExtractError::File`].
pub(crate) fn set_on_open(
    file: impl AsFd,
    entry: &Entry,
    parent: &Directory,
    defaults: CreationDefaults,
    is_new: bool,
) -> Result<(), ExtractError> {
    let file = file.as_fd();
    if !(is_new && defaults.gives_owner(entry, parent)) {
        let (owner, group) = ids(entry);
        rustix::fs::fchown(file, owner, group).map_err(failed(SET_OWNER, entry))?;
    }
    let set =
        |name: &[u8], value: &[u8]| rustix::fs::fsetxattr(file, name, value, XattrFlags::empty());
    set_attributes(entry, set, file)?;
    if !(is_new && defaults.gives_mode(entry, parent)) {
        let mode = Mode::from_raw_mode(entry.mode);
        rustix::fs::fchmod(file, mode).map_err(failed(SET_MODE, entry))?;
    }
    Ok(())
}

/// Sets everything on what can't be opened: a link, a device, a pipe. `is_new` as above.
///
/// # Errors
/// [`ExtractError::File`].
pub(crate) fn set_on_name(
    parent: &Directory,
    base: &[u8],
    entry: &Entry,
    defaults: CreationDefaults,
    is_new: bool,
) -> Result<(), ExtractError> {
    if !(is_new && defaults.gives_owner(entry, parent)) {
        let (owner, group) = ids(entry);
        rustix::fs::chownat(parent, base, owner, group, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed(SET_OWNER, entry))?;
    }
    if !entry.attributes.is_empty() {
        // There is no call that takes a directory's descriptor and a name; `/proc` makes a path of
        // them, whose last component is not followed.
        let path = path_through_proc(parent, base);
        let set = |name: &[u8], value: &[u8]| {
            rustix::fs::lsetxattr(&path, name, value, XattrFlags::empty())
        };
        set_attributes(entry, set, parent)?;
    }
    let has_mode = is_new && defaults.gives_mode(entry, parent);
    if !has_mode && !is_link(parent, base, entry)? {
        let mode = Mode::from_raw_mode(entry.mode);
        rustix::fs::chmodat(parent, base, mode, AtFlags::empty())
            .map_err(failed(SET_MODE, entry))?;
    }
    set_times_on_name(parent, base, &times(entry)).map_err(failed(SET_TIMES, entry))
}

/// Sets the times of `base` itself, not of what it may link to.
pub(crate) fn set_times_on_name(
    parent: impl AsFd,
    base: &[u8],
    times: &Timestamps,
) -> rustix::io::Result<()> {
    rustix::fs::utimensat(parent, base, times, AtFlags::SYMLINK_NOFOLLOW)
}

/// Sets the times of an open file.
///
/// # Errors
/// [`ExtractError::File`].
pub(crate) fn set_times_on_open(file: impl AsFd, entry: &Entry) -> Result<(), ExtractError> {
    rustix::fs::futimens(file, &times(entry)).map_err(failed(SET_TIMES, entry))
}

/// The times to set for `entry`, within containerd's bounds.
pub(crate) fn times(entry: &Entry) -> Timestamps {
    Timestamps {
        last_access: timespec(bounded(access_time(entry))),
        last_modification: timespec(bounded(entry.modified)),
    }
}

/// containerd never lets the access time be before the modification time.
fn access_time(entry: &Entry) -> Timestamp {
    entry.accessed.map_or(entry.modified, |accessed| accessed.max(entry.modified))
}

/// 1970 for what lies before it or after 2262.
fn bounded(time: Timestamp) -> Timestamp {
    if time < Timestamp::default() || time > LATEST { Timestamp::default() } else { time }
}

/// The action named when times can't be set.
pub(crate) const SET_TIMES: &str = "set the times of";
const SET_OWNER: &str = "set the owner of";
const SET_MODE: &str = "set the mode of";

fn failed(action: &'static str, entry: &Entry) -> impl FnOnce(Errno) -> ExtractError {
    ExtractError::file(action, &entry.name)
}

fn timespec(time: Timestamp) -> Timespec {
    Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() }
}

/// Owner and group for the system, `None` where they stay as they are.
pub(crate) fn ids(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    (entry.owner.map(Uid::from_raw), entry.group.map(Gid::from_raw))
}

/// Gives the file of `entry` its extended attributes by `set`; `nearby` is on the same file system.
fn set_attributes(
    entry: &Entry,
    set: impl Fn(&[u8], &[u8]) -> rustix::io::Result<()>,
    nearby: impl AsFd,
) -> Result<(), ExtractError> {
    for (name, value) in &entry.attributes {
        // An image must not speak for the machine's administrator: overlayfs, for one, takes its
        // orders from this name space.
        if name.starts_with(b"trusted.") {
            continue;
        }
        match set(name, value) {
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(errno @ (Errno::NOSPC | Errno::TOOBIG | Errno::RANGE))
                if errno != Errno::NOSPC || has_room(&nearby) =>
            {
                return Err(ExtractError::Attribute {
                    entry: EntryName::new(&entry.name),
                    attribute: EntryName::new(name),
                    bytes: value.len(),
                    source: errno.into(),
                });
            }
            Err(Errno::PERM) if name.starts_with(b"user.") && !takes_user_attributes(entry) => {}
            Err(error) => return Err(failed("set an extended attribute of", entry)(error)),
        }
    }
    Ok(())
}

/// Whether the kernel lets the file have attributes of the `user` name space.
fn takes_user_attributes(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::File | EntryKind::Directory)
}

/// A symbolic link has no mode, and a hard link may be another name of one.
fn is_link(parent: &Directory, base: &[u8], entry: &Entry) -> Result<bool, ExtractError> {
    if let EntryKind::Symlink(_) = entry.kind {
        return Ok(true);
    }
    let stat = rustix::fs::statat(parent, base, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(failed("look at", entry))?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

/// A path to `base` in `directory` for calls that take nothing but paths.
pub(crate) fn path_through_proc(directory: impl AsFd, base: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(base);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_times_as_containerd_does() {
        let nanoseconds = 999_999_999;
        for (time, expected) in [
            (Timestamp { seconds: -1, nanoseconds }, Timestamp::default()),
            (Timestamp { seconds: 1, nanoseconds }, Timestamp { seconds: 1, nanoseconds }),
            (LATEST, LATEST),
            (Timestamp { nanoseconds, ..LATEST }, Timestamp::default()),
            (Timestamp::from_seconds(i64::MAX), Timestamp::default()),
        ] {
            assert_eq!(bounded(time), expected, "{time:?}");
        }
    }
}
