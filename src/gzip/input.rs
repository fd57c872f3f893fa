//! The compressed stream in pieces that several threads may read.

use std::io::{self, BufRead};
use std::sync::atomic::{AtomicBool, Ordering};

/// Least that a span overlaps the next one, in bytes. No block's header, nor what one look reads ahead, is
/// longer.
const MIN_OVERLAP: usize = 1024;

/// A span of the compressed stream, and the beginning of the next one, so that nobody stops in the midst
/// of a block that begins here.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Its place among all of them.
    pub(super) number: u64,
    /// Where it begins in the stream, in bytes.
    pub(super) offset: u64,
    /// The span and what overlaps the next one.
    pub(super) bytes: Vec<u8>,
    /// How many of the bytes are the span's own.
    pub(super) own: usize,
    /// Whether the stream ends with it; all is its own then.
    pub(super) is_last: bool,
    /// Whether nobody needs it decoded any more.
    is_unwanted: AtomicBool,
}

impl Chunk {
    /// What comes before the first one.
    pub(super) fn none() -> Self {
        Self {
            number: 0,
            offset: 0,
            bytes: Vec::new(),
            own: 0,
            is_last: false,
            is_unwanted: AtomicBool::new(true),
        }
    }

    /// Says that nobody needs it decoded any more.
    pub(super) fn forget(&self) {
        self.is_unwanted.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_unwanted(&self) -> bool {
        self.is_unwanted.load(Ordering::Relaxed)
    }

    /// The stream's bits before it.
    pub(super) fn first_bit(&self) -> u64 {
        self.offset * 8
    }

    /// Its own bits.
    pub(super) fn own_bits(&self) -> u64 {
        self.own as u64 * 8
    }
}

/// A source that is read span by span.
#[derive(Debug)]
pub(super) struct Input<R> {
    source: R,
    span_bytes: usize,
    /// What the next span begins with.
    overlap: Vec<u8>,
    number: u64,
    offset: u64,
    has_ended: bool,
    /// Why the source ended too early.
    failure: Option<io::Error>,
}

impl<R: BufRead> Input<R> {
    pub(super) fn new(source: R, span_bytes: usize) -> Self {
        let span_bytes = span_bytes.max(1);
        Self {
            source,
            span_bytes,
            overlap: Vec::new(),
            number: 0,
            offset: 0,
            has_ended: false,
            failure: None,
        }
    }

    /// The next span; none after the last one. Waits until all of it is there. What comes before a
    /// failure of the source is the last one.
    pub(super) fn next(&mut self) -> Option<Chunk> {
        if self.has_ended {
            return None;
        }
        let mut bytes = std::mem::take(&mut self.overlap);
        let wanted = self.span_bytes + self.span_bytes.div_ceil(8).max(MIN_OVERLAP);
        while bytes.len() < wanted && !self.has_ended {
            match self.source.fill_buf() {
                Ok([]) => self.has_ended = true,
                Ok(piece) => {
                    let length = piece.len().min(wanted - bytes.len());
                    bytes.extend_from_slice(&piece[..length]);
                    self.source.consume(length);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.has_ended = true;
                    self.failure = Some(error);
                }
            }
        }
        let is_last = self.has_ended;
        let own = if is_last { bytes.len() } else { self.span_bytes };
        self.overlap = bytes[own..].to_vec();
        self.number += 1;
        let chunk = Chunk {
            number: self.number,
            offset: self.offset,
            bytes,
            own,
            is_last,
            is_unwanted: AtomicBool::new(false),
        };
        self.offset += own as u64;
        Some(chunk)
    }

    /// Why the source ended too early, if it did; told once.
    pub(super) fn failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }
}
