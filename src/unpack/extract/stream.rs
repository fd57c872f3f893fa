//! The uncompressed stream: hashed as it passes, handed on without copies.

use std::io::{self, BufRead, Cursor, Read};

use super::error::{ArchiveProblem, ExtractError};
use super::pipeline::{BUFFER_BYTES, ReadAhead};
use crate::oci::{Compression, DiffId, Hasher};
use crate::unpack::inflate::{Decoder, Format, is_source_error};

/// Uncompressed bytes on their way to the archive reader; every one of them goes into the diff ID.
pub(crate) struct Stream {
    source: Source,
    format: Format,
    offset: u64,
}

enum Source {
    /// Decompressed and hashed on other threads.
    Ahead(ReadAhead),
    /// Read and hashed by whoever wants the bytes.
    Direct(Direct),
}

struct Direct {
    content: Box<dyn BufRead + Send>,
    hasher: Hasher,
    /// Bytes at the front of the content's buffer that the hasher has seen already.
    hashed: usize,
}

impl Stream {
    /// Decompresses `packed`, a layer declared as `compression`.
    ///
    /// # Errors
    /// [`ExtractError::Source`], [`ExtractError::Inflate`] or [`ExtractError::Thread`].
    pub(crate) fn open(
        packed: impl BufRead + Send + 'static,
        compression: Compression,
    ) -> Result<Self, ExtractError> {
        let mut decoder =
            Decoder::new(packed, compression).map_err(|error| failure(Format::Plain, error))?;
        let format = decoder.format();
        if format == Format::Plain {
            return Ok(Self::over(Source::Direct(Direct::new(decoder.into_buffered())), format));
        }
        // Most images have layers so small that threads would take longer to start than to work.
        let mut begin = Vec::new();
        let limit = BUFFER_BYTES as u64;
        decoder
            .by_ref()
            .take(limit)
            .read_to_end(&mut begin)
            .map_err(|error| failure(format, error))?;
        let is_small = begin.len() < BUFFER_BYTES;
        let begin = Cursor::new(begin);
        let source = if is_small {
            Source::Direct(Direct::new(Box::new(begin)))
        } else {
            let ahead = ReadAhead::spawn(begin.chain(decoder)).map_err(ExtractError::Thread)?;
            Source::Ahead(ahead)
        };
        Ok(Self::over(source, format))
    }

    fn over(source: Source, format: Format) -> Self {
        Self { source, format, offset: 0 }
    }

    /// The bytes that are there now; none at the end.
    ///
    /// # Errors
    /// [`ExtractError::Source`] or [`ExtractError::Inflate`].
    pub(crate) fn fill(&mut self) -> Result<&[u8], ExtractError> {
        let filled = match &mut self.source {
            Source::Ahead(ahead) => ahead.fill(),
            Source::Direct(direct) => direct.fill(),
        };
        filled.map_err(|error| failure(self.format, error))
    }

    /// Drops `amount` of the bytes that [`Stream::fill`] returned.
    pub(crate) fn consume(&mut self, amount: usize) {
        match &mut self.source {
            Source::Ahead(ahead) => ahead.consume(amount),
            Source::Direct(direct) => direct.consume(amount),
        }
        self.offset += amount as u64;
    }

    /// Fills `target` as far as the stream goes and returns the number of bytes.
    ///
    /// # Errors
    /// As [`Stream::fill`].
    pub(crate) fn read_up_to(&mut self, target: &mut [u8]) -> Result<usize, ExtractError> {
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
        let diff_id = match self.source {
            Source::Ahead(ahead) => ahead.digest().map_err(ExtractError::Thread)?,
            Source::Direct(direct) => DiffId(direct.hasher.finish()),
        };
        Ok((diff_id, self.offset))
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

impl Direct {
    fn new(content: Box<dyn BufRead + Send>) -> Self {
        Self { content, hasher: Hasher::new(), hashed: 0 }
    }

    fn fill(&mut self) -> io::Result<&[u8]> {
        // The result of this first call is dropped, since a buffer returned from within the loop
        // would be borrowed for good. A second call costs nothing.
        while let Err(error) = self.content.fill_buf() {
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        let buffer = self.content.fill_buf()?;
        if let Some(unseen) = buffer.get(self.hashed..) {
            self.hasher.update(unseen);
            self.hashed = buffer.len();
        }
        Ok(buffer)
    }

    fn consume(&mut self, amount: usize) {
        self.content.consume(amount);
        self.hashed = self.hashed.saturating_sub(amount);
    }
}

fn failure(format: Format, error: io::Error) -> ExtractError {
    if is_source_error(&error) {
        ExtractError::Source(error)
    } else {
        ExtractError::Inflate { format, source: error }
    }
}
