//! A directory of the layout, reached by descriptor. What lies in it may be anybody's, so nothing in
//! it is opened by way of a symbolic link, and nothing but directories and regular files is taken.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Error;

/// Mode of the directories made in a layout, before the umask.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o777);

/// Mode of the files made in a layout, before the umask.
const FILE_MODE: Mode = Mode::from_raw_mode(0o666);

/// An open directory. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    fd: Arc<OwnedFd>,
    path: PathBuf,
}

impl Directory {
    /// Opens the layout's own directory, which the user has named: links on the way count.
    pub(super) fn root(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty());
        let fd = opened.map_err(|errno| match errno {
            Errno::NOENT => Error::Absent(path.to_owned()),
            Errno::NOTDIR => Error::NotReadable(path.to_owned()),
            errno => Error::io("open", path, errno.into()),
        })?;
        Ok(Self { fd: Arc::new(fd), path: path.to_owned() })
    }

    /// Opens the directory `name`; `None` where there is nothing.
    pub(super) fn directory(&self, name: &str) -> Result<Option<Self>, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&*self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(Self { fd: Arc::new(fd), path: self.path.join(name) })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.refused("open", name, errno)),
        }
    }

    /// Opens the directory `name`, which is made where there is nothing.
    pub(super) fn made_directory(&self, name: &str) -> Result<Self, Error> {
        if let Some(directory) = self.directory(name)? {
            return Ok(directory);
        }
        match rustix::fs::mkdirat(&*self.fd, name, DIRECTORY_MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(self.refused("create", name, errno)),
        }
        self.directory(name)?.ok_or_else(|| self.refused("open", name, Errno::NOENT))
    }

    /// Opens the regular file `name` for reading; `None` where there is nothing.
    pub(super) fn file(&self, name: &str) -> Result<Option<File>, Error> {
        match self.open(name, OFlags::RDONLY) {
            Ok(file) => self.regular(name, file).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.refused("open", name, errno)),
        }
    }

    /// The content of the regular file `name`; `None` where there is nothing.
    pub(super) fn read(&self, name: &str, limit_bytes: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some(file) = self.file(name)? else { return Ok(None) };
        let path = self.path.join(name);
        let mut bytes = Vec::new();
        // One more than may be tells that there are too many.
        file.take(limit_bytes + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| Error::io("read", &path, source))?;
        if bytes.len() as u64 > limit_bytes {
            return Err(Error::TooLarge { path, limit_bytes });
        }
        Ok(Some(bytes))
    }

    /// Makes the file `name`; `None` where there is something of that name.
    pub(super) fn new_file(&self, name: &str) -> Result<Option<File>, Error> {
        match self.open(name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::EXIST) => Ok(None),
            Err(errno) => Err(self.refused("create", name, errno)),
        }
    }

    /// Opens the file `name` for reading and writing, which is made where there is nothing. What is no
    /// file of its own, a link of either kind or a device, gives way to an empty one.
    pub(super) fn own_file(&self, name: &str) -> Result<File, Error> {
        let flags = OFlags::RDWR | OFlags::CREATE;
        match self.open(name, flags) {
            Ok(file) if self.is_regular(&file, name)? && links(&file) <= 1 => return Ok(file),
            // By another name, what is written here would show elsewhere.
            Ok(_) | Err(Errno::LOOP | Errno::NXIO) => self.remove(name)?,
            Err(errno) => return Err(self.refused("open", name, errno)),
        }
        match self.open(name, flags | OFlags::EXCL) {
            Ok(file) => Ok(file),
            Err(errno) => Err(self.refused("create", name, errno)),
        }
    }

    /// Whether `name` is `file`.
    pub(super) fn is_at(&self, file: &File, name: &str) -> bool {
        let found = rustix::fs::statat(&*self.fd, name, AtFlags::SYMLINK_NOFOLLOW);
        let (Ok(file), Ok(found)) = (rustix::fs::fstat(file), found) else { return false };
        (file.st_dev, file.st_ino) == (found.st_dev, found.st_ino)
    }

    /// Moves `name` to `target`, where it takes the place of what is there, be it a link.
    pub(super) fn move_to(&self, name: &str, target: &Self) -> Result<(), Error> {
        rustix::fs::renameat(&*self.fd, name, &*target.fd, name)
            .map_err(|errno| target.refused("write", name, errno))
    }

    /// Removes the file or link `name`.
    pub(super) fn remove(&self, name: &str) -> Result<(), Error> {
        match rustix::fs::unlinkat(&*self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.refused("remove", name, errno)),
        }
    }

    /// Removes the directory `name` if it is empty.
    pub(super) fn remove_empty(&self, name: &str) {
        // Whatever keeps it is reason enough for it to stay.
        let _ = rustix::fs::unlinkat(&*self.fd, name, AtFlags::REMOVEDIR);
    }

    /// Where it is, for messages and for what makes files of its own.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn open(&self, name: &str, flags: OFlags) -> rustix::io::Result<File> {
        // A pipe of that name would be waited at for good.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&*self.fd, name, flags, FILE_MODE)?.into())
    }

    fn regular(&self, name: &str, file: File) -> Result<File, Error> {
        if self.is_regular(&file, name)? {
            return Ok(file);
        }
        let source = io::Error::from(io::ErrorKind::InvalidInput);
        Err(Error::io("read what is no file at", &self.path.join(name), source))
    }

    fn is_regular(&self, file: &File, name: &str) -> Result<bool, Error> {
        let stat = rustix::fs::fstat(file).map_err(|errno| self.refused("look at", name, errno))?;
        Ok(FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
    }

    fn refused(&self, action: &'static str, name: &str, errno: Errno) -> Error {
        let path = self.path.join(name);
        // Of a link, the system says that it is no directory, or that there are too many links.
        if matches!(errno, Errno::LOOP | Errno::NOTDIR) && path.is_symlink() {
            return Error::Link(path);
        }
        Error::io(action, &path, errno.into())
    }
}

fn links(file: &File) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    file.metadata().map_or(0, |found| found.nlink())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::symlink;

    use super::*;

    fn root() -> (tempfile::TempDir, Directory) {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::root(folder.path()).unwrap();
        (folder, directory)
    }

    #[test]
    fn links_are_neither_entered_nor_read() {
        let (folder, root) = root();
        symlink("/", folder.path().join("blobs")).unwrap();
        symlink("/etc/hostname", folder.path().join("file")).unwrap();
        assert!(matches!(root.directory("blobs"), Err(Error::Link(_))));
        assert!(matches!(root.made_directory("blobs"), Err(Error::Link(_))));
        assert!(matches!(root.file("file"), Err(Error::Link(_))));
        assert!(root.new_file("file").unwrap().is_none());
        assert!(root.directory("missing").unwrap().is_none());
        assert!(root.file("missing").unwrap().is_none());
    }

    #[test]
    fn what_is_written_has_no_other_name() {
        let (folder, root) = root();
        let other = folder.path().join("other");
        fs::write(&other, "untouched").unwrap();
        symlink(&other, folder.path().join("soft")).unwrap();
        fs::hard_link(&other, folder.path().join("hard")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join("pipe"), Mode::RWXU).unwrap();
        for name in ["soft", "hard", "pipe", "new"] {
            let mut file = root.own_file(name).unwrap();
            file.write_all(b"written").unwrap();
            assert_eq!(fs::read(folder.path().join(name)).unwrap(), b"written", "{name}");
            assert!(root.is_at(&file, name), "{name}");
        }
        assert_eq!(fs::read(&other).unwrap(), b"untouched");
        assert!(root.file("pipe").unwrap().is_some());
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let (folder, root) = root();
        rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join("pipe"), Mode::RWXU).unwrap();
        assert!(root.file("pipe").is_err());
    }
}
