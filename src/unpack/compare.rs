//! A layer's files against what a rehearsal of its extraction has left: name by name, what is said of
//! each, and what it holds.
//!
//! Times are not compared: who reads a file changes one of them, and none of them changes what a
//! container does. Nor are attributes that the system gives files by itself, such as SELinux's.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, Stat};
use rustix::io::Errno;

use super::difference::{DifferenceKind, Differences};
use super::extract::{
    Content, Directory, ExtractError, ImpliedDirectory, Missing, Rehearsal, Tree, hash_file, join,
    open_file, path_through_proc,
};
use crate::oci::Hasher;

/// Longest list of attributes' names, and longest value of one, in bytes: the kernel's own bounds.
const MAX_ATTRIBUTE_BYTES: usize = 64 << 10;

/// What says that nothing below a directory shows.
const OPAQUE: &[u8] = b"trusted.overlay.opaque";

/// Attributes of which each system makes its own.
const SYSTEMS_OWN: [&[u8]; 6] = [
    b"trusted.",
    b"security.selinux",
    b"security.SMACK64",
    b"security.ima",
    b"security.evm",
    b"security.apparmor",
];

/// Compares `real` with what was `rehearsed` beneath `made`. A layer that `is_base` has nothing below
/// that it could hide.
///
/// # Errors
/// [`ExtractError::File`] where one of the two can't be looked through.
pub(super) fn compare(
    made: OwnedFd,
    real: OwnedFd,
    rehearsed: &Rehearsal,
    implied: &[ImpliedDirectory],
    is_base: bool,
) -> Result<Differences, ExtractError> {
    let root = real.try_clone().map_err(ExtractError::Thread)?;
    let implied = implied.iter().map(|it| (it.path(), it.is_described())).collect();
    let mut comparison = Comparison {
        rehearsed,
        implied,
        is_base,
        root,
        links: HashMap::new(),
        found: Differences::default(),
    };
    let (mut made, mut real) = (Tree::new(made), Tree::new(real));
    let mut pending = vec![Vec::new()];
    while let Some(path) = pending.pop() {
        let failed = |errno| ExtractError::file("look into", &path)(errno);
        let ours = made.open(&path, Missing::Refuse).map_err(failed)?;
        let theirs = real.open(&path, Missing::Refuse).map_err(failed)?;
        pending.extend(comparison.directory(&path, &ours, &theirs).map_err(failed)?);
    }
    Ok(comparison.found)
}

struct Comparison<'a> {
    rehearsed: &'a Rehearsal,
    /// Directories that were made because something lies in them, and whether they were described.
    implied: HashMap<&'a [u8], bool>,
    is_base: bool,
    root: OwnedFd,
    /// The inodes of files with several names: there, and here.
    links: HashMap<u64, u64>,
    found: Differences,
}

/// A file, in both places.
struct Pair<'a> {
    path: Vec<u8>,
    name: &'a [u8],
    /// Where it was rehearsed.
    ours: &'a Directory,
    /// Where it really is.
    theirs: &'a Directory,
    made: Stat,
    real: Stat,
}

impl Comparison<'_> {
    /// Compares what is in a directory, and returns those in it that both have.
    fn directory(
        &mut self,
        path: &[u8],
        ours: &Directory,
        theirs: &Directory,
    ) -> rustix::io::Result<Vec<Vec<u8>>> {
        let (expected, present) = (names(ours)?, names(theirs)?);
        let mut below = Vec::new();
        for name in &expected {
            let path = join(path, name);
            let made = look(ours, name)?;
            if !present.contains(name) {
                self.missing(&path, &made);
                continue;
            }
            let real = look(theirs, name)?;
            let pair = Pair { path, name, ours, theirs, made, real };
            if self.pair(&pair)? {
                below.push(pair.path);
            }
        }
        for name in present.difference(&expected) {
            self.extra(&join(path, name), &look(theirs, name)?);
        }
        // They are taken from the end.
        below.reverse();
        Ok(below)
    }

    fn missing(&mut self, path: &[u8], made: &Stat) {
        match is_whiteout(made) {
            true => {
                let detail = "is not hidden: the layers below show it";
                self.found.add(path, DifferenceKind::Whiteout, detail);
            }
            false => self.found.add(path, DifferenceKind::Missing, "is missing"),
        }
    }

    fn extra(&mut self, path: &[u8], real: &Stat) {
        // Some daemons leave what says that something is hidden where there is nothing to hide.
        if !(self.is_base && is_whiteout(real)) {
            let detail = format!("is there, and not of the layer: {}", kind_of(real));
            self.found.add(path, DifferenceKind::Extra, detail);
        }
    }

    /// Compares one file; whether it is a directory in both places.
    fn pair(&mut self, pair: &Pair<'_>) -> rustix::io::Result<bool> {
        let Pair { path, made, real, .. } = pair;
        let [expected, present] = [made, real].map(file_type);
        if is_whiteout(made) && !is_whiteout(real) {
            let detail = format!("is not hidden: it is {}", kind_of(real));
            self.found.add(path, DifferenceKind::Whiteout, detail);
            return Ok(false);
        }
        if expected != present || is_whiteout(real) && !is_whiteout(made) {
            let detail = format!("is {}, and should be {}", kind_of(real), kind_of(made));
            self.found.add(path, DifferenceKind::Type, detail);
            return Ok(false);
        }
        if is_whiteout(made) {
            return Ok(false);
        }
        self.owner_and_mode(pair);
        match expected {
            FileType::RegularFile => self.file(pair),
            FileType::Symlink => self.symlink(pair)?,
            FileType::CharacterDevice | FileType::BlockDevice if made.st_rdev != real.st_rdev => {
                self.found.add(path, DifferenceKind::Device, "is another device");
            }
            _ => {}
        }
        self.attributes(pair)?;
        Ok(expected == FileType::Directory)
    }

    fn owner_and_mode(&mut self, pair: &Pair<'_>) {
        let Pair { path, made, real, .. } = pair;
        // What nothing describes takes after the layers below.
        if self.implied.get(path.as_slice()) == Some(&false) {
            return;
        }
        let [expected, present] = [made, real].map(|stat| (stat.st_uid, stat.st_gid));
        if expected != present {
            let [(uid, gid), (wanted_uid, wanted_gid)] = [present, expected];
            let detail = format!("belongs to {uid}:{gid}, and should to {wanted_uid}:{wanted_gid}");
            self.found.add(path, DifferenceKind::Owner, detail);
        }
        let [expected, present] = [made, real].map(|stat| stat.st_mode & 0o7777);
        if expected != present && file_type(made) != FileType::Symlink {
            let detail = format!("has mode {present:04o}, and should have {expected:04o}");
            self.found.add(path, DifferenceKind::Mode, detail);
        }
    }

    fn file(&mut self, pair: &Pair<'_>) {
        let Pair { path, made, real, .. } = pair;
        if made.st_nlink > 1 {
            let first = *self.links.entry(made.st_ino).or_insert(real.st_ino);
            if first != real.st_ino {
                let detail = "is a file of its own, and should be another name for one";
                self.found.add(path, DifferenceKind::Link, detail);
            }
        }
        let size = u64::try_from(real.st_size).unwrap_or_default();
        match self.rehearsed.content(made.st_ino) {
            Some(Content::AsIn { inode, .. }) if *inode == real.st_ino => {}
            Some(Content::AsIn { path: other, inode, size: wanted }) => {
                let is_same = size == *wanted && self.holds_the_same(path, other, *inode);
                if !is_same {
                    self.content(path, size, *wanted, false);
                }
            }
            Some(Content::Other { size: wanted, digest }) => {
                let mut hasher = Hasher::new();
                let hashed = open_file(&self.root, path)
                    .and_then(|(file, _)| hash_file(&file, u64::MAX, &mut hasher));
                match hashed {
                    Ok(_) if size == *wanted && hasher.finish() == *digest => {}
                    Ok(is_zero) => self.content(path, size, *wanted, is_zero),
                    Err(errno) => {
                        let detail = format!("can't be read: {}", std::io::Error::from(errno));
                        self.found.add(path, DifferenceKind::Unreadable, detail);
                    }
                }
            }
            // Every file was listed.
            None => {}
        }
    }

    /// Whether two files of the layer are alike, the second of which is still what it was.
    fn holds_the_same(&self, path: &[u8], other: &[u8], inode: u64) -> bool {
        let hash = |path: &[u8]| {
            let (file, stat) = open_file(&self.root, path).ok()?;
            let mut hasher = Hasher::new();
            hash_file(&file, u64::MAX, &mut hasher).ok()?;
            Some((hasher.finish(), stat.st_ino))
        };
        match (hash(path), hash(other)) {
            (Some((ours, _)), Some((theirs, found))) => found == inode && ours == theirs,
            _ => false,
        }
    }

    fn content(&mut self, path: &[u8], size: u64, wanted: u64, is_zero: bool) {
        let (kind, detail) = match size {
            0 if wanted > 0 => {
                (DifferenceKind::Emptied, format!("is empty, and should have {wanted} bytes"))
            }
            _ if is_zero && size > 0 => {
                (DifferenceKind::Zeroed, format!("has nothing but zeros in its {size} bytes"))
            }
            _ if size != wanted => {
                (DifferenceKind::Content, format!("has {size} bytes, and should have {wanted}"))
            }
            _ => (DifferenceKind::Content, "has other content".to_owned()),
        };
        self.found.add(path, kind, detail);
    }

    fn symlink(&mut self, pair: &Pair<'_>) -> rustix::io::Result<()> {
        let expected = rustix::fs::readlinkat(pair.ours, pair.name, Vec::new())?;
        let present = rustix::fs::readlinkat(pair.theirs, pair.name, Vec::new())?;
        if expected != present {
            let [present, expected] =
                [present, expected].map(|it| it.to_string_lossy().into_owned());
            let detail = format!("leads to {present}, and should to {expected}");
            self.found.add(&pair.path, DifferenceKind::Target, detail);
        }
        Ok(())
    }

    fn attributes(&mut self, pair: &Pair<'_>) -> rustix::io::Result<()> {
        let expected = attributes(pair.ours, pair.name)?;
        let present = attributes(pair.theirs, pair.name)?;
        let path = &pair.path;
        let is_opaque = |them: &HashMap<Vec<u8>, Vec<u8>>| them.contains_key(OPAQUE);
        match (is_opaque(&expected), is_opaque(&present)) {
            (true, false) => {
                let detail = "shows what the layers below have in it";
                self.found.add(path, DifferenceKind::Opaque, detail);
            }
            (false, true) if !self.is_base => {
                let detail = "hides what the layers below have in it";
                self.found.add(path, DifferenceKind::Opaque, detail);
            }
            _ => {}
        }
        for (name, value) in expected.iter().filter(|(name, _)| is_compared(name)) {
            if present.get(name) != Some(value) {
                let detail = format!("has not the attribute {} of the layer", lossy(name));
                self.found.add(path, DifferenceKind::Attribute, detail);
            }
        }
        // Such directories may have attributes of those below.
        if self.implied.contains_key(path.as_slice()) {
            return Ok(());
        }
        for name in
            present.keys().filter(|name| is_of_images(name) && !expected.contains_key(*name))
        {
            let detail = format!("has an attribute that is not of the layer: {}", lossy(name));
            self.found.add(path, DifferenceKind::Attribute, detail);
        }
        Ok(())
    }
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn is_compared(name: &[u8]) -> bool {
    !SYSTEMS_OWN.iter().any(|own| name.starts_with(own))
}

/// Whether files have an attribute of this name because an image says so, and for no other reason.
fn is_of_images(name: &[u8]) -> bool {
    name == b"security.capability"
        || name.starts_with(b"user.") && !name.starts_with(b"user.overlay.")
}

fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// What overlayfs takes for the absence of a file.
fn is_whiteout(stat: &Stat) -> bool {
    file_type(stat) == FileType::CharacterDevice && stat.st_rdev == rustix::fs::makedev(0, 0)
}

fn kind_of(stat: &Stat) -> &'static str {
    match file_type(stat) {
        _ if is_whiteout(stat) => "a whiteout",
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::Unknown => "something unknown",
    }
}

fn names(directory: &Directory) -> rustix::io::Result<BTreeSet<Vec<u8>>> {
    let mut names = BTreeSet::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.insert(name.to_vec());
        }
    }
    Ok(names)
}

fn look(directory: &Directory, name: &[u8]) -> rustix::io::Result<Stat> {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// The extended attributes of `name` itself.
fn attributes(directory: &Directory, name: &[u8]) -> rustix::io::Result<HashMap<Vec<u8>, Vec<u8>>> {
    let path = path_through_proc(directory, name);
    match rustix::fs::llistxattr_query(&path) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(HashMap::new()),
        Ok(_) => {}
        Err(error) => return Err(error),
    }
    let mut list = vec![0; MAX_ATTRIBUTE_BYTES];
    let length = rustix::fs::llistxattr(&path, &mut list[..])?;
    let list = list.get(..length).unwrap_or_default();
    let mut found = HashMap::new();
    for attribute in list.split(|&byte| byte == 0).filter(|attribute| !attribute.is_empty()) {
        let mut value = vec![0; MAX_ATTRIBUTE_BYTES];
        match rustix::fs::lgetxattr(&path, attribute, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                found.insert(attribute.to_vec(), value);
            }
            Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}
