//! Where in the middle of a stream a block may begin.
//!
//! Only blocks that tell codes of their own are found: their header has so much to it that what looks
//! like one hardly ever is none. Who decodes from there finds out.

use super::bits::{Bits, load};
use super::blocks::Lengths;

/// Bits before the lengths of the lengths' own codes: last block or not, type, and three counts.
const FIXED_BITS: u32 = 17;

/// Not the last block, and one with codes of its own.
const KIND: u64 = 0b100;

/// What two code lengths, of three bits each, take of all codes, of which there are 128.
const SHARES: [u8; 64] = {
    let mut shares = [0; 64];
    let mut pair = 0;
    while pair < 64 {
        let (low, high) = (pair & 7, pair >> 3);
        let low = if low == 0 { 0 } else { 128 >> low };
        let high = if high == 0 { 0 } else { 128 >> high };
        shares[pair] = low + high;
        pair += 1;
    }
    shares
};

/// The first bit of `input`, `from` or later and before `end`, where a block may begin. Gives up where
/// `is_unwanted` says so, which is asked now and then.
pub(super) fn find_block(
    input: &[u8],
    from: u64,
    end: u64,
    is_unwanted: impl Fn() -> bool,
) -> Option<u64> {
    let mut at = from;
    while at < end {
        if at.is_multiple_of(1 << 15) && is_unwanted() {
            return None;
        }
        let byte = (at / 8) as usize;
        // A block's header is longer.
        if byte + 16 > input.len() {
            return None;
        }
        let word = load(input, byte);
        for bit in (at % 8) as u32..8 {
            let word = word >> bit;
            if word & 7 == KIND && may_begin(word, input, byte, bit) {
                let start = byte as u64 * 8 + u64::from(bit);
                if start < end && is_header(input, start) {
                    return Some(start);
                }
            }
        }
        at = (byte as u64 + 1) * 8;
    }
    None
}

/// Whether counts are in range, and the lengths' own code is complete.
#[inline(always)]
fn may_begin(word: u64, input: &[u8], byte: usize, bit: u32) -> bool {
    if word >> 3 & 31 > 29 || word >> 8 & 31 > 29 {
        return false;
    }
    let count = (word >> 13 & 15) as u32 + 4;
    let skipped = bit + FIXED_BITS;
    let mut lengths = load(input, byte + (skipped / 8) as usize) >> (skipped % 8);
    lengths &= (1 << (count * 3)) - 1;
    let mut used = 0;
    while lengths != 0 {
        used += u32::from(SHARES[lengths as usize & 63]);
        lengths >>= 6;
    }
    used == 128
}

/// Whether all of the header is right.
fn is_header(input: &[u8], start: u64) -> bool {
    let mut bits = Bits::at(start + 3, input);
    Lengths::read(&mut bits, input).is_ok_and(|lengths| lengths.are_codes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_nothing_in_what_is_too_short() {
        for length in 0..20 {
            assert_eq!(find_block(&vec![0x04; length], 0, 1000, || false), None);
        }
    }
}
