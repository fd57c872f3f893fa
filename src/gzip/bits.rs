//! Bits of a slice, least significant first (RFC 1951 §3.1.1).

use super::damage::Damage;

/// A place in a slice, and the bits that were read ahead of it. The slice is handed to each call: it is
/// exchanged while a stream goes on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bits {
    /// The next bits, lowest first. Above `count` there may be more of them, or zeros.
    pub(super) word: u64,
    /// How many bits of `word` count.
    pub(super) count: u32,
    /// The byte that comes into `word` next.
    pub(super) next: usize,
}

/// Eight bytes from `at` on, which there have to be; zeros where there are not.
#[inline(always)]
pub(super) fn load(input: &[u8], at: usize) -> u64 {
    let bytes = input.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

impl Bits {
    /// The place `bit` bits from the beginning of `input`.
    pub(super) fn at(bit: u64, input: &[u8]) -> Self {
        let next = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        let mut bits = Self { word: 0, count: 0, next };
        bits.refill(input);
        bits.drop((bit % 8) as u32);
        bits
    }

    /// How many bits of the slice lie before this place.
    pub(super) fn position(&self) -> u64 {
        (self.next as u64 * 8).saturating_sub(u64::from(self.count))
    }

    /// Reads ahead: 56 bits at least, or all that are left.
    pub(super) fn refill(&mut self, input: &[u8]) {
        if self.next + 8 <= input.len() {
            self.word |= load(input, self.next) << self.count;
            self.next += (63 - self.count as usize) >> 3;
            self.count |= 56;
            return;
        }
        while self.count <= 56
            && let Some(&byte) = input.get(self.next)
        {
            self.word |= u64::from(byte) << self.count;
            self.next += 1;
            self.count += 8;
        }
    }

    /// Goes on by `count` bits, which were read ahead.
    pub(super) fn drop(&mut self, count: u32) {
        self.word >>= count.min(63);
        self.count = self.count.saturating_sub(count);
    }

    /// The next `count` bits, 32 at most.
    ///
    /// # Errors
    /// [`Damage::Short`].
    pub(super) fn take(&mut self, count: u32, input: &[u8]) -> Result<u32, Damage> {
        if self.count < count {
            self.refill(input);
        }
        if self.count < count {
            return Err(Damage::Short);
        }
        let taken = self.word & ((1 << count) - 1);
        self.drop(count);
        Ok(taken as u32)
    }

    /// Goes on to the next full byte, and forgets what was read ahead of it.
    pub(super) fn align(&mut self) {
        self.next -= (self.count / 8) as usize;
        (self.word, self.count) = (0, 0);
    }
}
