//! Buffers for inflated bytes, all of one length and used again by whichever layer needs one next.
//!
//! They are filled by one thread, read by two others, and let go by whichever is the last; each layer has
//! threads of its own.

use std::io::{self, Read};

use crate::sync::Pool;

/// Length of a buffer, in bytes: small enough that what was just inflated is still in the
/// second-level cache when it is hashed and written.
pub(super) const BUFFER_BYTES: usize = 256 * 1024;

/// Most buffers that are kept (4 MiB): those of one large layer, and of some small ones.
const MAX_SPARE: usize = 16;

/// Buffers that nobody uses at the moment.
static SPARE: Pool<Box<[u8]>> = Pool::keeping(MAX_SPARE);

/// A buffer with what was read into it; given back when it is dropped.
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    length: usize,
}

impl Buffer {
    /// Reads from `source` until the buffer is full, or as far as that goes; what came before an error is
    /// in it.
    pub(super) fn filled(source: &mut impl Read) -> (Self, io::Result<()>) {
        let bytes = SPARE.take().unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice());
        let mut buffer = Self { bytes, length: 0 };
        let result = buffer.fill(source);
        (buffer, result)
    }

    fn fill(&mut self, source: &mut impl Read) -> io::Result<()> {
        while let Some(rest) = self.bytes.get_mut(self.length..).filter(|rest| !rest.is_empty()) {
            match source.read(rest) {
                Ok(0) => break,
                Ok(amount) => self.length += amount,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the source went on as far as this at least.
    pub(super) fn is_full(&self) -> bool {
        self.length == self.bytes.len()
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        SPARE.give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_read_and_nothing_of_whoever_had_it_before() {
        drop(Buffer::filled(&mut io::repeat(7)));
        let (buffer, result) = Buffer::filled(&mut &b"news"[..]);
        assert!(result.is_ok() && !buffer.is_full());
        assert_eq!(buffer.as_ref(), b"news");
        let (buffer, result) = Buffer::filled(&mut io::repeat(8));
        assert!(result.is_ok() && buffer.is_full());
        assert!(*buffer.as_ref() == [8; BUFFER_BYTES]);
    }
}
