//! The directories beneath the root, reached by file descriptor.
//!
//! Every path that an archive names is resolved here, one component at a time from a directory that
//! is open already, and no system call is ever given more than one component that it could follow.
//! A symbolic link is read and continued by ourselves, so neither `..` nor an absolute target leads
//! out. A link leads where it would lead a process whose root directory this is; containerd agrees,
//! but for chains of links with `..` in them, where it sometimes ends elsewhere within the root.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::open::{directory_flags, open_at_once, open_directory};
use super::path::{clean, components, is_within, join, split};
use super::removal;

/// Directories kept open, most recently used first. Archives list a directory's files together, so
/// few are enough; several extractions share the process's limit on descriptors.
const MAX_OPEN: usize = 32;

/// Most links followed for one path, as in containerd.
const MAX_LINKS: usize = 255;

/// Most components opened for one path, those of links and of the way back up from `..` included. A
/// path has at most 2,048 of its own.
const MAX_STEPS: usize = 16 * 1024;

/// Most bytes that the notes on implied directories may take (16 MiB); they are few in any real
/// layer.
const MAX_IMPLIED_BYTES: usize = 16 << 20;

/// Permissions of a directory that the archive implies but does not describe.
const IMPLIED_MODE: Mode = Mode::from_raw_mode(0o755);

/// An open directory beneath the root.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: Arc<OwnedFd>,
    /// Where it is, free of links, relative to the root.
    path: Vec<u8>,
    /// Whether files made in it take more than their creator's IDs and mode: its group, where it is
    /// setgid, or its default ACL. Known once it was asked for.
    hands_down: OnceCell<bool>,
}

/// What to do about a directory that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Make it, as the parent of something that the archive lists.
    Create,
    /// Fail with `ENOENT`.
    Refuse,
}

/// The directories of one extraction.
#[derive(Debug)]
pub(crate) struct Tree {
    root: Rc<Directory>,
    /// By the path as an archive may write it, cleaned.
    recent: Vec<(Vec<u8>, Rc<Directory>)>,
    max_open: usize,
    /// Directories that were made as parents, and whether the archive described them later.
    implied: BTreeMap<Vec<u8>, bool>,
    implied_bytes: usize,
    has_removed: bool,
}

impl Directory {
    /// Takes an open directory, whose owner, mode and attributes are final.
    pub(crate) fn new(fd: impl Into<Arc<OwnedFd>>, path: Vec<u8>) -> Self {
        Self { fd: fd.into(), path, hands_down: OnceCell::new() }
    }

    /// Whether files made in it take more than their creator's IDs and mode. Where that can't be
    /// known, they do.
    pub(crate) fn hands_down(&self) -> bool {
        *self.hands_down.get_or_init(|| {
            rustix::fs::fstat(&self.fd).map_or(true, |stat| {
                Mode::from_raw_mode(stat.st_mode).contains(Mode::SGID) || self.has_default_acl()
            })
        })
    }

    fn has_default_acl(&self) -> bool {
        rustix::fs::fgetxattr_query(&self.fd, c"system.posix_acl_default")
            .is_ok_and(|length| length > 0)
    }

    /// Where `base` in this directory is, relative to the root.
    pub(crate) fn path_of(&self, base: &[u8]) -> Vec<u8> {
        join(&self.path, base)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Tree {
    /// The tree beneath `root`.
    pub(crate) fn new(root: OwnedFd) -> Self {
        Self::keeping(MAX_OPEN, root)
    }

    /// The tree beneath `root`, of which at most `max_open` directories are kept open, and the root.
    pub(crate) fn keeping(max_open: usize, root: impl Into<Arc<OwnedFd>>) -> Self {
        Self {
            root: Rc::new(Directory::new(root, Vec::new())),
            max_open: max_open.max(1),
            recent: Vec::new(),
            implied: BTreeMap::new(),
            implied_bytes: 0,
            has_removed: false,
        }
    }

    /// Opens the directory at the clean `path`, following links within the root.
    ///
    /// # Errors
    /// `ENOENT` where it is missing and may not be made, `ENOTDIR` where something else is there,
    /// `ELOOP` after too many links, or what the system says.
    pub(crate) fn open(
        &mut self,
        path: &[u8],
        missing: Missing,
    ) -> rustix::io::Result<Rc<Directory>> {
        if let Some(directory) = self.recall(path) {
            return Ok(directory);
        }
        let (start, rest) = self.nearest(path);
        let directory = self.walk(start, rest, missing)?;
        self.remember(path, Rc::clone(&directory));
        Ok(directory)
    }

    /// Opens the directory that a hard link's target lies in. Unlike a clean path, `..` in it takes
    /// back the directory that the component before it led to.
    ///
    /// # Errors
    /// As [`Tree::open`], for a directory that may not be made.
    pub(crate) fn open_as_written(&mut self, path: &[u8]) -> rustix::io::Result<Rc<Directory>> {
        if components(path).any(|component| component == b"..") {
            self.walk(Rc::clone(&self.root), path, Missing::Refuse)
        } else {
            self.open(&clean(path), Missing::Refuse)
        }
    }

    /// Keeps `directory` at hand for entries beneath `path`.
    pub(crate) fn remember(&mut self, path: &[u8], directory: Rc<Directory>) {
        self.recent.retain(|(known, _)| known != path);
        self.recent.truncate(self.max_open - 1);
        self.recent.insert(0, (path.to_vec(), directory));
    }

    /// Forgets all directories at hand: what their paths lead to has changed.
    pub(crate) fn forget(&mut self) {
        self.recent.clear();
    }

    /// Removes whatever `base` in `parent` is, with all that lies beneath it, if it is there.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn remove(&mut self, parent: &Directory, base: &[u8]) -> rustix::io::Result<()> {
        if removal::remove(parent, base)? {
            self.forget();
            self.has_removed = true;
            let removed = parent.path_of(base);
            self.implied.retain(|path, _| !is_within(path, &removed));
        }
        Ok(())
    }

    /// Whether anything was removed, so that a path may lead elsewhere than it did before.
    pub(crate) fn has_removed(&self) -> bool {
        self.has_removed
    }

    /// Notes that the archive describes the directory at the resolved `path`.
    pub(crate) fn describe(&mut self, path: &[u8]) {
        if let Some(is_described) = self.implied.get_mut(path) {
            *is_described = true;
        }
    }

    /// The directories made as parents, by resolved path, and whether they were described later.
    pub(crate) fn implied(&self) -> impl Iterator<Item = (&[u8], bool)> {
        self.implied.iter().map(|(path, is_described)| (path.as_slice(), *is_described))
    }

    fn recall(&mut self, path: &[u8]) -> Option<Rc<Directory>> {
        if path.is_empty() {
            return Some(Rc::clone(&self.root));
        }
        let place = self.recent.iter().position(|(known, _)| known == path)?;
        self.recent.get_mut(..=place)?.rotate_right(1);
        self.recent.first().map(|(_, directory)| Rc::clone(directory))
    }

    /// The deepest directory at hand above `path`, and the way from there.
    fn nearest<'path>(&mut self, path: &'path [u8]) -> (Rc<Directory>, &'path [u8]) {
        let mut above = path;
        while let Some((parent, _)) = split(above) {
            if let (Some(directory), Some(rest)) = (self.recall(parent), path.get(parent.len()..)) {
                return (directory, rest.strip_prefix(b"/").unwrap_or(rest));
            }
            above = parent;
        }
        (Rc::clone(&self.root), path)
    }

    fn walk(
        &mut self,
        start: Rc<Directory>,
        path: &[u8],
        missing: Missing,
    ) -> rustix::io::Result<Rc<Directory>> {
        match open_without_links(&start, path)? {
            Way::Led(directory) => return Ok(Rc::new(directory)),
            Way::Ends if missing == Missing::Refuse => return Err(Errno::NOENT),
            Way::Ends | Way::Unknown => {}
        }
        let mut current = start;
        let mut pending: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
        let mut links = 0;
        let mut steps = 0;
        while let Some(name) = pending.pop() {
            steps += 1;
            if steps > MAX_STEPS {
                return Err(Errno::LOOP);
            }
            if name == b".." {
                let above = split(&current.path).map(|(parent, _)| parent).unwrap_or_default();
                pending.extend(components(above).rev().map(<[u8]>::to_vec));
                current = Rc::clone(&self.root);
                continue;
            }
            current = match step(&current, &name)? {
                Step::Directory(directory) => Rc::new(directory),
                Step::Missing if pending.iter().any(|name| name == b"..") => {
                    // From what is not there on, `..` can only be taken by its spelling.
                    pending.push(name);
                    pending = simplify(pending);
                    current
                }
                Step::Missing if missing == Missing::Create => {
                    Rc::new(self.make_implied(&current, &name)?)
                }
                Step::Missing => return Err(Errno::NOENT),
                Step::Link(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP);
                    }
                    pending.extend(components(&target).rev().map(<[u8]>::to_vec));
                    if target.starts_with(b"/") { Rc::clone(&self.root) } else { current }
                }
            };
        }
        Ok(current)
    }

    fn make_implied(&mut self, parent: &Directory, name: &[u8]) -> rustix::io::Result<Directory> {
        let path = parent.path_of(name);
        self.implied_bytes += path.len() + size_of::<(Vec<u8>, bool)>();
        if self.implied_bytes > MAX_IMPLIED_BYTES {
            return Err(Errno::NAMETOOLONG);
        }
        rustix::fs::mkdirat(parent, name, IMPLIED_MODE)?;
        let fd = open_directory(parent, name)?;
        // The umask and a parent's setgid bit have no say in it.
        rustix::fs::fchmod(&fd, IMPLIED_MODE)?;
        self.implied.insert(path.clone(), false);
        Ok(Directory::new(fd, path))
    }
}

/// What one system call finds out about a path.
enum Way {
    /// It is a directory, reached without any link.
    Led(Directory),
    /// There is no link up to where something is missing.
    Ends,
    /// It has to be walked.
    Unknown,
}

/// Opens `path` beneath `start` in one system call, if that can be done.
fn open_without_links(start: &Directory, path: &[u8]) -> rustix::io::Result<Way> {
    if components(path).any(|component| component == b"..") {
        return Ok(Way::Unknown);
    }
    match open_at_once(start, path, directory_flags()) {
        Ok(Some(fd)) => Ok(Way::Led(Directory::new(fd, join(&start.path, &clean(path))))),
        Err(Errno::NOENT) => Ok(Way::Ends),
        Ok(None) | Err(Errno::NOTDIR | Errno::LOOP | Errno::AGAIN) => Ok(Way::Unknown),
        Err(error) => Err(error),
    }
}

enum Step {
    Directory(Directory),
    Link(Vec<u8>),
    Missing,
}

fn step(current: &Directory, name: &[u8]) -> rustix::io::Result<Step> {
    match open_directory(current, name) {
        Ok(fd) => Ok(Step::Directory(Directory::new(fd, current.path_of(name)))),
        Err(Errno::NOENT) => Ok(Step::Missing),
        // Either a link or no directory: `O_DIRECTORY` with `O_NOFOLLOW` does not say which.
        Err(Errno::NOTDIR | Errno::LOOP) => {
            match rustix::fs::readlinkat(current, name, Vec::new()) {
                Ok(target) => Ok(Step::Link(target.into_bytes())),
                Err(_) => Err(Errno::NOTDIR),
            }
        }
        Err(error) => Err(error),
    }
}

/// Lets each `..` take back the component before it. The components are in reverse order; those
/// `..` that are left come first on the way.
fn simplify(reversed: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for name in reversed.into_iter().rev() {
        if name == b".." && kept.last().is_some_and(|last| last != b"..") {
            kept.pop();
        } else {
            kept.push(name);
        }
    }
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use rustix::fs::XattrFlags;

    use super::*;

    /// Read, write and execute for the owner, read and execute for the others, as the kernel stores
    /// it: a version, then a tag, permissions and an ID each.
    const DEFAULT_ACL: [u8; 28] = [
        2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 4, 0, 5, 0, 255, 255, 255, 255, 32, 0, 5, 0,
        255, 255, 255, 255,
    ];

    #[test]
    fn a_directory_with_a_default_acl_hands_it_down() {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let fd = OwnedFd::from(std::fs::File::open(folder.path()).unwrap());
            Directory::new(fd, Vec::new())
        };
        assert!(!open().hands_down());
        let name = "system.posix_acl_default";
        let set = rustix::fs::setxattr(folder.path(), name, &DEFAULT_ACL, XattrFlags::empty());
        // Some file systems have none.
        assert!(set.is_err() || open().hands_down());
    }
}
