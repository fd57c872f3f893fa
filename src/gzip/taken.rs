//! What a helper has decoded, on its way out: markers become the bytes they stand for.

use super::damage::Damage;
use super::span::{Buffers, Decoded, FIRST_MARKER};
use super::symbols::HISTORY;

/// As many as there are values of a symbol, so that every look finds something.
const SYMBOLS: usize = 1 << 16;

/// Blocks that a helper has decoded, of which the window before them is known.
#[derive(Debug)]
pub(super) struct Taken {
    decoded: Box<Decoded>,
    /// What each symbol stands for.
    bytes: Box<[u8; SYMBOLS]>,
    /// How much was read.
    read: usize,
    /// How much of the member is known, with what it has here.
    known: usize,
}

impl Taken {
    /// What was `decoded`, after a member's `history`, 32 KiB of it at most.
    ///
    /// # Errors
    /// [`Damage::Corrupt`] where something is of before the member.
    pub(super) fn new(decoded: Box<Decoded>, history: &[u8]) -> Result<Self, Damage> {
        let first = usize::from(FIRST_MARKER);
        let missing = HISTORY - history.len();
        let is_missing = |symbol: &u16| (first..first + missing).contains(&usize::from(*symbol));
        if missing > 0 && decoded.marked().iter().any(is_missing) {
            return Err(Damage::Corrupt);
        }
        let mut bytes = Box::new([0; SYMBOLS]);
        for (byte, value) in bytes.iter_mut().zip(0..=u8::MAX) {
            *byte = value;
        }
        bytes[first + missing..first + HISTORY].copy_from_slice(history);
        let known = history.len() + decoded.marked().len() + decoded.plain().len();
        Ok(Self { decoded, bytes, read: 0, known })
    }

    /// Hands over the next bytes; none at the end.
    pub(super) fn read(&mut self, into: &mut [u8]) -> usize {
        let (marked, plain) = (self.decoded.marked(), self.decoded.plain());
        let length = match marked.get(self.read..) {
            Some(symbols) if !symbols.is_empty() => {
                for (byte, &symbol) in into.iter_mut().zip(symbols) {
                    *byte = self.bytes[usize::from(symbol)];
                }
                symbols.len().min(into.len())
            }
            _ => {
                let rest = plain.get(self.read - marked.len()..).unwrap_or_default();
                let length = rest.len().min(into.len());
                into[..length].copy_from_slice(&rest[..length]);
                length
            }
        };
        self.read += length;
        length
    }

    /// What comes after it: the stream's bit, and whether the member's blocks end there.
    pub(super) fn end(&self) -> (u64, bool) {
        (self.decoded.end, self.decoded.is_final)
    }

    /// The last 32 KiB, how much of the member is known of it, and the memory.
    pub(super) fn finish(self) -> (Vec<u8>, usize, Buffers) {
        let history = self.decoded.history(|symbol| self.bytes[usize::from(symbol)]);
        (history, self.known, self.decoded.into_buffers())
    }
}
