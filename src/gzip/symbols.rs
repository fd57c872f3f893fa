//! Symbols of a block into what they stand for: the same for bytes, and for what may point into an
//! unknown window.

use super::bits::{Bits, load};
use super::codes::{Entry, Tables};
use super::damage::Damage;

/// How far matches reach back at most (32 KiB).
pub(super) const HISTORY: usize = 32 << 10;

/// Room at the end of the output that a step may need: literals, the longest match, and what is copied
/// too much.
pub(super) const ROOM: usize = 288;

/// Input that a step may read, in bytes.
const AHEAD: usize = 16;

/// How much is copied at once, where matches reach further back, and otherwise.
const STRIDE: usize = 16;
const HALF_STRIDE: usize = 8;

/// Where symbols are written to.
pub(super) struct Output<'a, T> {
    /// What was written before, and room.
    pub(super) to: &'a mut [T],
    /// Where to go on.
    pub(super) at: &'a mut usize,
    /// How far back matches may reach.
    pub(super) floor: usize,
}

/// Why no more symbols were decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The block has ended.
    End,
    /// There is no room for more output.
    Full,
    /// There is less input than is read ahead; [`step`] takes what is left.
    Low,
}

/// Decodes as far as input and output go.
///
/// # Errors
/// [`Damage::Corrupt`].
pub(super) fn decode<T: Copy + From<u8>>(
    bits: &mut Bits,
    input: &[u8],
    tables: &Tables,
    output: &mut Output<'_, T>,
) -> Result<Stop, Damage> {
    let Output { to, at: place, floor } = output;
    let (to, floor) = (&mut **to, *floor);
    if bits.next + AHEAD > input.len() {
        return Ok(Stop::Low);
    }
    let mut at = **place;
    let mut ahead = Ahead { bits: *bits, input };
    ahead.refill();
    let mut entry = tables.literals.first(ahead.bits.word);
    let outcome = loop {
        if ahead.bits.next + AHEAD > input.len() {
            break Ok(Stop::Low);
        }
        let Some((past, rest)) = to.split_at_mut_checked(at) else { break Ok(Stop::Full) };
        let Some(room) = rest.first_chunk_mut::<ROOM>() else { break Ok(Stop::Full) };
        let (put, found) = ahead.literals(tables, room, entry);
        at += put;
        match found {
            Found::Literals => {}
            Found::Other(other) if other.is_special() => {
                ahead.skip(other);
                break if other.is_end() { Ok(Stop::End) } else { Err(Damage::Corrupt) };
            }
            Found::Other(other) => {
                let Some((length, distance)) = ahead.matched(tables, other) else {
                    break Err(Damage::Corrupt);
                };
                if distance > at - floor {
                    break Err(Damage::Corrupt);
                }
                ahead.refill();
                copy_near(past, room, put, (distance, length))
                    .unwrap_or_else(|| copy(to, at, distance, length));
                at += length;
                // The next look does not wait for the copy.
                entry = tables.literals.first(ahead.bits.word);
                continue;
            }
        }
        ahead.refill();
        entry = tables.literals.first(ahead.bits.word);
    };
    *bits = ahead.bits;
    **place = at;
    outcome
}

/// What comes after literals.
enum Found {
    /// Maybe more of them, after a refill.
    Literals,
    /// A length, or the block's end.
    Other(Entry),
}

/// Bits that are read ahead of, where there is enough input.
struct Ahead<'a> {
    bits: Bits,
    input: &'a [u8],
}

impl Ahead<'_> {
    #[inline(always)]
    fn refill(&mut self) {
        let Bits { word, count, next } = &mut self.bits;
        *word |= load(self.input, *next) << (*count & 63);
        *next += ((63 - *count) >> 3) as usize;
        *count |= 56;
    }

    #[inline(always)]
    fn skip(&mut self, entry: Entry) {
        self.bits.word >>= entry.bits();
        self.bits.count -= entry.bits();
    }

    /// Writes up to six literals to the beginning of `room`, and says how many. They take 33 bits, so that
    /// what comes next is there, too.
    #[inline(always)]
    fn literals<T: Copy + From<u8>>(
        &mut self,
        tables: &Tables,
        room: &mut [T; ROOM],
        mut entry: Entry,
    ) -> (usize, Found) {
        let mut put = 0;
        if entry.is_literal() {
            self.skip(entry);
            put = literals(room, 0, entry);
            entry = tables.literals.first(self.bits.word);
            if entry.is_literal() {
                self.skip(entry);
                put = literals(room, put, entry);
                entry = tables.literals.first(self.bits.word);
                if entry.is_literal() {
                    self.skip(entry);
                    return (literals(room, put, entry), Found::Literals);
                }
            }
        }
        if entry.is_special() {
            entry = tables.literals.second(entry, self.bits.word);
            if entry.is_literal() {
                self.skip(entry);
                return (literals(room, put, entry), Found::Literals);
            }
        }
        (put, Found::Other(entry))
    }

    /// The length that `entry` begins, and the distance behind it.
    #[inline(always)]
    fn matched(&mut self, tables: &Tables, entry: Entry) -> Option<(usize, usize)> {
        let length = entry.value(self.bits.word);
        self.skip(entry);
        self.refill();
        let mut entry = tables.distances.first(self.bits.word);
        if entry.is_special() {
            entry = tables.distances.second(entry, self.bits.word);
            if entry.is_special() {
                return None;
            }
        }
        let distance = entry.value(self.bits.word);
        self.skip(entry);
        Some((length, distance))
    }
}

/// Copies, after the first `put` of `room`, a short match that lies in what is `past`; most are such.
#[inline(always)]
fn copy_near<T: Copy>(
    past: &[T],
    room: &mut [T; ROOM],
    put: usize,
    (distance, length): (usize, usize),
) -> Option<()> {
    if length > STRIDE || distance < put + STRIDE {
        return None;
    }
    let from = past.len() + put - distance;
    let piece = past.get(from..).and_then(|piece| piece.first_chunk::<STRIDE>())?;
    *room.get_mut(put..)?.first_chunk_mut::<STRIDE>()? = *piece;
    Some(())
}

/// Writes one literal or two after the first `count`; how many there are then.
#[inline(always)]
fn literals<T: Copy + From<u8>>(room: &mut [T; ROOM], count: usize, entry: Entry) -> usize {
    if let Some(two) = room[count..].first_chunk_mut() {
        *two = entry.literals().map(T::from);
    }
    count + entry.literal_count()
}

/// Copies what is `distance` back; what follows it is overwritten, too.
#[inline(always)]
fn copy<T: Copy>(to: &mut [T], at: usize, distance: usize, length: usize) {
    let end = at + length;
    if distance >= STRIDE {
        strides::<T, STRIDE>(to, at, distance, end, STRIDE);
    } else if distance > 1 {
        // As much as is known is right each time; the rest is overwritten by the next time.
        strides::<T, HALF_STRIDE>(to, at, distance, end, distance.min(HALF_STRIDE));
    } else if let Some(&value) = to.get(at - distance) {
        let mut at = at;
        while at < end {
            if let Some(room) = to.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
                *room = [value; STRIDE];
            }
            at += STRIDE;
        }
    }
}

/// Copies `SIZE` at once, and goes on by `advance`.
#[inline(always)]
fn strides<T: Copy, const SIZE: usize>(
    to: &mut [T],
    mut at: usize,
    distance: usize,
    end: usize,
    advance: usize,
) {
    loop {
        let from = at - distance;
        let Some(piece) = to.get(from..from + SIZE).and_then(|piece| piece.first_chunk::<SIZE>())
        else {
            return;
        };
        let piece = *piece;
        let Some(room) = to.get_mut(at..at + SIZE) else { return };
        room.copy_from_slice(&piece);
        at += advance;
        if at >= end {
            return;
        }
    }
}

/// Decodes one symbol where there is little input left.
///
/// # Errors
/// [`Damage::Short`] where there is not enough, [`Damage::Corrupt`].
pub(super) fn step<T: Copy + From<u8>>(
    bits: &mut Bits,
    input: &[u8],
    tables: &Tables,
    output: &mut Output<'_, T>,
) -> Result<Stop, Damage> {
    let Output { to, at, floor } = output;
    let Some(room) = to.get_mut(**at..).and_then(|rest| rest.first_chunk_mut::<ROOM>()) else {
        return Ok(Stop::Full);
    };
    bits.refill(input);
    let entry = tables.literals.first(bits.word);
    let entry = tables.literals.second(entry, bits.word);
    // Where two literals are too many, the block's end and the trailer are missing at least.
    if bits.count < entry.bits() {
        return Err(Damage::Short);
    }
    if entry.is_literal() {
        bits.drop(entry.bits());
        **at += literals(room, 0, entry);
        return Ok(Stop::Low);
    }
    if entry.is_special() {
        bits.drop(entry.bits());
        return if entry.is_end() { Ok(Stop::End) } else { Err(Damage::Corrupt) };
    }
    let length = entry.value(bits.word);
    bits.drop(entry.bits());
    bits.refill(input);
    let entry = tables.distances.first(bits.word);
    let entry = tables.distances.second(entry, bits.word);
    if bits.count < entry.bits() {
        return Err(Damage::Short);
    }
    let distance = entry.value(bits.word);
    bits.drop(entry.bits());
    if entry.is_special() || distance > **at - *floor {
        return Err(Damage::Corrupt);
    }
    copy(to, **at, distance, length);
    **at += length;
    Ok(Stop::Low)
}
