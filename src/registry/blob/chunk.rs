//! A range of a blob while it fills.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::registry::blob::pieces::{Piece, Pieces};
use crate::registry::blob::ranges::ByteRange;
use crate::registry::blob::window::Reservation;

/// What of a range has come and was not taken yet, and what is still to come.
#[derive(Debug)]
pub(super) struct Chunk {
    /// What waits for the consumer, whole pieces.
    ///
    /// A frame keeps the buffer that hyper has read it into, of up to 400 KiB, of which half may be
    /// empty; and a hostile server may send frames of a byte. The window counts bytes, so they are
    /// copied: bytes that were read a moment ago cost little.
    pieces: VecDeque<Bytes>,
    /// The piece that follows them.
    filling: Option<Piece>,
    /// Bytes that came and were not taken.
    queued: u64,
    missing: ByteRange,
    room: Reservation,
    is_wide: bool,
    /// From when half the room was taken until half of that was free again. That much is enough that the
    /// consumer never waits for a connection; and what comes beyond, since a frame is taken whole, has room.
    is_full: bool,
    emptied: Arc<Notify>,
    lap: Lap,
    is_asked_twice: bool,
    complete: CancellationToken,
}

/// What a chunk is timed by: all of it, or of a wide one as much as has room. Time that its connection spent
/// waiting for the consumer is not counted.
#[derive(Debug)]
struct Lap {
    /// The byte of the blob where it began.
    start: u64,
    length: u64,
    /// `None` while a connection is waited for.
    since: Option<Instant>,
}

impl Chunk {
    /// Nothing of `range` so far.
    pub(super) fn new(range: ByteRange, room: Reservation) -> Self {
        Self {
            pieces: VecDeque::new(),
            filling: None,
            queued: 0,
            missing: range,
            is_wide: room.is_partial(),
            is_full: false,
            emptied: Arc::default(),
            lap: Lap { start: range.start, length: range.length().min(room.most()), since: None },
            is_asked_twice: false,
            complete: CancellationToken::new(),
            room,
        }
    }

    /// Whether it is longer than its room.
    pub(super) fn is_wide(&self) -> bool {
        self.is_wide
    }

    /// What is still to come.
    pub(super) fn missing(&self) -> ByteRange {
        self.missing
    }

    /// Whether all has come.
    pub(super) fn is_complete(&self) -> bool {
        self.missing.length() == 0
    }

    /// Cancelled when all has come.
    pub(super) fn complete(&self) -> CancellationToken {
        self.complete.clone()
    }

    /// Takes note that a connection asks for it.
    pub(super) fn asked(&mut self) {
        self.lap.since.get_or_insert_with(Instant::now);
    }

    /// Queues the bytes that come next, in pieces of `spare`.
    pub(super) fn add(&mut self, mut bytes: &[u8], spare: &Pieces) {
        self.queued += bytes.len() as u64;
        while !bytes.is_empty() {
            let mut piece =
                self.filling.take().unwrap_or_else(|| spare.take(self.missing.length()));
            let (_, later) = bytes.split_at(piece.add(bytes));
            self.missing.start += (bytes.len() - later.len()) as u64;
            bytes = later;
            if piece.is_full() {
                self.pieces.push_back(piece.freeze());
            } else {
                self.filling = Some(piece);
            }
        }
        if self.is_complete() {
            self.complete.cancel();
        } else if self.is_wide {
            self.is_full |= self.queued >= self.room.most() / 2;
            if self.missing.start - self.lap.start >= self.lap.length {
                self.lap.start = self.missing.start;
                self.lap.since = Some(Instant::now());
            }
        }
    }

    /// What comes next, as far as it is there; its room is given back.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let next = self.pieces.pop_front();
        let next =
            next.or_else(|| self.filling.as_mut().map(Piece::read).filter(|it| !it.is_empty()))?;
        let length = next.len() as u64;
        self.queued = self.queued.saturating_sub(length);
        self.room.release(length);
        if self.is_full && self.queued <= self.room.most() / 4 {
            self.is_full = false;
            self.emptied.notify_waiters();
        }
        Some(next)
    }

    /// What to wait for before more is added, if the room is full.
    pub(super) fn emptied(&self) -> Option<OwnedNotified> {
        self.is_full.then(|| Arc::clone(&self.emptied).notified_owned())
    }

    /// Takes note that its connection waited for the consumer for so long.
    pub(super) fn rested(&mut self, rest: Duration) {
        self.lap.since = self.lap.since.map(|since| since + rest);
    }

    /// Since when how many bytes are awaited; `None` where there is nothing to wait for, or no third
    /// connection to ask.
    pub(super) fn awaited(&self) -> Option<(Instant, u64)> {
        let is_awaited = !self.is_complete() && !self.is_full && !self.is_asked_twice;
        self.lap.since.filter(|_| is_awaited).map(|since| (since, self.lap.length))
    }

    /// Takes note that a second connection asks for it.
    pub(super) fn asked_twice(&mut self) {
        self.is_asked_twice = true;
    }
}
