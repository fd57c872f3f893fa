//! Bytes appended to a file, and their digest.

use std::fs::File;
use std::io::{self, IoSlice, Read as _};
use std::sync::Arc;

use bytes::Bytes;

use crate::oci::{Digest, Hasher};

/// A file that is written from its end on, and hashed on the way.
#[derive(Debug)]
pub(super) struct Appender {
    file: Arc<File>,
    hasher: Hasher,
    position: u64,
}

impl Appender {
    /// Goes on after the first `length` bytes of `file`, which are read once more for their hash.
    pub(super) fn after(file: Arc<File>, length: u64) -> io::Result<Self> {
        let mut hasher = Hasher::new();
        if hasher.update_from((&*file).take(length))? < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Self { file, hasher, position: length })
    }

    /// Throws away what is there.
    pub(super) fn truncate(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.hasher = Hasher::new();
        self.position = 0;
        Ok(())
    }

    /// The digest of all that is in the file.
    pub(super) fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// Awaits that the file is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Appends all of `batch`.
    pub(super) fn append(&mut self, batch: &[Bytes]) -> io::Result<()> {
        for bytes in batch {
            self.hasher.update(bytes);
        }
        self.write_all(batch)
    }

    /// Writes `batch` in as few calls as the kernel makes of it, none of its bytes copied. At the
    /// place where they belong rather than at the end of the file: should another client ever get at
    /// the same ingest, it writes the same bytes there.
    fn write_all(&mut self, batch: &[Bytes]) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = batch
            .iter()
            .filter(|bytes| !bytes.is_empty())
            .map(|bytes| IoSlice::new(bytes))
            .collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            // The kernel takes at most 1,024 at a time.
            let next = rest.get(..rest.len().min(1024)).unwrap_or_default();
            match rustix::io::pwritev(&self.file, next, self.position) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.position += count as u64;
                    IoSlice::advance_slices(&mut rest, count);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
