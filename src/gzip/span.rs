//! A span decoded by itself: from the first block that is found in it, without what comes before.
//!
//! What a match takes from before the block is not known. A marker stands for each such byte, and is
//! copied as bytes are; symbols have 16 bits therefore. Once there is no marker in as much as a match
//! reaches back, all that follows is bytes.

use super::bits::Bits;
use super::blocks::{Content, begin};
use super::codes::Tables;
use super::damage::Damage;
use super::input::Chunk;
use super::search::find_block;
use super::symbols::{HISTORY, Output, ROOM, Stop, decode};

/// The first marker. It stands for the first byte of the 32 KiB before the block.
pub(super) const FIRST_MARKER: u16 = 256;

/// Most symbols with markers of a span (2 Mi, which take 4 MiB). What a hostile span has beyond is left
/// to whoever gets there.
const MAX_MARKED: usize = 2 << 20;

/// Most bytes of a span that follow (4 MiB).
const MAX_PLAIN: usize = 4 << 20;

/// By how much both grow.
const GROWTH: usize = 256 << 10;

/// How often what was taken for a block may prove to be none.
const MAX_MISTAKES: u32 = 16;

/// Memory for a span that is used again and again.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    marked: Vec<u16>,
    plain: Vec<u8>,
}

/// Whole blocks, decoded.
#[derive(Debug)]
pub(super) struct Decoded {
    /// The stream's bit where the first one begins.
    pub(super) start: u64,
    /// The stream's bit after the last one.
    pub(super) end: u64,
    /// Whether the last one is its member's last one.
    pub(super) is_final: bool,
    buffers: Buffers,
    reached: Reached,
}

/// How much of the buffers is used. Both begin with what matches may reach back to.
#[derive(Debug, Clone, Copy)]
struct Reached {
    marked: usize,
    plain: usize,
}

impl Decoded {
    /// What may have markers.
    pub(super) fn marked(&self) -> &[u16] {
        &self.buffers.marked[HISTORY..self.reached.marked]
    }

    /// The bytes that follow.
    pub(super) fn plain(&self) -> &[u8] {
        self.buffers.plain.get(HISTORY..self.reached.plain).unwrap_or_default()
    }

    /// The last 32 KiB of what was decoded, and of what was before it where that is less; `byte_of` says
    /// what symbols stand for.
    pub(super) fn history(&self, byte_of: impl Fn(u16) -> u8) -> Vec<u8> {
        let Reached { marked, plain } = self.reached;
        match self.buffers.plain.get(plain.saturating_sub(HISTORY)..plain) {
            Some(history) if plain > 0 => history.to_vec(),
            _ => self.buffers.marked[marked - HISTORY..marked]
                .iter()
                .map(|&symbol| byte_of(symbol))
                .collect(),
        }
    }

    /// The memory, to be used again.
    pub(super) fn into_buffers(self) -> Buffers {
        self.buffers
    }
}

/// Decodes what is found in `chunk`; `found` is told the stream's bit where it begins as soon as that is
/// likely. The buffers come back where nothing was found.
pub(super) fn speculate(
    chunk: &Chunk,
    mut buffers: Buffers,
    tables: &mut Tables,
    found: &dyn Fn(u64),
) -> Result<Decoded, Buffers> {
    let mut from = 0;
    for _ in 0..MAX_MISTAKES {
        let found_at = find_block(&chunk.bytes, from, chunk.own_bits(), || chunk.is_unwanted());
        let Some(start) = found_at else { break };
        let mut run = Run::new(chunk, start, &mut buffers, tables);
        run.blocks(&|| found(chunk.first_bit() + start));
        let Run { end, is_final, reached, .. } = run;
        if end > start {
            let [start, end] = [start, end].map(|bit| chunk.first_bit() + bit);
            return Ok(Decoded { start, end, is_final, buffers, reached });
        }
        from = start + 1;
    }
    Err(buffers)
}

/// One attempt.
struct Run<'a> {
    chunk: &'a Chunk,
    buffers: &'a mut Buffers,
    tables: &'a mut Tables,
    bits: Bits,
    /// The bit after the last whole block.
    end: u64,
    is_final: bool,
    /// What there is of whole blocks.
    reached: Reached,
    /// What there is.
    at: Reached,
    /// How many symbols there were when they were last looked through for markers.
    seen: usize,
}

impl<'a> Run<'a> {
    fn new(chunk: &'a Chunk, start: u64, buffers: &'a mut Buffers, tables: &'a mut Tables) -> Self {
        let marked = &mut buffers.marked;
        if marked.len() < HISTORY + GROWTH {
            marked.resize(HISTORY + GROWTH, 0);
        }
        for (symbol, marker) in marked[..HISTORY].iter_mut().zip(FIRST_MARKER..) {
            *symbol = marker;
        }
        let at = Reached { marked: HISTORY, plain: 0 };
        let bits = Bits::at(start, &chunk.bytes);
        let (end, is_final) = (start, false);
        Self { chunk, buffers, tables, bits, end, is_final, reached: at, at, seen: HISTORY }
    }

    /// Decodes block after block, as long as they are whole.
    fn blocks(&mut self, found: &dyn Fn()) {
        let mut is_last = false;
        while !is_last && self.end < self.chunk.own_bits() && !self.chunk.is_unwanted() {
            let Ok(last) = self.block() else { return };
            let is_first = self.reached.marked == HISTORY;
            is_last = last;
            (self.end, self.is_final, self.reached) = (self.bits.position(), last, self.at);
            if is_first {
                found();
            }
            self.leave_markers();
        }
    }

    /// Decodes a block; whether it is the member's last one.
    fn block(&mut self) -> Result<bool, Damage> {
        let (is_last, content) = begin(&mut self.bits, &self.chunk.bytes, self.tables)?;
        match content {
            Content::Stored(length) => self.stored(length)?,
            Content::Coded => self.coded()?,
        }
        Ok(is_last)
    }

    fn coded(&mut self) -> Result<(), Damage> {
        loop {
            let input = &self.chunk.bytes;
            let Buffers { marked, plain } = &mut *self.buffers;
            let stop = match self.at.plain {
                0 => {
                    let at = &mut self.at.marked;
                    let mut output = Output { to: marked.as_mut_slice(), at, floor: 0 };
                    decode(&mut self.bits, input, self.tables, &mut output)?
                }
                _ => {
                    let at = &mut self.at.plain;
                    let mut output = Output { to: plain.as_mut_slice(), at, floor: 0 };
                    decode(&mut self.bits, input, self.tables, &mut output)?
                }
            };
            match stop {
                Stop::End => return Ok(()),
                Stop::Full => self.grow(ROOM)?,
                Stop::Low => return Err(Damage::Short),
            }
        }
    }

    fn stored(&mut self, length: usize) -> Result<(), Damage> {
        let from = self.bits.next;
        let piece = self.chunk.bytes.get(from..from + length).ok_or(Damage::Short)?;
        self.grow(length)?;
        let Buffers { marked, plain } = &mut *self.buffers;
        match self.at.plain {
            0 => {
                let room = &mut marked[self.at.marked..self.at.marked + length];
                room.iter_mut().zip(piece).for_each(|(to, &byte)| *to = u16::from(byte));
                self.at.marked += length;
            }
            at => {
                plain[at..at + length].copy_from_slice(piece);
                self.at.plain += length;
            }
        }
        self.bits = Bits { next: from + length, ..Bits::default() };
        Ok(())
    }

    /// Makes room for `more`, unless that is too much, or of no use any more.
    fn grow(&mut self, more: usize) -> Result<(), Damage> {
        let Buffers { marked, plain } = &mut *self.buffers;
        let (at, length, most) = match self.at.plain {
            0 => (self.at.marked, marked.len(), MAX_MARKED),
            at => (at, plain.len(), MAX_PLAIN),
        };
        if at + more <= length {
            return Ok(());
        }
        let wanted = length + more.max(GROWTH);
        if wanted > most + GROWTH || self.chunk.is_unwanted() {
            return Err(Damage::Short);
        }
        match self.at.plain {
            0 => marked.resize(wanted, 0),
            _ => plain.resize(wanted, 0),
        }
        Ok(())
    }

    /// Goes on with bytes, if there is no marker any more that a match could reach.
    fn leave_markers(&mut self) {
        let at = self.at.marked;
        if self.at.plain > 0 || at < self.seen + HISTORY / 2 {
            return;
        }
        self.seen = at;
        let history = &self.buffers.marked[at - HISTORY..at];
        // Without a branch, so that several are looked at together.
        if history.iter().fold(0, |all, &symbol| all | symbol) >= FIRST_MARKER {
            return;
        }
        let plain = &mut self.buffers.plain;
        if plain.len() < HISTORY + GROWTH {
            plain.resize(HISTORY + GROWTH, 0);
        }
        plain.iter_mut().zip(history).for_each(|(to, &symbol)| *to = symbol as u8);
        self.at.plain = HISTORY;
        self.reached.plain = HISTORY;
    }
}
