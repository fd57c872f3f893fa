//! The spans in memory, in order, and which of them a helper takes next.

use std::collections::VecDeque;
use std::sync::Arc;

use super::input::Chunk;
use super::share::Permit;
use super::span::{Buffers, Decoded};

/// What it costs to decode a span, in what it costs to put a decoded one in place.
const DECODING: u64 = 4;

/// How far ahead of the reader, in the same measure, a span has to be for a helper: nearer ones the reader
/// reaches sooner than a helper would be done with them.
const LEAD: u64 = 3;

/// Most spans that are not offered to helpers after they were of no use.
const MAX_PAUSE: u32 = 16;

/// What is done about a span.
#[derive(Debug)]
pub(super) enum Work {
    /// The reader decodes it.
    Own,
    /// Nothing yet.
    Offered,
    /// A helper decodes it, and has found a block at that bit of the stream.
    Begun(Option<u64>),
    /// A helper has decoded it.
    Done(Box<Decoded>),
}

/// A span in memory.
#[derive(Debug)]
struct Slot {
    chunk: Arc<Chunk>,
    work: Work,
    _permit: Option<Permit>,
}

/// What the reader is to do at a block's beginning.
#[derive(Debug)]
pub(super) enum Turn {
    /// Decode it.
    Decode,
    /// Wait: a helper is about to have it.
    Wait,
    /// Take what a helper has decoded from here on.
    Take(Box<Decoded>),
}

/// The spans in memory; the reader is in the first one.
#[derive(Debug, Default)]
pub(super) struct Queue {
    slots: VecDeque<Slot>,
    /// The stream's bit where the reader is.
    position: u64,
    /// Spans in a row of which helpers made nothing that could be used.
    misses: u32,
    /// Spans to come that are not offered.
    pause: u32,
    /// Memory for the next ones.
    spare: Vec<Buffers>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Adds a span. The first one is the reader's own.
    pub(super) fn push(&mut self, chunk: Arc<Chunk>, permit: Option<Permit>) {
        let is_own = self.slots.is_empty() || self.pause > 0;
        self.pause = self.pause.saturating_sub(1);
        let work = if is_own { Work::Own } else { Work::Offered };
        self.slots.push_back(Slot { chunk, work, _permit: permit });
    }

    /// Ends with the first span; the next one, if there is one.
    pub(super) fn advance(&mut self) -> Option<Arc<Chunk>> {
        if let Some(slot) = self.slots.pop_front() {
            self.leave(slot.work, &slot.chunk);
        }
        self.front()
    }

    /// The first span.
    pub(super) fn front(&self) -> Option<Arc<Chunk>> {
        self.slots.front().map(|slot| Arc::clone(&slot.chunk))
    }

    /// Gives up what a helper made, or makes, of a span.
    fn leave(&mut self, work: Work, chunk: &Chunk) {
        chunk.forget();
        match work {
            Work::Own | Work::Offered => return,
            Work::Begun(_) => {}
            Work::Done(decoded) => self.spare.push(decoded.into_buffers()),
        }
        self.miss();
    }

    fn miss(&mut self) {
        self.misses = (self.misses + 1).min(MAX_PAUSE.ilog2());
        self.pause = 1 << self.misses;
    }

    /// What the reader does, who is at a block that begins at the bit `position` of the stream.
    pub(super) fn turn(&mut self, position: u64) -> Turn {
        self.position = position;
        let Some(slot) = self.slots.front_mut() else { return Turn::Decode };
        let start = match &slot.work {
            Work::Begun(start) => *start,
            Work::Done(decoded) => Some(decoded.start),
            Work::Own => return Turn::Decode,
            Work::Offered => {
                slot.work = Work::Own;
                return Turn::Decode;
            }
        };
        match start {
            Some(start) if start < position => {
                let work = std::mem::replace(&mut slot.work, Work::Own);
                let chunk = Arc::clone(&slot.chunk);
                self.leave(work, &chunk);
                Turn::Decode
            }
            Some(start) if start == position => {
                match std::mem::replace(&mut slot.work, Work::Own) {
                    Work::Done(decoded) => {
                        (self.misses, self.pause) = (0, 0);
                        Turn::Take(decoded)
                    }
                    begun => {
                        slot.work = begun;
                        Turn::Wait
                    }
                }
            }
            _ => Turn::Decode,
        }
    }

    /// The reader goes on from the bit `position` of the stream.
    pub(super) fn reach(&mut self, position: u64) {
        self.position = position;
    }

    /// Whether there is a span for a helper.
    pub(super) fn has_work(&self) -> bool {
        self.next_offered().is_some()
    }

    fn next_offered(&self) -> Option<usize> {
        let reading = &self.slots.front()?.chunk;
        let left = (reading.first_bit() + reading.own_bits()).saturating_sub(self.position);
        let mut lead = DECODING * left / reading.own_bits().max(1);
        for (at, slot) in self.slots.iter().enumerate().skip(1) {
            match slot.work {
                Work::Offered if lead >= LEAD => return Some(at),
                Work::Offered | Work::Own => lead += DECODING,
                Work::Begun(_) | Work::Done(_) => lead += 1,
            }
        }
        None
    }

    /// A span for a helper, and memory for it.
    pub(super) fn begin(&mut self) -> Option<(Arc<Chunk>, Buffers)> {
        let at = self.next_offered()?;
        let slot = self.slots.get_mut(at)?;
        slot.work = Work::Begun(None);
        Some((Arc::clone(&slot.chunk), self.spare.pop().unwrap_or_default()))
    }

    /// A helper has found a block in the span `number`, at the bit `start` of the stream.
    pub(super) fn found(&mut self, number: u64, start: u64) {
        if let Some(slot) = self.begun(number) {
            slot.work = Work::Begun(Some(start));
        }
    }

    /// A helper has ended with the span `number`.
    pub(super) fn end(&mut self, number: u64, outcome: Result<Decoded, Buffers>) {
        match (self.begun(number), outcome) {
            (Some(slot), Ok(decoded)) => slot.work = Work::Done(Box::new(decoded)),
            (Some(slot), Err(buffers)) => {
                slot.work = Work::Own;
                self.spare.push(buffers);
                self.miss();
            }
            (None, Ok(decoded)) => self.spare.push(decoded.into_buffers()),
            (None, Err(buffers)) => self.spare.push(buffers),
        }
    }

    fn begun(&mut self, number: u64) -> Option<&mut Slot> {
        let is_it =
            |slot: &&mut Slot| slot.chunk.number == number && matches!(slot.work, Work::Begun(_));
        self.slots.iter_mut().find(is_it)
    }

    /// Takes back the memory of a span.
    pub(super) fn recycle(&mut self, buffers: Buffers) {
        self.spare.push(buffers);
    }

    /// Gives everything up.
    pub(super) fn forget(&mut self) {
        self.slots.iter().for_each(|slot| slot.chunk.forget());
    }
}
