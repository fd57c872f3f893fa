//! A layer's files out of a directory where they lie unpacked already, into another one: each a file
//! of its own, as if it had been extracted there.
//!
//! Nothing is linked from one directory to the other, although that would be quickest: a container
//! sees how many names a file has, and some programs (cron, for one) refuse files that have several.
//! Where the file system can share blocks between files, it does.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::attributes::path_through_proc;
use super::content::{Copier, Halt};
use super::error::ExtractError;
use super::implied::nanoseconds;
use super::open::{directory_flags, open_directory};
use super::path::join;
use super::xattrs::Xattrs;
use crate::unpack::room::Allowance;

/// How deep directories may be nested (64): two descriptors are open for each, of the 1024 that a
/// process may have by default, and several layers are copied at a time.
const MAX_DEPTH: usize = 64;

/// Most bytes that the notes on files with several names may take (16 MiB); there are few in any
/// real layer.
const MAX_LINK_NOTES_BYTES: usize = 16 << 20;

/// Copies all that lies in `from`, a committed layer's directory of overlayfs, to `to`, which is
/// empty, as much as `allowance` has. Returns how many bytes the files are. Blocks until the end, or
/// until `halt`.
///
/// # Errors
/// [`ExtractError`]: a file system that refuses, or a tree that is not as extraction leaves them and
/// is to be had by that only. `to` holds what was copied so far.
pub fn copy_tree(
    from: OwnedFd,
    to: OwnedFd,
    allowance: Allowance,
    halt: Halt,
) -> Result<u64, ExtractError> {
    let failed = ExtractError::file(COPY_ATTRIBUTES, b"/");
    let mut attributes = Xattrs::default();
    attributes.copy_opaque(&from, &to).map_err(failed)?;
    let mut copying = Copying {
        root: &to,
        attributes,
        linked: HashMap::new(),
        linked_bytes: 0,
        files: Copier::new(allowance, halt.clone()),
        halt,
    };
    copying.fill(&from, &to, b"", 0)?;
    Ok(copying.files.copied_bytes())
}

const COPY_ATTRIBUTES: &str = "copy the attributes of";

/// A copy on its way.
struct Copying<'a> {
    root: &'a OwnedFd,
    attributes: Xattrs,
    /// Where the first name is of a file that has several, by device and inode.
    linked: HashMap<(u64, u64), Vec<u8>>,
    linked_bytes: usize,
    files: Copier,
    halt: Halt,
}

/// Something in an open directory, and where its copy goes.
struct Place<'a> {
    from: &'a OwnedFd,
    to: &'a OwnedFd,
    name: &'a [u8],
    /// Relative to the root.
    path: &'a [u8],
    depth: usize,
}

impl Copying<'_> {
    /// Copies what lies in `from` to `to`, which is at `path`.
    fn fill(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        path: &[u8],
        depth: usize,
    ) -> Result<(), ExtractError> {
        let entries = Dir::read_from(from).map_err(ExtractError::file("list", path))?;
        for entry in entries {
            let entry = entry.map_err(ExtractError::file("list", path))?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let path = join(path, name);
            if self.halt.is_set() {
                return Err(ExtractError::file("copy", &path)(Errno::CANCELED));
            }
            let place = Place { from, to, name, path: &path, depth };
            self.entry(&place)?;
        }
        Ok(())
    }

    fn entry(&mut self, place: &Place<'_>) -> Result<(), ExtractError> {
        let Place { from, name, path, .. } = *place;
        let failed = |errno| ExtractError::file("look at", path)(errno);
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            return self.directory(place, &stat);
        }
        if stat.st_nlink > 1 && self.link(place, &stat)? {
            return Ok(());
        }
        match kind {
            FileType::RegularFile => self.file(place, &stat),
            _ => self.node(place, &stat, kind).map_err(ExtractError::file("copy", path)),
        }
    }

    fn directory(&mut self, place: &Place<'_>, stat: &Stat) -> Result<(), ExtractError> {
        let Place { from, to, name, path, depth } = *place;
        let failed = |errno| ExtractError::file("copy the directory", path)(errno);
        if depth >= MAX_DEPTH {
            return Err(failed(Errno::NAMETOOLONG));
        }
        // Its own attributes come last: until then it hands nothing down to what is made in it.
        rustix::fs::mkdirat(to, name, Mode::RWXU).map_err(failed)?;
        let copy = open_directory(to, name).map_err(failed)?;
        let original = open_unread(from, name, directory_flags()).map_err(failed)?;
        self.fill(&original, &copy, path, depth + 1)?;
        self.set(&original, &copy, stat).map_err(ExtractError::file(COPY_ATTRIBUTES, path))
    }

    fn file(&mut self, place: &Place<'_>, stat: &Stat) -> Result<(), ExtractError> {
        let Place { from, to, name, path, .. } = *place;
        let failed = |errno| ExtractError::file("copy", path)(errno);
        let reading = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let making =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let original = open_unread(from, name, reading).map_err(failed)?;
        let copy = rustix::fs::openat(to, name, making, Mode::RUSR | Mode::WUSR).map_err(failed)?;
        self.files.copy(&original, &copy, stat, path)?;
        self.set(&original, &copy, stat).map_err(ExtractError::file(COPY_ATTRIBUTES, path))
    }

    /// Gives `copy` all but the content of `original`, which is `stat`.
    fn set(&mut self, original: &OwnedFd, copy: &OwnedFd, stat: &Stat) -> rustix::io::Result<()> {
        // The owner first: a change of owner clears capabilities and the setuid bit.
        let (owner, group) = owners(stat);
        rustix::fs::fchown(copy, Some(owner), Some(group))?;
        self.attributes.copy_open(original, copy)?;
        rustix::fs::fchmod(copy, Mode::from_raw_mode(stat.st_mode))?;
        rustix::fs::futimens(copy, &times(stat))
    }

    /// What can't be opened: a link, a device, a pipe, a whiteout.
    fn node(&mut self, place: &Place<'_>, stat: &Stat, kind: FileType) -> rustix::io::Result<()> {
        let Place { from, to, name, .. } = *place;
        let mode = Mode::from_raw_mode(stat.st_mode);
        match kind {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(&target, to, name)?;
            }
            _ => rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev)?,
        }
        let (owner, group) = owners(stat);
        rustix::fs::chownat(to, name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
        let [original, copy] = [from, to].map(|directory| path_through_proc(directory, name));
        self.attributes.copy_named(&original, &copy)?;
        if kind != FileType::Symlink {
            rustix::fs::chmodat(to, name, mode, AtFlags::empty())?;
        }
        rustix::fs::utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Makes another name of a file that was copied already; `false` for its first one.
    fn link(&mut self, place: &Place<'_>, stat: &Stat) -> Result<bool, ExtractError> {
        let Place { to, name, path, .. } = *place;
        let failed = |errno| ExtractError::file("copy the hard link", path)(errno);
        let file = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.linked.get(&file) {
            let first = first.as_slice();
            rustix::fs::linkat(self.root, first, to, name, AtFlags::empty()).map_err(failed)?;
            return Ok(true);
        }
        self.linked_bytes += path.len() + size_of::<((u64, u64), Vec<u8>)>();
        if self.linked_bytes > MAX_LINK_NOTES_BYTES {
            return Err(failed(Errno::MLINK));
        }
        self.linked.insert(file, path.to_vec());
        Ok(false)
    }
}

/// Opens what is to be read without a trace of that in its access time, where we may.
fn open_unread(directory: &OwnedFd, name: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    match rustix::fs::openat(directory, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(directory, name, flags, Mode::empty()),
        opened => opened,
    }
}

fn owners(stat: &Stat) -> (Uid, Gid) {
    (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))
}

fn times(stat: &Stat) -> Timestamps {
    let (accessed, modified) = (nanoseconds(stat.st_atime_nsec), nanoseconds(stat.st_mtime_nsec));
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: accessed },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: modified },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::path::Path;

    use rustix::fs::XattrFlags;

    use super::super::tests::layer::{is_root, listing};
    use super::*;

    fn open(path: &Path) -> OwnedFd {
        fs::File::open(path).unwrap().into()
    }

    fn copied(from: &Path, to: &Path) -> Result<u64, ExtractError> {
        copy_tree(open(from), open(to), Allowance::new(None), Halt::default())
    }

    fn plant(root: &Path) {
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/small"), "small").unwrap();
        fs::write(root.join("a/large"), vec![7; 3 << 20]).unwrap();
        fs::write(root.join("empty"), "").unwrap();
        symlink("../nowhere", root.join("a/link")).unwrap();
        fs::hard_link(root.join("a/b/small"), root.join("twice")).unwrap();
        let sparse = fs::File::create(root.join("sparse")).unwrap();
        std::os::unix::fs::FileExt::write_at(&sparse, b"x", 5 << 20).unwrap();
        sparse.set_len(9 << 20).unwrap();
        fs::set_permissions(root.join("a/b/small"), fs::Permissions::from_mode(0o4751)).unwrap();
        fs::set_permissions(root.join("a/b"), fs::Permissions::from_mode(0o2500)).unwrap();
        let attribute = |path: &str, name: &str, value: &[u8]| {
            rustix::fs::setxattr(root.join(path), name, value, XattrFlags::empty())
        };
        if is_root() {
            std::os::unix::fs::chown(root.join("a/b/small"), Some(7), Some(8)).unwrap();
            fs::set_permissions(root.join("a/b/small"), fs::Permissions::from_mode(0o4751))
                .unwrap();
            let hidden = root.join("hidden");
            let (character, none) = (FileType::CharacterDevice, Mode::empty());
            rustix::fs::mknodat(rustix::fs::CWD, &hidden, character, none, 0).unwrap();
            attribute("a", "trusted.overlay.opaque", b"y").unwrap();
            attribute(
                "a/large",
                "security.capability",
                &[1, 0, 0, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            )
            .unwrap();
        }
        let time = Timespec { tv_sec: 1_600_000_000, tv_nsec: 123_456_789 };
        let times = Timestamps { last_access: time, last_modification: time };
        for path in ["a/b/small", "a/link", "a/b", "a", "sparse"] {
            let path = root.join(path);
            let follow = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::utimensat(rustix::fs::CWD, &path, &times, follow).unwrap();
        }
    }

    #[test]
    fn a_copy_has_all_that_the_original_has_and_shares_no_file_with_it() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        plant(from.path());
        let bytes = copied(from.path(), to.path()).unwrap();
        assert_eq!(bytes, 5 + (3 << 20) + (9 << 20));
        let (mut original, mut copy) = (listing(from.path()), listing(to.path()));
        // The roots are the tests' own directories.
        assert!(original.remove("").is_some() && copy.remove("").is_some());
        // What was not dated just now is as old as the test.
        assert_eq!(original, copy);
        let inode = |root: &Path, path: &str| fs::metadata(root.join(path)).unwrap().ino();
        assert_eq!(inode(to.path(), "twice"), inode(to.path(), "a/b/small"));
        assert_ne!(inode(to.path(), "twice"), inode(from.path(), "twice"));
        let blocks = fs::metadata(to.path().join("sparse")).unwrap().blocks();
        assert!(blocks * 512 < 1 << 20, "{blocks}");
        if is_root() {
            let attribute = |path: &str, name: &str| {
                let mut value = [0; 32];
                let length = rustix::fs::getxattr(to.path().join(path), name, &mut value[..]);
                value[..length.unwrap()].to_vec()
            };
            assert_eq!(attribute("a", "trusted.overlay.opaque"), b"y");
            assert_eq!(attribute("a/large", "security.capability")[3], 2);
        }
    }

    #[test]
    fn what_overlayfs_has_noted_for_one_place_is_not_copied_to_another() {
        if !is_root() {
            return;
        }
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(from.path().join("a")).unwrap();
        let name = "trusted.overlay.redirect";
        rustix::fs::setxattr(from.path().join("a"), name, b"/b", XattrFlags::empty()).unwrap();
        let error = copied(from.path(), to.path()).unwrap_err();
        assert!(error.to_string().contains("attributes of \"a\""), "{error}");
    }

    #[test]
    fn nothing_is_copied_beyond_what_is_allowed_or_wanted() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(from.path().join("a"), vec![1; 1000]).unwrap();
        let allowance = Allowance::new(Some(999));
        let halt = Halt::default();
        let refused =
            copy_tree(open(from.path()), open(to.path()), allowance.clone(), halt.clone());
        assert!(matches!(refused, Err(ExtractError::Limit { limit_bytes: 999 })), "{refused:?}");
        let to = tempfile::tempdir().unwrap();
        halt.set();
        let ended = copy_tree(open(from.path()), open(to.path()), allowance, halt);
        assert!(matches!(ended, Err(ExtractError::File { .. })), "{ended:?}");
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
    }

    #[test]
    fn directories_nested_too_deep_are_left_to_extraction() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(from.path().join("a/".repeat(MAX_DEPTH + 1))).unwrap();
        assert!(copied(from.path(), to.path()).is_err());
    }
}
