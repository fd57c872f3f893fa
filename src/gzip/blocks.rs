//! What stands at the beginning of a block (RFC 1951 §3.2.3).

use super::bits::Bits;
use super::codes::{Tables, is_code};
use super::damage::Damage;

/// Most symbols for literals and lengths, and for distances, that a block may tell codes of; as in zlib.
const MAX_LITERALS: usize = 286;
const MAX_DISTANCES: usize = 30;

/// Order in which the lengths of the lengths' own codes come.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// The symbol that ends a block.
const END: usize = 256;

/// What comes after a block's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// So many bytes as they are.
    Stored(usize),
    /// Symbols, by the tables that were set.
    Coded,
}

/// Reads a block's header; answers also whether it is the last block.
///
/// # Errors
/// [`Damage`].
pub(super) fn begin(
    bits: &mut Bits,
    input: &[u8],
    tables: &mut Tables,
) -> Result<(bool, Content), Damage> {
    let is_final = bits.take(1, input)? == 1;
    let content = match bits.take(2, input)? {
        0 => {
            bits.align();
            let length = bits.take(16, input)?;
            if length ^ bits.take(16, input)? != 0xffff {
                return Err(Damage::Corrupt);
            }
            bits.align();
            Content::Stored(length as usize)
        }
        1 => {
            tables.set_fixed()?;
            Content::Coded
        }
        2 => {
            let lengths = Lengths::read(bits, input)?;
            tables.set(lengths.literals(), lengths.distances())?;
            Content::Coded
        }
        _ => return Err(Damage::Corrupt),
    };
    Ok((is_final, content))
}

/// The lengths of a block's codes (RFC 1951 §3.2.7).
#[derive(Debug)]
pub(super) struct Lengths {
    all: [u8; MAX_LITERALS + MAX_DISTANCES],
    literals: usize,
    distances: usize,
}

impl Lengths {
    /// Reads what follows the block's type.
    ///
    /// # Errors
    /// [`Damage`].
    pub(super) fn read(bits: &mut Bits, input: &[u8]) -> Result<Self, Damage> {
        let literals = bits.take(5, input)? as usize + 257;
        let distances = bits.take(5, input)? as usize + 1;
        let count = bits.take(4, input)? as usize + 4;
        if literals > MAX_LITERALS || distances > MAX_DISTANCES {
            return Err(Damage::Corrupt);
        }
        let mut own = [0; 19];
        for &symbol in ORDER.iter().take(count) {
            own[symbol] = bits.take(3, input)? as u8;
        }
        let table = own_table(&own)?;
        let mut lengths = Self { all: [0; MAX_LITERALS + MAX_DISTANCES], literals, distances };
        lengths.fill(&table, bits, input)?;
        match lengths.all[END] {
            0 => Err(Damage::Corrupt),
            _ => Ok(lengths),
        }
    }

    fn fill(&mut self, table: &[u8; 128], bits: &mut Bits, input: &[u8]) -> Result<(), Damage> {
        let total = self.literals + self.distances;
        let mut at = 0;
        while at < total {
            if bits.count < 14 {
                bits.refill(input);
            }
            let entry = table[bits.word as usize & 127];
            bits.take(u32::from(entry >> 5), input)?;
            let (value, times) = match entry & 31 {
                16 if at == 0 => return Err(Damage::Corrupt),
                16 => (self.all[at - 1], 3 + bits.take(2, input)?),
                17 => (0, 3 + bits.take(3, input)?),
                18 => (0, 11 + bits.take(7, input)?),
                length => (length, 1),
            };
            let end = at + times as usize;
            if end > total {
                return Err(Damage::Corrupt);
            }
            self.all[at..end].fill(value);
            at = end;
        }
        Ok(())
    }

    pub(super) fn literals(&self) -> &[u8] {
        &self.all[..self.literals]
    }

    pub(super) fn distances(&self) -> &[u8] {
        &self.all[self.literals..self.literals + self.distances]
    }

    /// Whether both are codes that a block can have.
    pub(super) fn are_codes(&self) -> bool {
        is_code(self.literals()) && is_code(self.distances())
    }
}

/// A table of the code that the lengths themselves are written in: a symbol, and above it the bits of its
/// code. That code has to be complete.
fn own_table(lengths: &[u8; 19]) -> Result<[u8; 128], Damage> {
    let used: u32 = lengths.iter().filter(|&&bits| bits > 0).map(|&bits| 128_u32 >> bits).sum();
    if used != 128 {
        return Err(Damage::Corrupt);
    }
    let mut table = [0; 128];
    let mut code = 0_u8;
    for bits in 1..=7_u8 {
        for (symbol, _) in lengths.iter().enumerate().filter(|(_, own)| **own == bits) {
            // Codes are counted in units of the longest one, and begin with their highest bit.
            let first = usize::from(code.reverse_bits() >> 1);
            for at in (first..128).step_by(1 << bits) {
                table[at] = bits << 5 | symbol as u8;
            }
            code = code.wrapping_add(128 >> bits);
        }
    }
    Ok(table)
}
