//! Buffers that a blob's bytes wait in, all of one length and used again.
//!
//! They are filled by one thread and let go by others: made anew each time, with glibc's allocator, a pull
//! of eight layers took 57 MiB on two processors, and on sixteen, with as many threads as that gives, 110.

use std::sync::Arc;

use bytes::Bytes;

use crate::sync::Pool;

/// Length of a piece, in bytes (128 KiB).
const PIECE_BYTES: usize = 128 * 1024;

/// The buffers of a run that nobody uses at the moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pieces(Arc<Pool<Vec<u8>>>);

/// A buffer being filled, and then shared until the last of those who read it lets it go.
#[derive(Debug)]
pub(crate) struct Piece {
    buffer: Vec<u8>,
    /// How much of it was read already.
    read: usize,
    most: usize,
    spare: Pieces,
}

impl Pieces {
    /// An empty piece, for `expected` bytes or as many of them as a piece takes.
    pub(crate) fn take(&self, expected: u64) -> Piece {
        let most = usize::try_from(expected).map_or(PIECE_BYTES, |it| it.min(PIECE_BYTES));
        // Most blobs that fill none are smaller than a page or two.
        let buffer = match most == PIECE_BYTES {
            true => self.0.take().unwrap_or_else(|| Vec::with_capacity(PIECE_BYTES)),
            false => Vec::with_capacity(most),
        };
        Piece { buffer, read: 0, most, spare: self.clone() }
    }
}

impl Piece {
    /// Adds as many of `bytes` as it has room for, and returns how many those are.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.most - self.buffer.len());
        self.buffer.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        taken
    }

    pub(crate) fn is_full(&self) -> bool {
        self.buffer.len() == self.most
    }

    /// What was not read yet, for somebody who can't wait until it is full. It is a copy: whoever takes
    /// many small parts would otherwise keep as many pieces.
    pub(crate) fn read(&mut self) -> Bytes {
        let news = Bytes::copy_from_slice(self.buffer.get(self.read..).unwrap_or_default());
        self.read = self.buffer.len();
        news
    }

    /// What was not read yet, without a copy.
    pub(crate) fn freeze(self) -> Bytes {
        let read = self.read;
        Bytes::from_owner(self).slice(read..)
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.capacity() == PIECE_BYTES {
            buffer.clear();
            self.spare.0.give_back(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spare(pieces: &Pieces) -> usize {
        pieces.0.len()
    }

    #[test]
    fn a_piece_is_used_again_when_the_last_reader_lets_it_go() {
        let pieces = Pieces::default();
        let mut piece = pieces.take(u64::MAX);
        assert_eq!(piece.add(&[1; PIECE_BYTES + 1]), PIECE_BYTES);
        assert!(piece.is_full());
        let bytes = piece.freeze();
        let part = bytes.slice(7..9);
        drop(bytes);
        assert_eq!(spare(&pieces), 0);
        assert_eq!(&part[..], [1; 2]);
        drop(part);
        assert_eq!(spare(&pieces), 1);
        let again = pieces.take(u64::MAX);
        assert_eq!((again.as_ref().len(), spare(&pieces)), (0, 0));
    }

    #[test]
    fn what_was_read_before_is_not_read_again() {
        let mut piece = Pieces::default().take(6);
        assert_eq!(piece.add(b"ab"), 2);
        let begin = piece.read();
        assert_eq!((piece.add(b"cd"), piece.is_full()), (2, false));
        assert_eq!(
            (&begin[..], &piece.read()[..], &piece.read()[..]),
            (&b"ab"[..], &b"cd"[..], &b""[..])
        );
        assert_eq!((piece.add(b"efgh"), piece.is_full()), (2, true));
        assert_eq!(&piece.freeze()[..], b"ef");
    }

    #[test]
    fn a_piece_for_little_is_small_and_not_kept() {
        let pieces = Pieces::default();
        let piece = pieces.take(100);
        assert!(piece.buffer.capacity() < PIECE_BYTES);
        drop(piece);
        assert_eq!(spare(&pieces), 0);
    }
}
