//! Files of a node that is at work: they are let go of by the page cache once they are on the disk, so
//! that they push out nothing that is in use.

use std::os::fd::OwnedFd;

use rustix::fs::Advice;
use rustix::io::Errno;

use super::error::ExtractError;
use crate::tar::EntryName;

/// After how many bytes they have to be on the disk (32 MiB): until then the page cache holds them.
const MAX_BYTES: u64 = 32 << 20;

/// After how many files (128): each is open until then, and a process may have 1024 open by default.
const MAX_FILES: usize = 128;

/// Files that were written and are not on the disk yet.
#[derive(Default)]
pub(super) struct Unsettled {
    files: Vec<(OwnedFd, EntryName)>,
    bytes: u64,
}

impl Unsettled {
    /// Takes `file`, all of which is written, in `bytes`.
    ///
    /// # Errors
    /// As [`Self::settle`].
    pub(super) fn add(
        &mut self,
        file: OwnedFd,
        name: &[u8],
        bytes: u64,
    ) -> Result<(), ExtractError> {
        // Has the system begin to write it, without waiting.
        let_go(&file);
        self.files.push((file, EntryName::new(name)));
        self.bytes += bytes;
        match self.files.len() >= MAX_FILES || self.bytes >= MAX_BYTES {
            true => self.settle(),
            false => Ok(()),
        }
    }

    /// Waits until all of them are on the disk, and lets go of them. The first has the file system's
    /// journal written, and with it what it has of the others.
    ///
    /// # Errors
    /// [`ExtractError::File`]: the system tells of what it could not write only once.
    pub(super) fn settle(&mut self) -> Result<(), ExtractError> {
        self.bytes = 0;
        for (file, name) in self.files.drain(..) {
            settle(&file).map_err(ExtractError::file_called(ON_DISK, name))?;
        }
        Ok(())
    }
}

/// What fails where a file can't be put there.
pub(super) const ON_DISK: &str = "write to the disk";

/// One file, as it is written, that may be larger than all that the page cache is to hold.
#[derive(Default)]
pub(super) struct Growing(u64);

impl Growing {
    /// Takes note of `bytes` that were written to `file`, and lets go of it now and then.
    pub(super) fn by(&mut self, bytes: usize, file: &OwnedFd) -> rustix::io::Result<()> {
        self.0 += bytes as u64;
        if self.0 < MAX_BYTES {
            return Ok(());
        }
        self.0 = 0;
        settle(file)
    }

    /// What was written since.
    pub(super) fn rest(&self) -> u64 {
        self.0
    }
}

fn settle(file: &OwnedFd) -> rustix::io::Result<()> {
    match rustix::fs::fdatasync(file) {
        // Of a file system that has nothing to wait for.
        Ok(()) | Err(Errno::INVAL | Errno::ROFS) => {}
        Err(error) => return Err(error),
    }
    let_go(file);
    Ok(())
}

fn let_go(file: &OwnedFd) {
    if let Err(error) = rustix::fs::fadvise(file, 0, None, Advice::DontNeed) {
        tracing::debug!(%error, "the page cache keeps what was written");
    }
}
