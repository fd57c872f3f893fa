//! Where an archive goes: a file that appears under its name when it is whole, or a stream, of which
//! nothing can be taken back.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, IsTerminal as _, Seek as _, SeekFrom, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation, OFlags};
use rustix::io::{Errno, retry_on_intr};
use tempfile::TempPath;

use super::error::Error;

/// What `-` stands for.
const STANDARD_OUTPUT: &str = "-";

/// What the names of files end in that are not whole yet.
const SUFFIX: &str = ".part";

/// How many letters and digits of such a name are drawn at random.
const DRAWN_LETTERS: usize = 6;

/// Mode of an archive, before the umask.
const FILE_MODE: u32 = 0o666;

/// Where an archive is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    StandardOutput,
    /// A file that is to be there when the archive is whole, in place of what is there now.
    File(PathBuf),
    /// A pipe or a device that is there.
    Stream(PathBuf),
}

impl Target {
    /// What `path`, as typed, stands for; `-` and other names of standard output are that.
    ///
    /// # Errors
    /// [`Error::Terminal`] for a terminal, which an archive would only confuse; [`Error::Directory`].
    pub fn of(path: &Path) -> Result<Self, Error> {
        let found = fs::metadata(path);
        if path == Path::new(STANDARD_OUTPUT) || found.as_ref().is_ok_and(is_standard_output) {
            let terminal = io::stdout().is_terminal();
            return if terminal { Err(Error::Terminal) } else { Ok(Self::StandardOutput) };
        }
        match found {
            Ok(found) if found.is_dir() => Err(Error::Directory(path.to_owned())),
            // What a link points to is replaced, and not the link.
            Ok(found) if found.is_file() => {
                Ok(Self::File(fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())))
            }
            Ok(_) => Ok(Self::Stream(path.to_owned())),
            Err(_) => Ok(Self::File(path.to_owned())),
        }
    }

    /// Its name, for messages.
    pub fn place(&self) -> String {
        match self {
            Self::StandardOutput => "standard output".to_owned(),
            Self::File(path) | Self::Stream(path) => path.display().to_string(),
        }
    }

    /// Opens it.
    pub(super) fn open(&self) -> Result<(Output, Option<Unfinished>), Error> {
        let failed = |source| Error::Create { place: self.place(), source };
        match self {
            Self::StandardOutput => {
                let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(failed)?;
                Ok((Output::new(stdout.into(), true), None))
            }
            Self::Stream(path) => {
                let flags = OFlags::NOCTTY.bits().cast_signed();
                let opened = OpenOptions::new().write(true).custom_flags(flags).open(path);
                let file = opened.map_err(failed)?;
                if file.is_terminal() {
                    return Err(Error::Terminal);
                }
                Ok((Output::new(file, true), None))
            }
            Self::File(path) => {
                let (file, partial) = temporary(path).map_err(failed)?;
                let unfinished = Unfinished { partial, target: path.clone() };
                Ok((Output::new(file, false), Some(unfinished)))
            }
        }
    }
}

/// Whether what was found is standard output, `/dev/stdout` for instance, where results must not go then.
fn is_standard_output(found: &fs::Metadata) -> bool {
    let stdout = rustix::fs::fstat(io::stdout());
    stdout.is_ok_and(|stdout| stdout.st_dev == found.dev() && stdout.st_ino == found.ino())
}

/// A file beside `target`, whose name nobody can guess, and which is locked while it is written. Those
/// that runs have left which were killed are removed.
fn temporary(target: &Path) -> io::Result<(File, TempPath)> {
    let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let prefix = format!(".{}.", name.chars().take(100).collect::<String>());
    remove_left(folder, &prefix);
    loop {
        let made = tempfile::Builder::new()
            .prefix(&prefix)
            .rand_bytes(DRAWN_LETTERS)
            .suffix(SUFFIX)
            .permissions(Permissions::from_mode(FILE_MODE))
            .tempfile_in(folder)?;
        // A file system without locks keeps what is left, too.
        let _ = rustix::fs::flock(made.as_file(), FlockOperation::NonBlockingLockExclusive);
        // Another run may have taken it for left over until it was locked.
        if made.as_file().metadata()?.nlink() > 0 {
            return Ok(made.into_parts());
        }
    }
}

/// Removes what runs that were killed have left in `folder`: nobody holds its lock any more.
fn remove_left(folder: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        if is_temporary(&entry.file_name().to_string_lossy(), prefix) {
            // What can't be removed is in nobody's way.
            let _ = remove_unlocked(&entry.path());
        }
    }
}

fn is_temporary(name: &str, prefix: &str) -> bool {
    let drawn = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(SUFFIX));
    drawn.is_some_and(|drawn| {
        drawn.len() == DRAWN_LETTERS && drawn.bytes().all(|letter| letter.is_ascii_alphanumeric())
    })
}

fn remove_unlocked(path: &Path) -> io::Result<()> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        fs::remove_file(path)?;
        tracing::debug!(path = %path.display(), "removed what a run that was killed has left");
    }
    Ok(())
}

/// A file that is not whole yet. It goes when this is dropped.
#[derive(Debug)]
pub(super) struct Unfinished {
    partial: TempPath,
    target: PathBuf,
}

impl Unfinished {
    /// Puts the file, which is whole, under its name.
    pub(super) fn finish(self) -> Result<(), Error> {
        let place = self.target.display().to_string();
        let moved = self.partial.persist(&self.target);
        moved.map_err(|error| Error::Write { place, source: error.error })
    }
}

/// What an archive is written to.
#[derive(Debug)]
pub(super) struct Output {
    file: Arc<File>,
    is_stream: bool,
    is_closed: bool,
}

impl Output {
    fn new(file: File, is_stream: bool) -> Self {
        Self { file: Arc::new(file), is_stream, is_closed: false }
    }

    /// Takes nothing more.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether what was written is out of reach.
    pub(super) fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// Takes back what was written after the first `position` bytes.
    pub(super) fn cut(&mut self, position: u64) -> io::Result<()> {
        self.file.set_len(position)?;
        self.go_to(position)
    }

    /// Writes from `position` on.
    pub(super) fn go_to(&mut self, position: u64) -> io::Result<()> {
        (&*self.file).seek(SeekFrom::Start(position)).map(drop)
    }

    /// Makes the file `length` bytes long, with room for all of them on the disk, and gives it to who
    /// writes them at their places; `None` where that can't be done. Of a file system that can't, FAT for
    /// instance, many write zeros first where a place is skipped.
    pub(super) fn set_aside(&self, length: u64) -> io::Result<Option<Arc<File>>> {
        if self.is_stream {
            return Ok(None);
        }
        // A descriptor may say anything: the disk is not to be full for the others until it is known.
        let space = rustix::fs::fstatvfs(&*self.file);
        let has_room = |space: rustix::fs::StatVfs| {
            space.f_blocks == 0 || space.f_bfree.saturating_mul(space.f_frsize) >= length
        };
        if !space.is_ok_and(has_room) {
            return Err(Errno::NOSPC.into());
        }
        let whole = || rustix::fs::fallocate(&*self.file, FallocateFlags::empty(), 0, length);
        match retry_on_intr(whole) {
            Ok(()) => Ok(Some(Arc::clone(&self.file))),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_closed {
            Err(io::ErrorKind::BrokenPipe.into())
        } else {
            (&*self.file).write(bytes)
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.file).flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_killed_runs_have_left_goes_and_what_others_write_stays() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("images.tar");
        let made = |name: &str| {
            fs::write(folder.path().join(name), "x").unwrap();
            folder.path().join(name)
        };
        let left = made(".images.tar.a1B2c3.part");
        let others = [".images.tar.a1B2c3", ".images.tar.a1B2c34.part", ".other.tar.a1B2c3.part"];
        let others = others.map(made);
        let (written, path) = temporary(&target).unwrap();
        assert!(!left.exists());
        assert!(others.iter().all(|other| other.exists()));
        // Another run, at the same time.
        let (_, second) = temporary(&target).unwrap();
        assert!(path.exists() && second.exists());
        drop(written);
        let (_, third) = temporary(&target).unwrap();
        assert!(!path.exists() && third.exists());
    }
}
