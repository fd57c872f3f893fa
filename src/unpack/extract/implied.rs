//! Directories that an archive implies without describing them: they take after the same directory
//! in the layers below.
//!
//! containerd copies owner, mode and attributes from below at the moment it makes such a directory.
//! A layer that is extracted before the ones below it are there can only do so afterwards.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::{Arc, Mutex};

use rustix::fs::{CWD, Dir, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::error::ExtractError;
use super::open::open_directory;
use super::path::{is_within, split};
use super::tree::{Directory, Missing, Tree};
use crate::sync::lock;

/// Most bytes of attribute names that a directory can have, in bytes: the kernel's own bound.
const MAX_ATTRIBUTE_LIST: usize = 64 * 1024;

/// Longest attribute value, in bytes: the kernel's own bound.
const MAX_ATTRIBUTE_VALUE: usize = 64 * 1024;

/// A directory that was made because something lies in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImpliedDirectory {
    path: Vec<u8>,
    /// Whether the archive described it after all, later on.
    is_described: bool,
}

impl ImpliedDirectory {
    /// Where it is, relative to the root.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// Whether owner and mode are those that the archive gives it.
    pub(crate) fn is_described(&self) -> bool {
        self.is_described
    }
}

impl From<(&[u8], bool)> for ImpliedDirectory {
    fn from((path, is_described): (&[u8], bool)) -> Self {
        Self { path: path.to_vec(), is_described }
    }
}

/// Most root directories that are kept open; a process may have 1024 descriptors by default.
const MAX_ROOTS: usize = 256;

/// Root directories of layers that others lie on, open from one such layer to the next: looking through
/// a hundred layers below would otherwise take a hundred ways from the file system's root.
#[derive(Debug, Default)]
pub struct Roots(Mutex<HashMap<PathBuf, Arc<OwnedFd>>>);

impl Roots {
    fn open(&self, path: &Path) -> rustix::io::Result<Arc<OwnedFd>> {
        // Nothing that could panic happens under this lock.
        let mut roots = lock(&self.0);
        if let Some(root) = roots.get(path) {
            return Ok(Arc::clone(root));
        }
        let root = Arc::new(open_directory(CWD, path.as_os_str().as_bytes())?);
        if roots.len() < MAX_ROOTS {
            roots.insert(path.to_owned(), Arc::clone(&root));
        }
        Ok(root)
    }
}

/// Gives the `implied` directories of the layer extracted to `upper` the owner, mode, access time
/// and attributes that they have in the topmost of the layers below, `lowers` (topmost first), whose
/// `roots` may be open. A directory that none of them has stays owned by root, with mode 0755, but for
/// the group of a setgid directory that it lies in.
///
/// A layer below is opened when the search comes to it, which for most directories is no deeper
/// than the first.
///
/// # Errors
/// [`ExtractError::File`].
pub fn inherit(
    implied: &[ImpliedDirectory],
    upper: OwnedFd,
    lowers: &[PathBuf],
    roots: &Roots,
) -> Result<(), ExtractError> {
    let mut upper = Tree::new(upper);
    let mut lowers = Lowers { opened: Vec::new(), unopened: lowers.iter(), roots };
    // What is in none of the layers below, has nothing beneath it there either.
    let mut absent: Option<&[u8]> = None;
    for directory in implied {
        let path = directory.path.as_slice();
        let is_absent = absent.is_some_and(|above| is_within(path, above));
        let completed = match is_absent {
            true => Ok(Found::Nowhere),
            false => inherit_one(directory, &mut upper, &mut lowers),
        };
        let completed = completed.and_then(|found| {
            if matches!(found, Found::Nowhere) {
                absent = if is_absent { absent } else { Some(path) };
                stand_alone(directory, &mut upper)?;
            }
            Ok(())
        });
        completed.map_err(ExtractError::file("copy owner, mode and attributes to", path))?;
    }
    Ok(())
}

/// Directories kept open in each of the layers below, of which there may be more than a hundred.
const MAX_OPEN_BELOW: usize = 2;

/// The layers below, topmost first.
struct Lowers<'paths> {
    opened: Vec<Tree>,
    unopened: slice::Iter<'paths, PathBuf>,
    roots: &'paths Roots,
}

impl Lowers<'_> {
    /// The one at `position`, if there are so many.
    fn get(&mut self, position: usize) -> rustix::io::Result<Option<&mut Tree>> {
        if position == self.opened.len() {
            let Some(path) = self.unopened.next() else { return Ok(None) };
            self.opened.push(Tree::keeping(MAX_OPEN_BELOW, self.roots.open(path)?));
        }
        Ok(self.opened.get_mut(position))
    }
}

/// Whether a layer below settled what a directory takes after.
enum Found {
    Somewhere,
    Nowhere,
}

fn inherit_one(
    implied: &ImpliedDirectory,
    upper: &mut Tree,
    lowers: &mut Lowers<'_>,
) -> rustix::io::Result<Found> {
    let mut position = 0;
    while let Some(lower) = lowers.get(position)? {
        match lower.open(&implied.path, Missing::Refuse) {
            Ok(source) => {
                let target = upper.open(&implied.path, Missing::Refuse)?;
                copy(&source, &target, implied.is_described)?;
                return Ok(Found::Somewhere);
            }
            Err(Errno::NOENT) => position += 1,
            // Something else, or its whiteout, hides what lies further below.
            Err(Errno::NOTDIR) => return Ok(Found::Somewhere),
            Err(error) => return Err(error),
        }
    }
    Ok(Found::Nowhere)
}

/// Completes a directory that is in none of the layers below.
fn stand_alone(implied: &ImpliedDirectory, upper: &mut Tree) -> rustix::io::Result<()> {
    if implied.is_described {
        return Ok(());
    }
    let target = upper.open(&implied.path, Missing::Refuse)?;
    take_group(&implied.path, &target, upper)
}

/// Had the directory above been setgid from the start, the kernel would have done this.
fn take_group(path: &[u8], target: &Directory, upper: &mut Tree) -> rustix::io::Result<()> {
    let Some((parent, _)) = split(path) else { return Ok(()) };
    let stat = rustix::fs::fstat(&*upper.open(parent, Missing::Refuse)?)?;
    if Mode::from_raw_mode(stat.st_mode).contains(Mode::SGID) {
        rustix::fs::fchown(target, None, Some(Gid::from_raw(stat.st_gid)))?;
    }
    Ok(())
}

fn copy(source: &Directory, target: &Directory, is_described: bool) -> rustix::io::Result<()> {
    if !is_described {
        let stat = rustix::fs::fstat(source)?;
        let (owner, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        rustix::fs::fchown(target, Some(owner), Some(group))?;
        rustix::fs::fchmod(target, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        rustix::fs::futimens(target, &inherited_times(&stat, target)?)?;
    }
    copy_attributes(source, target)
}

/// The access time from below; the modification time only where nothing was put in since.
fn inherited_times(stat: &Stat, target: &Directory) -> rustix::io::Result<Timestamps> {
    let is_empty = Dir::read_from(target)?
        .filter_map(Result::ok)
        .all(|entry| matches!(entry.file_name().to_bytes(), b"." | b".."));
    let modified = Timespec { tv_sec: stat.st_mtime, tv_nsec: nanoseconds(stat.st_mtime_nsec) };
    Ok(Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: nanoseconds(stat.st_atime_nsec) },
        last_modification: if is_empty {
            modified
        } else {
            Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }
        },
    })
}

/// The fraction of a second, as `stat` has it, as other calls want it.
pub(super) fn nanoseconds(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or_default()
}

/// Copies the attributes that the target does not have, but for the administrator's.
fn copy_attributes(source: &Directory, target: &Directory) -> rustix::io::Result<()> {
    let mut names = vec![0; MAX_ATTRIBUTE_LIST];
    let length = match rustix::fs::flistxattr(source, &mut names[..]) {
        Err(Errno::NOTSUP) => 0,
        result => result?,
    };
    let names = names.get(..length).unwrap_or_default().split(|&byte| byte == 0);
    for name in names.filter(|name| !name.is_empty() && !name.starts_with(b"trusted.")) {
        let mut value = vec![0; MAX_ATTRIBUTE_VALUE];
        let copied = rustix::fs::fgetxattr(source, name, &mut value[..]).and_then(|length| {
            let value = value.get(..length).unwrap_or_default();
            rustix::fs::fsetxattr(target, name, value, XattrFlags::CREATE)
        });
        match copied {
            Ok(()) | Err(Errno::NOTSUP | Errno::NODATA | Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
