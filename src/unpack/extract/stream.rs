//! The uncompressed stream: hashed as it passes, handed on without copies.

use std::io::{self, BufRead, Cursor, Read};

use super::buffers::Buffer;
use super::error::ExtractError;
use super::pipeline::ReadAhead;
use crate::gzip::Threads;
use crate::oci::{Compression, DiffId, Hasher};
use crate::unpack::inflate::{Decoder, Format, is_source_error};

/// Uncompressed bytes on their way to the archive reader; every one of them goes into the diff ID. Its
/// errors carry an [`ExtractError`].
pub(crate) struct Stream {
    source: Source,
    format: Format,
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
    /// Decompresses `packed`, a layer declared as `compression`, with so many `threads`.
    ///
    /// # Errors
    /// [`ExtractError::Source`], [`ExtractError::Inflate`] or [`ExtractError::Thread`].
    pub(crate) fn open(
        packed: impl BufRead + Send + 'static,
        compression: Compression,
        threads: &Threads,
    ) -> Result<Self, ExtractError> {
        let mut decoder = Decoder::with_threads(packed, compression, threads)
            .map_err(|error| failure(Format::Plain, error))?;
        let format = decoder.format();
        if format == Format::Plain {
            return Ok(Self::over(Source::Direct(Direct::new(decoder.into_buffered())), format));
        }
        // Most images have layers so small that threads would take longer to start than to work.
        let (begin, result) = Buffer::filled(&mut decoder);
        result.map_err(|error| failure(format, error))?;
        let source = if begin.is_full() {
            let source = Cursor::new(begin).chain(decoder);
            Source::Ahead(ReadAhead::spawn(source).map_err(ExtractError::Thread)?)
        } else {
            Source::Direct(Direct::new(Box::new(Cursor::new(begin))))
        };
        Ok(Self::over(source, format))
    }

    fn over(source: Source, format: Format) -> Self {
        Self { source, format }
    }

    /// The digest of all bytes, once the end was reached.
    ///
    /// # Errors
    /// [`ExtractError::Thread`].
    pub(crate) fn digest(self) -> Result<DiffId, ExtractError> {
        match self.source {
            Source::Ahead(ahead) => ahead.digest().map_err(ExtractError::Thread),
            Source::Direct(direct) => Ok(DiffId(direct.hasher.finish())),
        }
    }
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let filled = match &mut self.source {
            Source::Ahead(ahead) => ahead.fill(),
            Source::Direct(direct) => direct.fill(),
        };
        filled.map_err(|error| io::Error::other(failure(self.format, error)))
    }

    fn consume(&mut self, amount: usize) {
        match &mut self.source {
            Source::Ahead(ahead) => ahead.consume(amount),
            Source::Direct(direct) => direct.consume(amount),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let amount = self.fill_buf()?.read(buffer)?;
        self.consume(amount);
        Ok(amount)
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
