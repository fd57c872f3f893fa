//! Huffman codes as tables in which one look finds a symbol, or two literals (RFC 1951 §3.2.2).

use super::damage::Damage;

/// Longest code, in bits.
const MAX_BITS: usize = 15;

/// Most symbols of one code.
const MAX_SYMBOLS: usize = 288;

/// Bits of the first look for literals and lengths.
const LITERAL_ROOT: u32 = 10;

/// Bits of the first look for distances.
const DISTANCE_ROOT: u32 = 8;

/// What a table has at an index.
///
/// | bits | |
/// |---|---|
/// | 0–5 | bits to go on by: the code and what belongs to it, or both literals' codes |
/// | 6 | a literal, or two |
/// | 7 | neither a literal nor a length or distance |
/// | 8–11 | bits of the code alone; of a subtable, those of its index |
/// | 12–13 | how many literals; otherwise one of the three things that bit 7 may mean |
/// | 16–31 | the literals, the least length or distance, or where the subtable begins |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry(u32);

const LITERAL: u32 = 1 << 6;
const SPECIAL: u32 = 1 << 7;
const KIND: u32 = 3 << 12;
const END: u32 = SPECIAL | 1 << 12;
const INVALID: Entry = Entry(SPECIAL | 2 << 12);
const SUBTABLE: u32 = SPECIAL | 3 << 12;

impl Entry {
    /// Bits to go on by.
    #[inline(always)]
    pub(super) fn bits(self) -> u32 {
        self.0 & 63
    }

    #[inline(always)]
    pub(super) fn is_literal(self) -> bool {
        self.0 & LITERAL != 0
    }

    #[inline(always)]
    pub(super) fn is_special(self) -> bool {
        self.0 & SPECIAL != 0
    }

    /// Whether it ends the block; otherwise a special one is invalid, once it was looked for.
    #[inline(always)]
    pub(super) fn is_end(self) -> bool {
        self.0 & (SPECIAL | KIND) == END
    }

    /// Both literals; the second one counts where there are two.
    #[inline(always)]
    pub(super) fn literals(self) -> [u8; 2] {
        [(self.0 >> 16) as u8, (self.0 >> 24) as u8]
    }

    /// How many literals there are.
    #[inline(always)]
    pub(super) fn literal_count(self) -> usize {
        (self.0 as usize & KIND as usize) >> 12
    }

    /// The length or distance, of which `word` begins with the code.
    #[inline(always)]
    pub(super) fn value(self, word: u64) -> usize {
        let extra = (word & ((1 << self.bits()) - 1)) >> (self.0 >> 8 & 15);
        (self.0 >> 16) as usize + extra as usize
    }
}

/// A code: a table for the first `ROOT` bits, and behind it those for longer codes. `SIZE` is a power of
/// two that no code comes up to: 2,342 entries for literals and lengths, and 594 for distances.
#[derive(Debug)]
pub(super) struct Table<const ROOT: u32, const SIZE: usize>([Entry; SIZE]);

impl<const ROOT: u32, const SIZE: usize> Table<ROOT, SIZE> {
    /// What the first bits of `word` stand for, as far as one look tells.
    #[inline(always)]
    pub(super) fn first(&self, word: u64) -> Entry {
        self.0[word as usize & ((1 << ROOT) - 1) & (SIZE - 1)]
    }

    /// What the first bits of `word` stand for, if the first look found `entry`, a special one.
    #[inline(always)]
    pub(super) fn second(&self, entry: Entry, word: u64) -> Entry {
        if entry.0 & (SPECIAL | KIND) != SUBTABLE {
            return entry;
        }
        let within = (word >> ROOT) as usize & ((1 << (entry.0 >> 8 & 15)) - 1);
        self.0[((entry.0 >> 16) as usize + within) & (SIZE - 1)]
    }

    /// Fills the table for symbols whose codes are so many bits long; `entry_of` says what each means,
    /// and how many bits belong to it besides the code.
    ///
    /// # Errors
    /// [`Damage::Corrupt`] for a code that has too many symbols, or too few; one symbol alone, and none,
    /// are taken as zlib takes them.
    fn fill(&mut self, lengths: &[u8], entry_of: impl Fn(usize) -> Entry) -> Result<(), Damage> {
        let mut counts = counts(lengths);
        let longest = check(&counts)?;
        self.0[..1 << ROOT].fill(INVALID);
        let mut sorted = [0_u16; MAX_SYMBOLS];
        let symbols = sort(lengths, &counts, &mut sorted);
        let (mut code, mut last_bits) = (0_u32, 0);
        // The subtable that is being filled: where it begins, and for which first bits.
        let (mut subtable, mut prefix, mut free) = (0, usize::MAX, 1 << ROOT);
        for &symbol in symbols {
            let bits = usize::from(lengths[usize::from(symbol)]);
            code <<= bits - last_bits;
            last_bits = bits;
            let reversed = (code.reverse_bits() >> (32 - bits)) as usize;
            code += 1;
            let Entry(entry) = entry_of(usize::from(symbol));
            let entry = Entry(entry + bits as u32 + ((bits as u32) << 8));
            if bits <= ROOT as usize {
                for at in (reversed..1 << ROOT).step_by(1 << bits) {
                    self.0[at] = entry;
                }
            } else {
                if reversed & ((1 << ROOT) - 1) != prefix {
                    prefix = reversed & ((1 << ROOT) - 1);
                    let index_bits = subtable_bits(bits, ROOT as usize, longest, &counts);
                    (subtable, free) = (free, free + (1 << index_bits));
                    if free > SIZE {
                        return Err(Damage::Corrupt);
                    }
                    self.0[prefix] = Entry(SUBTABLE | index_bits << 8 | (subtable as u32) << 16);
                }
                for at in ((reversed >> ROOT)..free - subtable).step_by(1 << (bits - ROOT as usize))
                {
                    self.0[subtable + at] = entry;
                }
            }
            counts[bits] -= 1;
        }
        Ok(())
    }

    /// Has one look find two literals where both codes are short enough.
    fn pair(&mut self) {
        // From the end, so that what stands for the second one is single yet.
        for at in (0..1_usize << ROOT).rev() {
            let first = self.0[at];
            if !first.is_literal() {
                continue;
            }
            let second = self.0[at >> first.bits()];
            if second.is_literal() && first.bits() + second.bits() <= ROOT {
                let literals =
                    u32::from(first.literals()[0]) | u32::from(second.literals()[0]) << 8;
                let bits = first.bits() + second.bits();
                self.0[at] = Entry(LITERAL | 2 << 12 | bits | literals << 16);
            }
        }
    }
}

/// How many codes have each length.
fn counts(lengths: &[u8]) -> [u16; MAX_BITS + 1] {
    let mut counts = [0; MAX_BITS + 1];
    for &length in lengths {
        counts[usize::from(length) & MAX_BITS] += 1;
    }
    counts[0] = 0;
    counts
}

/// The longest code, of a code that is complete, or has one symbol at most.
fn check(counts: &[u16; MAX_BITS + 1]) -> Result<usize, Damage> {
    let longest = (1..=MAX_BITS).rev().find(|&bits| counts[bits] > 0).unwrap_or(0);
    let free = counts.iter().skip(1).try_fold(1_i32, |free, &count| {
        let free = free * 2 - i32::from(count);
        (free >= 0).then_some(free)
    });
    match free {
        Some(0) => Ok(longest),
        Some(_) if longest <= 1 => Ok(longest),
        _ => Err(Damage::Corrupt),
    }
}

/// Whether there is a code whose symbols have these lengths.
pub(super) fn is_code(lengths: &[u8]) -> bool {
    check(&counts(lengths)).is_ok()
}

/// The symbols that have a code, in the order of their codes.
fn sort<'a>(
    lengths: &[u8],
    counts: &[u16; MAX_BITS + 1],
    sorted: &'a mut [u16; MAX_SYMBOLS],
) -> &'a [u16] {
    let mut places = [0; MAX_BITS + 2];
    for bits in 1..=MAX_BITS {
        places[bits + 1] = places[bits] + usize::from(counts[bits]);
    }
    for (symbol, &bits) in lengths.iter().enumerate().filter(|(_, bits)| **bits > 0) {
        let place = &mut places[usize::from(bits)];
        sorted[*place] = symbol as u16;
        *place += 1;
    }
    &sorted[..places[MAX_BITS]]
}

/// Bits of the index of a subtable whose first code is `bits` long; `counts` are those of the codes that
/// have no place yet.
fn subtable_bits(bits: usize, root: usize, longest: usize, counts: &[u16; MAX_BITS + 1]) -> u32 {
    let mut index_bits = bits - root;
    let mut free = 1_i32 << index_bits;
    while root + index_bits < longest {
        free -= i32::from(counts[root + index_bits]);
        if free <= 0 {
            break;
        }
        index_bits += 1;
        free *= 2;
    }
    index_bits as u32
}

/// What a symbol for a length or distance means: the least, and the bits that are added to it.
fn ranged(least: usize, extra: usize) -> Entry {
    Entry((least as u32) << 16 | extra as u32)
}

/// RFC 1951 §3.2.5.
fn literal_or_length(symbol: usize) -> Entry {
    match symbol {
        0..256 => Entry(LITERAL | 1 << 12 | (symbol as u32) << 16),
        256 => Entry(END),
        257..265 => ranged(symbol - 254, 0),
        265..285 => {
            let extra = (symbol - 261) / 4;
            ranged(3 + ((4 + (symbol - 257) % 4) << extra), extra)
        }
        285 => ranged(258, 0),
        _ => INVALID,
    }
}

/// RFC 1951 §3.2.5.
fn distance(symbol: usize) -> Entry {
    match symbol {
        0..2 => ranged(symbol + 1, 0),
        2..30 => {
            let extra = (symbol - 2) / 2;
            ranged(1 + ((2 + symbol % 2) << extra), extra)
        }
        _ => INVALID,
    }
}

/// Both codes of a block.
#[derive(Debug)]
pub(super) struct Tables {
    /// Literals, lengths and the block's end.
    pub(super) literals: Table<LITERAL_ROOT, 4096>,
    pub(super) distances: Table<DISTANCE_ROOT, 1024>,
    /// Whether they are those of fixed blocks.
    is_fixed: bool,
}

impl Tables {
    /// Tables without a symbol.
    pub(super) fn empty() -> Box<Self> {
        Box::new(Self {
            literals: Table([INVALID; 4096]),
            distances: Table([INVALID; 1024]),
            is_fixed: false,
        })
    }

    /// Takes the codes whose lengths a block has told.
    ///
    /// # Errors
    /// [`Damage::Corrupt`].
    pub(super) fn set(&mut self, literals: &[u8], distances: &[u8]) -> Result<(), Damage> {
        self.is_fixed = false;
        self.literals.fill(literals, literal_or_length)?;
        self.literals.pair();
        self.distances.fill(distances, distance)
    }

    /// Takes the codes of fixed blocks (RFC 1951 §3.2.6).
    ///
    /// # Errors
    /// None.
    pub(super) fn set_fixed(&mut self) -> Result<(), Damage> {
        if self.is_fixed {
            return Ok(());
        }
        let mut literals = [8; 288];
        literals[144..256].fill(9);
        literals[256..280].fill(7);
        self.set(&literals, &[5; 32])?;
        self.is_fixed = true;
        Ok(())
    }
}
