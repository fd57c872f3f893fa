//! Entries into files: what containerd's unpacker makes of each kind of entry, beneath the root.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timestamps, XattrFlags};
use rustix::io::Errno;

use super::attributes::{self, CreationDefaults};
use super::cache::{self, Growing, Unsettled};
use super::error::ExtractError;
use super::implied::ImpliedDirectory;
use super::open::open_directory;
use super::path::{clean, is_within, split};
use super::rehearsal::Rehearsal;
use super::stream::Stream;
use super::tree::{Directory, Missing, Tree};
use super::whiteout::{Whiteout, Whiteouts};
use crate::tar::{Archive, DeviceNumber, Entry, EntryKind};
use crate::unpack::room::Allowance;

/// Most bytes that the notes on directories, their times for one, may take (64 MiB): half a million
/// directories with long paths, far beyond any real layer.
const MAX_DIRECTORY_NOTES_BYTES: usize = 64 << 20;

/// Puts entries beneath a root.
pub(crate) struct Applier {
    tree: Tree,
    whiteouts: Whiteouts,
    defaults: CreationDefaults,
    /// Directories whose times are set at the end, when nothing is put into them any more.
    dated: Vec<DatedDirectory>,
    /// Directories that a base layer has emptied already, resolved.
    emptied: BTreeSet<Vec<u8>>,
    /// What both of these take.
    noted_bytes: usize,
    allowance: Allowance,
    /// Takes what files would hold, where none is written.
    rehearsal: Option<Rehearsal>,
    /// Files that the page cache is to let go of, where it is to.
    unsettled: Option<Unsettled>,
}

struct DatedDirectory {
    path: Vec<u8>,
    times: Timestamps,
}

/// Where an entry goes: a name in an open directory.
struct Place<'entry> {
    parent: Rc<Directory>,
    base: &'entry [u8],
    /// The entry's clean path.
    path: &'entry [u8],
}

impl Applier {
    /// Puts entries beneath `root`, as much as `allowance` has.
    pub(crate) fn new(root: OwnedFd, whiteouts: Whiteouts, allowance: Allowance) -> Self {
        Self {
            tree: Tree::new(root),
            whiteouts,
            defaults: CreationDefaults::of_process(),
            dated: Vec::new(),
            emptied: BTreeSet::new(),
            noted_bytes: 0,
            allowance,
            rehearsal: None,
            unsettled: None,
        }
    }

    /// The same, whose files the page cache lets go of, if it `is_sparing`.
    pub(crate) fn sparing(self, is_sparing: bool) -> Self {
        Self { unsettled: is_sparing.then(Unsettled::default), ..self }
    }

    /// The same, with files left empty and what they would hold given to `rehearsal`.
    pub(crate) fn rehearsing(self, rehearsal: Rehearsal) -> Self {
        Self { rehearsal: Some(rehearsal), ..self }
    }

    /// Puts `entry`, whose content `archive` holds ready.
    ///
    /// # Errors
    /// Any [`ExtractError`].
    pub(crate) fn apply(
        &mut self,
        entry: &Entry,
        archive: &mut Archive<Stream>,
    ) -> Result<(), ExtractError> {
        let path = clean(&entry.name);
        // The root itself is the snapshotter's.
        let Some((parent, base)) = split(&path) else { return Ok(()) };
        let parent = self
            .tree
            .open(parent, Missing::Create)
            .map_err(failed("reach the directory of", entry))?;
        let place = Place { parent, base, path: &path };
        if let Some(whiteout) = Whiteout::of(base, &entry.name)? {
            return self.whiteout(&place, whiteout, entry);
        }
        match &entry.kind {
            EntryKind::File => self.file(&place, entry, archive),
            EntryKind::Directory => self.directory(&place, entry),
            EntryKind::Symlink(target) => self.symlink(&place, entry, target),
            EntryKind::HardLink(target) => self.hard_link(&place, entry, target),
            EntryKind::CharacterDevice(number) => {
                self.node(&place, entry, FileType::CharacterDevice, *number)
            }
            EntryKind::BlockDevice(number) => {
                self.node(&place, entry, FileType::BlockDevice, *number)
            }
            EntryKind::Fifo => {
                self.node(&place, entry, FileType::Fifo, DeviceNumber { major: 0, minor: 0 })
            }
            EntryKind::GlobalHeader => self.clear(&place, entry),
        }
    }

    /// Sets the directories' times and returns the directories that nothing described, and the
    /// rehearsal, if it was one.
    ///
    /// # Errors
    /// [`ExtractError::File`].
    pub(crate) fn finish(
        mut self,
    ) -> Result<(Vec<ImpliedDirectory>, Option<Rehearsal>), ExtractError> {
        if let Some(unsettled) = &mut self.unsettled {
            unsettled.settle()?;
        }
        for directory in std::mem::take(&mut self.dated) {
            self.date(&directory)
                .map_err(ExtractError::file(attributes::SET_TIMES, &directory.path))?;
        }
        Ok((self.tree.implied().map(ImpliedDirectory::from).collect(), self.rehearsal))
    }

    fn file(
        &mut self,
        place: &Place<'_>,
        entry: &Entry,
        archive: &mut Archive<Stream>,
    ) -> Result<(), ExtractError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = self.make(place, entry, "create", |_, place| {
            rustix::fs::openat(&place.parent, place.base, flags, attributes::creation_mode(entry))
        })?;
        let mut growing = self.unsettled.is_some().then(Growing::default);
        if let Some(rehearsal) = &mut self.rehearsal {
            rehearsal.take(&file, place.parent.path_of(place.base), entry, archive)?;
        } else {
            // Piece by piece: what a header says of the size need not be true.
            archive.read_content(|piece| {
                let allowed = self.allowance.take(piece.len() as u64, &file);
                allowed.map_err(|reason| ExtractError::exhausted(&entry.name, reason))?;
                write_all(&file, piece).map_err(failed("write", entry))?;
                let settled = growing.as_mut().map_or(Ok(()), |it| it.by(piece.len(), &file));
                settled.map_err(failed(cache::ON_DISK, entry))
            })?;
        }
        attributes::set_on_open(&file, entry, &place.parent, self.defaults, true)?;
        attributes::set_times_on_open(&file, entry)?;
        let rest = growing.map_or(0, |growing| growing.rest());
        self.unsettled.as_mut().map_or(Ok(()), |files| files.add(file, &entry.name, rest))
    }

    fn directory(&mut self, place: &Place<'_>, entry: &Entry) -> Result<(), ExtractError> {
        let (fd, is_new) = self.make(place, entry, "create the directory", |_, place| {
            let Place { parent, base, .. } = place;
            match rustix::fs::mkdirat(parent, *base, attributes::creation_mode(entry)) {
                Ok(()) => open_directory(parent, base).map(|fd| (fd, true)),
                // A directory that is there is kept, with what is in it.
                Err(Errno::EXIST) => match open_directory(parent, base) {
                    Ok(fd) => Ok((fd, false)),
                    Err(Errno::NOTDIR | Errno::LOOP) => Err(Errno::EXIST),
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            }
        })?;
        attributes::set_on_open(&fd, entry, &place.parent, self.defaults, is_new)?;
        let resolved = place.parent.path_of(place.base);
        if !is_new {
            self.tree.describe(&resolved);
            // What is known of it may no longer hold.
            self.tree.forget();
        }
        let directory = Directory::new(fd, resolved);
        self.tree.remember(place.path, Rc::new(directory));
        self.date_at_the_end(place.path, entry)
    }

    fn symlink(
        &mut self,
        place: &Place<'_>,
        entry: &Entry,
        target: &[u8],
    ) -> Result<(), ExtractError> {
        self.make(place, entry, "create the symbolic link", |_, place| {
            rustix::fs::symlinkat(target, &place.parent, place.base)
        })?;
        attributes::set_on_name(&place.parent, place.base, entry, self.defaults, true)
    }

    fn hard_link(
        &mut self,
        place: &Place<'_>,
        entry: &Entry,
        target: &[u8],
    ) -> Result<(), ExtractError> {
        let (directory, target) = match target.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => target.split_at(slash + 1),
            None => (&b""[..], target),
        };
        if matches!(target, b"" | b"." | b"..") {
            return Err(ExtractError::unusable(&entry.name, "it is a hard link to a directory"));
        }
        let mut is_missing = false;
        let made = self.make(place, entry, "create the hard link", |tree, place| {
            // Found anew when something was in the way, which may have been on the way.
            let linked = tree.open_as_written(directory).and_then(|directory| {
                rustix::fs::linkat(&*directory, target, &place.parent, place.base, AtFlags::empty())
            });
            is_missing = linked == Err(Errno::NOENT);
            linked
        });
        // The layers below are out of a layer's reach, in containerd as well.
        if is_missing {
            let problem = "it is a hard link to a file that its layer has not brought";
            return Err(ExtractError::contradiction(&entry.name, problem, Errno::NOENT));
        }
        made?;
        // All names of a file share its attributes; those of the last name stand, as in containerd.
        attributes::set_on_name(&place.parent, place.base, entry, self.defaults, false)
    }

    fn node(
        &mut self,
        place: &Place<'_>,
        entry: &Entry,
        file_type: FileType,
        number: DeviceNumber,
    ) -> Result<(), ExtractError> {
        let device = rustix::fs::makedev(number.major, number.minor);
        let mode = attributes::creation_mode(entry);
        self.make(place, entry, "create the device", |_, place| {
            rustix::fs::mknodat(&place.parent, place.base, file_type, mode, device)
        })?;
        attributes::set_on_name(&place.parent, place.base, entry, self.defaults, true)
    }

    fn whiteout(
        &mut self,
        place: &Place<'_>,
        whiteout: Whiteout<'_>,
        entry: &Entry,
    ) -> Result<(), ExtractError> {
        match (self.whiteouts, whiteout) {
            (Whiteouts::Overlay, Whiteout::Opaque) => {
                let name = c"trusted.overlay.opaque";
                rustix::fs::fsetxattr(&*place.parent, name, b"y", XattrFlags::empty())
                    .map_err(failed("make the directory opaque for", entry))
            }
            (Whiteouts::Overlay, Whiteout::Hides(hidden)) => {
                let (none, device) = (Mode::empty(), rustix::fs::makedev(0, 0));
                let (owner, group) = attributes::ids(entry);
                let follow = AtFlags::SYMLINK_NOFOLLOW;
                // Something of that name in the same layer is an error here as in containerd.
                rustix::fs::mknodat(&place.parent, hidden, FileType::CharacterDevice, none, device)
                    .and_then(|()| rustix::fs::chownat(&place.parent, hidden, owner, group, follow))
                    .map_err(|errno| match errno {
                        Errno::EXIST => {
                            let problem = "it hides a file that its own layer has brought before";
                            ExtractError::contradiction(&entry.name, problem, errno)
                        }
                        errno => failed("create the whiteout", entry)(errno),
                    })
            }
            (Whiteouts::Remove, Whiteout::Hides(hidden)) => {
                self.tree.remove(&place.parent, hidden).map_err(failed("remove for", entry))
            }
            (Whiteouts::Remove, Whiteout::Opaque) => self.empty(&place.parent, entry),
        }
    }

    /// Removes from `directory` what lay in it before this layer. The root was empty, so that can
    /// only be directories which the layer implies: containerd counts those as older.
    fn empty(&mut self, directory: &Directory, entry: &Entry) -> Result<(), ExtractError> {
        let emptied = directory.path_of(b"");
        self.bound_notes(emptied.len(), entry)?;
        if !self.emptied.insert(emptied.clone()) {
            return Ok(());
        }
        let undescribed: Vec<Vec<u8>> = self
            .tree
            .implied()
            .filter(|(path, is_described)| !is_described && is_within(path, &emptied))
            .map(|(path, _)| path.to_vec())
            .filter(|path| *path != emptied)
            .collect();
        for path in undescribed {
            let Some((parent, base)) = split(&path) else { continue };
            match self.tree.open(parent, Missing::Refuse) {
                Ok(parent) => self.tree.remove(&parent, base).map_err(failed("empty", entry))?,
                // It went with the one above it.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(failed("empty", entry)(error)),
            }
        }
        Ok(())
    }

    /// Makes something at `place` by `create`; what is there already gives way.
    fn make<T>(
        &mut self,
        place: &Place<'_>,
        entry: &Entry,
        action: &'static str,
        mut create: impl FnMut(&mut Tree, &Place<'_>) -> rustix::io::Result<T>,
    ) -> Result<T, ExtractError> {
        match create(&mut self.tree, place) {
            Err(Errno::EXIST) => {
                self.clear(place, entry)?;
                create(&mut self.tree, place).map_err(failed(action, entry))
            }
            result => result.map_err(failed(action, entry)),
        }
    }

    fn clear(&mut self, place: &Place<'_>, entry: &Entry) -> Result<(), ExtractError> {
        self.tree
            .remove(&place.parent, place.base)
            .map_err(failed("remove what is in the way of", entry))
    }

    fn date_at_the_end(&mut self, path: &[u8], entry: &Entry) -> Result<(), ExtractError> {
        self.bound_notes(path.len() + size_of::<DatedDirectory>(), entry)?;
        self.dated.push(DatedDirectory { path: path.to_vec(), times: attributes::times(entry) });
        Ok(())
    }

    /// Counts a note of so many `bytes`.
    fn bound_notes(&mut self, bytes: usize, entry: &Entry) -> Result<(), ExtractError> {
        self.noted_bytes += bytes;
        if self.noted_bytes > MAX_DIRECTORY_NOTES_BYTES {
            return Err(ExtractError::unusable(&entry.name, "the layer has too many directories"));
        }
        Ok(())
    }

    fn date(&mut self, directory: &DatedDirectory) -> rustix::io::Result<()> {
        let DatedDirectory { path, times } = directory;
        if self.tree.has_removed() {
            // The path may lead elsewhere by now, and containerd follows it there.
            match self.tree.open(path, Missing::Refuse) {
                Ok(directory) => return rustix::fs::futimens(&*directory, times),
                // A later entry has replaced it, or one above it.
                Err(Errno::NOENT | Errno::NOTDIR) => return self.date_replacement(directory),
                Err(error) => return Err(error),
            }
        }
        let Some((parent, base)) = split(path) else { return Ok(()) };
        let parent = self.tree.open(parent, Missing::Refuse)?;
        attributes::set_times_on_name(&*parent, base, times)
    }

    /// What has replaced a directory gets its times, as in containerd; which fails where we go on,
    /// when nothing has.
    fn date_replacement(&mut self, directory: &DatedDirectory) -> rustix::io::Result<()> {
        let Some((parent, base)) = split(&directory.path) else { return Ok(()) };
        let dated = self
            .tree
            .open(parent, Missing::Refuse)
            .and_then(|parent| attributes::set_times_on_name(&*parent, base, &directory.times));
        match dated {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            result => result,
        }
    }
}

fn failed(action: &'static str, entry: &Entry) -> impl FnOnce(Errno) -> ExtractError {
    ExtractError::file(action, &entry.name)
}

fn write_all(file: &OwnedFd, mut piece: &[u8]) -> rustix::io::Result<()> {
    while !piece.is_empty() {
        match rustix::io::write(file, piece) {
            Ok(written) => piece = piece.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
