//! The decoder: members, blocks, and who decodes them.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use super::bits::Bits;
use super::blocks::{Content, begin};
use super::codes::Tables;
use super::crew::Crew;
use super::damage::Damage;
use super::input::{Chunk, Input};
use super::member;
use super::share::{Share, Threads};
use super::symbols::{Stop, decode, step};
use super::taken::Taken;
use super::window::Window;

/// Where in a stream the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// At a member's header.
    Header,
    /// At a block's header.
    Block,
    /// In a block of symbols.
    Symbols,
    /// In a block of so many bytes yet.
    Stored(usize),
    /// At a member's trailer.
    Trailer,
    /// At the end.
    End,
    /// Where nothing more can be decoded.
    Failed,
}

/// Who has decoded how much, in bytes; and how many spans helpers have decoded.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// What the reader has decoded by itself.
    pub own_bytes: u64,
    /// What helpers have decoded.
    pub helped_bytes: u64,
    /// Spans that were taken from helpers.
    pub taken_spans: u64,
    /// All spans.
    pub spans: u64,
}

/// A gzip stream being decoded: members until the end of the source, and nothing else (RFC 1952).
///
/// What is read is what one thread would have decoded, and an error comes where it would have come.
/// Dropping it ends all threads.
#[derive(Debug)]
pub struct Decoder<R> {
    // Before the input, so that helpers have ended when that is dropped.
    pub(super) crew: Crew,
    input: Input<R>,
    ahead: usize,
    share: Option<Share>,
    chunk: Arc<Chunk>,
    bits: Bits,
    tables: Box<Tables>,
    window: Window,
    stage: Stage,
    /// Whether the block is its member's last one.
    is_final: bool,
    taken: Option<Taken>,
    failure: Option<io::Error>,
    counts: Counts,
}

impl<R: BufRead> Decoder<R> {
    /// Decodes `source` with so many `threads`. Nothing is read yet.
    pub fn new(source: R, threads: &Threads) -> Self {
        let crew = Crew::new(threads.count() - 1);
        Self::with_crew(source, threads, crew)
    }

    pub(super) fn with_crew(source: R, threads: &Threads, crew: Crew) -> Self {
        Self {
            crew,
            input: Input::new(source, threads.span_bytes),
            ahead: threads.spans_ahead(),
            share: threads.share.clone(),
            chunk: Arc::new(Chunk::none()),
            bits: Bits::default(),
            tables: Tables::empty(),
            window: Window::new(),
            stage: Stage::Header,
            is_final: false,
            taken: None,
            failure: None,
            counts: Counts::default(),
        }
    }

    /// Who has decoded how much so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Decodes until there is something to be taken, or the end.
    fn advance(&mut self) -> io::Result<()> {
        self.window.slide();
        loop {
            match self.stage {
                Stage::Header => self.header()?,
                Stage::Block => {
                    if self.block()? {
                        return Ok(());
                    }
                }
                Stage::Symbols => match self.symbols()? {
                    Stop::End => self.end_block(),
                    Stop::Full => return Ok(()),
                    Stop::Low => {}
                },
                Stage::Stored(0) => self.end_block(),
                Stage::Stored(left) => {
                    self.settle();
                    let rest = self.chunk.bytes.get(self.bits.next..).unwrap_or_default();
                    let there = &rest[..rest.len().min(left)];
                    if there.is_empty() {
                        return Err(self.short());
                    }
                    let length = self.window.store(there);
                    self.bits.next += length;
                    self.stage = Stage::Stored(left - length);
                    if length == 0 {
                        return Ok(());
                    }
                }
                Stage::Trailer => self.trailer()?,
                Stage::End => return Ok(()),
                Stage::Failed => return Err(io::Error::other("the stream has failed before")),
            }
        }
    }

    fn header(&mut self) -> io::Result<()> {
        let mut bytes = || self.byte();
        member::skip_header(&mut bytes)?;
        self.window.begin();
        self.stage = Stage::Block;
        Ok(())
    }

    /// Begins with a block, or takes what somebody else made of it and what follows: then it is `true`.
    fn block(&mut self) -> io::Result<bool> {
        self.settle();
        let position = self.chunk.first_bit() + self.bits.position();
        if let Some(decoded) = self.crew.at(position)? {
            self.window.sum();
            self.taken = Some(Taken::new(decoded, self.window.history())?);
            self.counts.taken_spans += 1;
            return Ok(true);
        }
        let begun = begin(&mut self.bits, &self.chunk.bytes, &mut self.tables);
        let (is_final, content) = begun.map_err(|damage| self.failed(damage))?;
        self.is_final = is_final;
        self.stage = match content {
            Content::Stored(length) => Stage::Stored(length),
            Content::Coded => Stage::Symbols,
        };
        Ok(false)
    }

    fn symbols(&mut self) -> io::Result<Stop> {
        let (bits, input, tables) = (&mut self.bits, &self.chunk.bytes, &self.tables);
        let mut output = self.window.output();
        let decoded = decode(bits, input, tables, &mut output);
        let decoded = match decoded {
            Ok(Stop::Low) if self.chunk.is_last => step(bits, input, tables, &mut output),
            other => other,
        };
        let stop = decoded.map_err(|damage| self.failed(damage))?;
        if stop == Stop::Low {
            self.settle();
        }
        Ok(stop)
    }

    fn end_block(&mut self) {
        self.stage = if self.is_final { Stage::Trailer } else { Stage::Block };
    }

    fn trailer(&mut self) -> io::Result<()> {
        self.window.sum();
        self.bits.align();
        let mut trailer = [0; 8];
        for byte in &mut trailer {
            *byte = self.byte()?;
        }
        let [a, b, c, d, e, f, g, h] = trailer;
        let trailer = [[a, b, c, d], [e, f, g, h]].map(u32::from_le_bytes);
        if !self.window.fits(trailer) {
            return Err(Damage::Checksum.into());
        }
        self.settle();
        let is_end = self.bits.position() >= self.chunk.bytes.len() as u64 * 8;
        self.stage = match is_end.then(|| self.input.failure()) {
            None => Stage::Header,
            Some(None) => Stage::End,
            Some(Some(failure)) => return Err(failure),
        };
        Ok(())
    }

    /// The next byte; the place is at one's beginning.
    fn byte(&mut self) -> io::Result<u8> {
        self.settle();
        let byte = self.bits.take(8, &self.chunk.bytes);
        byte.map(|byte| byte as u8).map_err(|damage| self.failed(damage))
    }

    fn failed(&mut self, damage: Damage) -> io::Error {
        match damage {
            Damage::Short => self.short(),
            other => other.into(),
        }
    }

    /// Why there is no more input.
    fn short(&mut self) -> io::Error {
        self.input.failure().unwrap_or_else(|| Damage::Short.into())
    }

    /// Goes over to the span in which the place is.
    fn settle(&mut self) {
        while !self.chunk.is_last && self.bits.position() >= self.chunk.own_bits() {
            let mut next = self.crew.advance();
            self.read_ahead();
            next = next.or_else(|| self.crew.front());
            let Some(next) = next else { return };
            self.bits.next -= self.chunk.own;
            self.chunk = next;
            self.counts.spans += 1;
        }
    }

    /// Reads as many spans as there is memory for; one in any case.
    fn read_ahead(&mut self) {
        loop {
            let spans = self.crew.spans();
            if spans > self.ahead {
                return;
            }
            let permit = match &self.share {
                Some(share) if spans > 0 => match share.take() {
                    Some(permit) => Some(permit),
                    None => return,
                },
                _ => None,
            };
            let Some(chunk) = self.input.next() else { return };
            self.crew.push(chunk, permit);
        }
    }

    /// Goes on after what was taken.
    fn leave(&mut self, taken: Taken) {
        let (end, is_final) = taken.end();
        let (history, known, buffers) = taken.finish();
        self.window.set(&history, known);
        self.crew.recycle(buffers);
        self.bits = Bits::at(end - self.chunk.first_bit(), &self.chunk.bytes);
        self.is_final = is_final;
        self.end_block();
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            let length = self.window.read(into);
            if length > 0 {
                self.counts.own_bytes += length as u64;
                return Ok(length);
            }
            if let Some(mut taken) = self.taken.take() {
                let length = taken.read(into);
                if length == 0 {
                    self.leave(taken);
                    continue;
                }
                self.taken = Some(taken);
                self.window.add(&into[..length]);
                self.counts.helped_bytes += length as u64;
                return Ok(length);
            }
            match self.failure.take() {
                Some(failure) => return Err(failure),
                None if self.stage == Stage::End => return Ok(0),
                None => {}
            }
            let outcome = self.advance();
            self.window.sum();
            if let Err(failure) = outcome {
                // What was decoded before it comes first.
                (self.failure, self.stage) = (Some(failure), Stage::Failed);
            }
        }
    }
}
