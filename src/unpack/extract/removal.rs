//! Removal of a file or of a whole directory, with a bounded number of descriptors and no recursion,
//! however deep a hostile archive has nested it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::open::open_directory;

/// Removes `name` from `parent`, with all beneath it; links are removed, not followed. Returns
/// whether there was anything.
///
/// # Errors
/// What the system says.
pub(crate) fn remove(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<bool> {
    match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(Errno::ISDIR) => remove_directory(parent, name).map(|()| true),
        Err(error) => Err(error),
    }
}

/// Goes down to a directory without directories in it, removes it, and goes back up by `..`.
///
/// `..` is safe here: nobody else moves directories beneath a root that is being written, and it is
/// taken exactly as often as a child was entered.
fn remove_directory(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<()> {
    let mut entered = vec![name.to_vec()];
    let mut current = open_directory(&parent, name)?;
    while let Some(innermost) = entered.last() {
        if let Some(child) = remove_files(&current)? {
            current = open_directory(&current, &child)?;
            entered.push(child);
            continue;
        }
        let above = open_above(&current)?;
        rustix::fs::unlinkat(&above, innermost.as_slice(), AtFlags::REMOVEDIR)?;
        current = above;
        entered.pop();
    }
    Ok(())
}

fn open_above(directory: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(directory, c"..", flags, Mode::empty())
}

/// Removes all that is no directory and every empty directory. Returns the name of the first
/// directory that is left.
fn remove_files(directory: &OwnedFd) -> rustix::io::Result<Option<Vec<u8>>> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let flags = match entry.file_type() {
            FileType::Directory => AtFlags::REMOVEDIR,
            _ => AtFlags::empty(),
        };
        match rustix::fs::unlinkat(directory, name, flags) {
            Ok(()) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ISDIR) => {
                return Ok(Some(name.to_bytes().to_vec()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_files_links_and_deep_directories_but_no_targets() {
        let root = tempfile::tempdir().unwrap();
        let kept = root.path().join("kept");
        std::fs::create_dir(&kept).unwrap();
        std::fs::write(kept.join("file"), "kept").unwrap();
        std::os::unix::fs::symlink(&kept, root.path().join("link")).unwrap();
        std::fs::create_dir_all(root.path().join("a/b/c/d")).unwrap();
        std::fs::create_dir_all(root.path().join("a/x/y")).unwrap();
        std::fs::write(root.path().join("a/b/file"), "").unwrap();
        std::os::unix::fs::symlink(&kept, root.path().join("a/b/c/link")).unwrap();

        let fd = std::fs::File::open(root.path()).unwrap();
        assert_eq!(remove(&fd, b"link"), Ok(true));
        assert_eq!(remove(&fd, b"a"), Ok(true));
        assert_eq!(remove(&fd, b"a"), Ok(false));
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
        assert_eq!(std::fs::read(kept.join("file")).unwrap(), b"kept");
    }

    #[test]
    fn removes_directories_nested_deeper_than_a_path_may_be_long() {
        let root = tempfile::tempdir().unwrap();
        let mut current: OwnedFd = std::fs::File::open(root.path()).unwrap().into();
        for _ in 0..900 {
            rustix::fs::mkdirat(&current, c"deep", Mode::RWXU).unwrap();
            current = open_directory(&current, b"deep").unwrap();
        }
        let fd = std::fs::File::open(root.path()).unwrap();
        assert_eq!(remove(&fd, b"deep"), Ok(true));
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
