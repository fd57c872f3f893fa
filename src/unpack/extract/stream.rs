//! The uncompressed stream: hashed as it passes, handed on without copies.

use std::io::{self, BufRead};

use super::error::{ArchiveProblem, ExtractError};
use crate::oci::{DiffId, Hasher};
use crate::unpack::inflate::{Format, is_source_error};

/// Uncompressed bytes on their way to the archive reader; every one of them goes into the diff ID.
pub(crate) struct Stream {
    source: Box<dyn BufRead + Send>,
    format: Format,
    hasher: Hasher,
    /// Bytes at the front of the source's buffer that the hasher has seen already.
    hashed: usize,
    offset: u64,
}

impl Stream {
    /// A stream over `source`, which decompresses `format`.
    pub(crate) fn new(source: Box<dyn BufRead + Send>, format: Format) -> Self {
        Self { source, format, hasher: Hasher::new(), hashed: 0, offset: 0 }
    }

    /// The bytes that are there now; none at the end.
    ///
    /// # Errors
    /// [`ExtractError::Source`] or [`ExtractError::Inflate`].
    pub(crate) fn fill(&mut self) -> Result<&[u8], ExtractError> {
        match retry_interrupted(self.source.as_mut()) {
            Ok(buffer) => {
                if let Some(unseen) = buffer.get(self.hashed..) {
                    self.hasher.update(unseen);
                    self.hashed = buffer.len();
                }
                Ok(buffer)
            }
            Err(source) if is_source_error(&source) => Err(ExtractError::Source(source)),
            Err(source) => Err(ExtractError::Inflate { format: self.format, source }),
        }
    }

    /// Drops `amount` of the bytes that [`Stream::fill`] returned.
    pub(crate) fn consume(&mut self, amount: usize) {
        self.source.consume(amount);
        self.hashed = self.hashed.saturating_sub(amount);
        self.offset += amount as u64;
    }

    /// Fills `target` as far as the stream goes and returns the number of bytes.
    ///
    /// # Errors
    /// As [`Stream::fill`].
    pub(crate) fn read_up_to(&mut self, target: &mut [u8]) -> Result<usize, ExtractError> {
        let mut filled = 0;
        while let Some(rest) = target.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let available = self.fill()?;
            let amount = available.len().min(rest.len());
            if amount == 0 {
                break;
            }
            for (to, from) in rest.iter_mut().zip(available) {
                *to = *from;
            }
            self.consume(amount);
            filled += amount;
        }
        Ok(filled)
    }

    /// Drops the next `amount` bytes; fewer where the stream ends. Returns how many.
    ///
    /// # Errors
    /// As [`Stream::fill`].
    pub(crate) fn skip(&mut self, amount: u64) -> Result<u64, ExtractError> {
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

    /// Reads to the end and returns the diff ID and the number of uncompressed bytes.
    ///
    /// # Errors
    /// As [`Stream::fill`].
    pub(crate) fn finish(mut self) -> Result<(DiffId, u64), ExtractError> {
        self.skip(u64::MAX)?;
        Ok((DiffId(self.hasher.finish()), self.offset))
    }

    /// An error about the archive at the place where the stream stands.
    pub(crate) fn problem(&self, source: ArchiveProblem) -> ExtractError {
        ExtractError::Archive { offset: self.offset, source }
    }

    /// Bytes consumed so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }
}

fn retry_interrupted(source: &mut dyn BufRead) -> io::Result<&[u8]> {
    // A first call that is dropped again: returning its buffer from within the loop would borrow
    // the source for good. A second call with a filled buffer costs nothing.
    while let Err(error) = source.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    source.fill_buf()
}
