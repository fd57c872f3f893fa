//! An archive's bytes on their way from a reader, counted, handed on without copies.

use std::io::{BufRead, Error as IoError, ErrorKind, Read as _, Seek};

use super::error::{Error, Problem};

/// A reader, and how far it was read.
pub(super) struct Input<R> {
    reader: R,
    offset: u64,
}

impl<R: BufRead> Input<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, offset: 0 }
    }

    /// The bytes that are there now; none at the end.
    pub(super) fn fill(&mut self) -> Result<&[u8], Error> {
        // The result of this first call is dropped, since a buffer returned from within the loop
        // would be borrowed for good. A second call costs nothing.
        while let Err(error) = self.reader.fill_buf() {
            if error.kind() != ErrorKind::Interrupted {
                return Err(Error::Read(error));
            }
        }
        self.reader.fill_buf().map_err(Error::Read)
    }

    /// Drops `amount` of the bytes that [`Input::fill`] returned.
    pub(super) fn consume(&mut self, amount: usize) {
        self.reader.consume(amount);
        self.offset += amount as u64;
    }

    /// Fills `target` as far as the reader goes and returns the number of bytes.
    pub(super) fn read_up_to(&mut self, target: &mut [u8]) -> Result<usize, Error> {
        let mut filled = 0;
        while let Some(rest) = target.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            // Reading from a slice copies what fits.
            let amount = self.fill()?.read(rest).unwrap_or_default();
            if amount == 0 {
                break;
            }
            self.consume(amount);
            filled += amount;
        }
        Ok(filled)
    }

    /// Drops the next `amount` bytes; fewer where the reader ends. Returns how many.
    pub(super) fn skip(&mut self, amount: u64) -> Result<u64, Error> {
        let mut left = amount;
        while left > 0 {
            let available = self.fill()?.len();
            if available == 0 {
                break;
            }
            let step = usize::try_from(left).map_or(available, |left| left.min(available));
            self.consume(step);
            left -= step as u64;
        }
        Ok(amount - left)
    }

    /// Bytes consumed so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// An error about the archive at the place where the reader stands.
    pub(super) fn problem(&self, source: Problem) -> Error {
        Error::Malformed { offset: self.offset, source }
    }

    pub(super) fn into_reader(self) -> R {
        self.reader
    }
}

impl<R: BufRead + Seek> Input<R> {
    /// Passes over the next `amount` bytes, which may lie beyond the reader's end.
    pub(super) fn seek_over(&mut self, amount: u64) -> Result<(), Error> {
        let distance = i64::try_from(amount)
            .map_err(|_| Error::Read(IoError::from(ErrorKind::InvalidInput)))?;
        self.reader.seek_relative(distance).map_err(Error::Read)?;
        self.offset = self.offset.saturating_add(amount);
        Ok(())
    }
}
