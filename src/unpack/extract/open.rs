//! Directories and files by their names in a directory that is open; what a link leads to is never opened.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::path::components;

/// Opens the directory `name` in `parent`; a link is not followed.
pub(crate) fn open_directory(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(parent, name, directory_flags(), Mode::empty())
}

/// The flags by which directories are opened.
pub(crate) fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// Opens what is at `path` beneath `root`, led there by no link.
pub(super) fn open_beneath(
    root: &OwnedFd,
    path: &[u8],
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    match open_at_once(root, path, flags) {
        Ok(None) => walk_beneath(root, path, flags),
        Ok(Some(opened)) => Ok(opened),
        Err(error) => Err(error),
    }
}

/// The same in one system call; `None` where there is none that does so.
pub(super) fn open_at_once(
    root: impl AsFd,
    path: &[u8],
    flags: OFlags,
) -> rustix::io::Result<Option<OwnedFd>> {
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(root, path, flags, Mode::empty(), beneath) {
        // Kernels before 5.6 and some seccomp filters do not have the call (`ENOSYS`, `EPERM`).
        Err(Errno::NOSYS | Errno::PERM) => Ok(None),
        opened => opened.map(Some),
    }
}

/// The same, name by name.
fn walk_beneath(root: &OwnedFd, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let mut names = components(path);
    let mut name = names.next().ok_or(Errno::INVAL)?;
    let mut directory = None;
    for next in names {
        directory = Some(open_name(directory.as_ref().unwrap_or(root), name, directory_flags())?);
        name = next;
    }
    open_name(directory.as_ref().unwrap_or(root), name, flags | OFlags::NOFOLLOW)
}

fn open_name(directory: &OwnedFd, name: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    match name {
        b".." => Err(Errno::XDEV),
        name => rustix::fs::openat(directory, name, flags, Mode::empty()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, create_dir, write};
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn old_kernels_and_new_ones_open_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        create_dir(at("below")).unwrap();
        write(at("below/file"), "file").unwrap();
        symlink("below", at("aside")).unwrap();
        symlink("file", at("below/link")).unwrap();
        let root: OwnedFd = File::open(folder.path()).unwrap().into();
        let read = |opened: rustix::io::Result<OwnedFd>| {
            let mut text = String::new();
            File::from(opened.ok()?).read_to_string(&mut text).ok()?;
            Some(text)
        };
        for (path, expected) in [
            ("below/file", Some("file")),
            ("./below//file", Some("file")),
            ("below/link", None),
            ("aside/file", None),
            ("below/none", None),
            ("none/file", None),
            ("below/file/none", None),
            ("../none", None),
            ("below", None),
            ("", None),
        ] {
            for open in [open_beneath, walk_beneath] {
                let found = read(open(&root, path.as_bytes(), OFlags::RDONLY | OFlags::CLOEXEC));
                assert_eq!(found.as_deref(), expected, "{path}");
            }
        }
    }
}
