//! Files of earlier runs, out of the daemon's way until there is time to delete them.
//!
//! ext4 is slow to make a file where many were deleted within the last minute, or within the last six
//! where the inode's block was not written back since: it looks at each of those inodes before it takes
//! another one (`recently_deleted` in `fs/ext4/ialloc.c`). A pull takes up to four times as long then.
//! Nodes do not delete an image just before they pull the next one, so a run must not either. What is in
//! files can be let go of all the same, as long as they stay.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How much of the disk stays free, in bytes (20 GiB).
const KEEP_FREE: u64 = 20 << 30;

/// How many files may still be made.
const KEEP_INODES: u64 = 500_000;

/// For how long ext4 remembers what was deleted, and a bit in which that is done.
const MEMORY: Duration = Duration::from_secs(390);

/// A folder that fills and is emptied at times.
pub(crate) struct Attic {
    folder: PathBuf,
    next: AtomicU64,
}

impl Attic {
    /// An attic in `directory`, which must be on the file system of what is to be taken there.
    pub(crate) fn new(directory: &Path) -> io::Result<Self> {
        let folder = directory.join("attic");
        fs::create_dir(&folder)?;
        Ok(Self { folder, next: AtomicU64::new(0) })
    }

    /// Moves everything in `folder` here, but for what goes by itself meanwhile.
    pub(crate) fn take(&self, folder: &Path) -> Result<(), String> {
        let problem = |error: io::Error| format!("{}: {error}", folder.display());
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(problem)?,
        };
        for entry in entries {
            let number = self.next.fetch_add(1, Ordering::Relaxed).to_string();
            let from = entry.map_err(problem)?.path();
            match fs::rename(from, self.folder.join(number)) {
                // The daemon was quicker: it deletes some of what was removed when it likes.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                moved => moved.map_err(problem)?,
            }
        }
        Ok(())
    }

    /// Empties all files if the disk gets full. Where that does not help, everything is deleted, and the file
    /// system gets the time to forget it.
    pub(crate) fn clear_if_full(&self) -> Result<(), String> {
        self.clear().map_err(|error| format!("{}: {error}", self.folder.display()))
    }

    fn clear(&self) -> io::Result<()> {
        if self.has_room()? {
            return Ok(());
        }
        empty_files(&self.folder)?;
        rustix::fs::sync();
        if !self.has_room()? {
            fs::remove_dir_all(&self.folder)?;
            fs::create_dir(&self.folder)?;
            rustix::fs::sync();
            std::thread::sleep(MEMORY);
        }
        Ok(())
    }

    fn has_room(&self) -> io::Result<bool> {
        let space = rustix::fs::statvfs(&self.folder)?;
        Ok(space.f_bavail * space.f_frsize > KEEP_FREE && space.f_favail > KEEP_INODES)
    }
}

/// Takes what is in the files below `folder` from them.
fn empty_files(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            empty_files(&entry.path())?;
        } else if kind.is_file() {
            fs::File::create(entry.path())?;
        }
    }
    Ok(())
}

/// Waits until the file system has forgotten what an earlier call has deleted at its end, when it wrote
/// `results`.
pub(crate) fn rest_after(results: &Path) {
    let written = fs::metadata(results).and_then(|metadata| metadata.modified());
    let age = written.ok().and_then(|written| written.elapsed().ok());
    let left = age.and_then(|age| MEMORY.checked_sub(age)).unwrap_or_default();
    if !left.is_zero() {
        eprintln!("{} s until the file system has forgotten what was deleted", left.as_secs());
        std::thread::sleep(left);
    }
}
