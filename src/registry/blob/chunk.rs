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
use crate::registry::blob::window::{Connection, Reservation};

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
    asked: Reservation,
    /// `None` until it is [admitted](Chunk::admit).
    room: Option<Reservation>,
    admitted: CancellationToken,
    /// How many bytes may be queued.
    most: u64,
    is_wide: bool,
    /// Whether its host has begun to answer and there is no room for what comes.
    is_kept_waiting: bool,
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

/// A worker's order to fetch a chunk, or what is missing of one.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) number: u64,
    pub(crate) range: ByteRange,
    /// Whether another connection fetches it as well.
    pub(crate) again: bool,
    /// Whether it is longer than its room, so that it has to [wait](super::assembly::Assembly::room) for that.
    pub(crate) is_wide: bool,
    /// To fetch it over, where one was waited for.
    pub(crate) connection: Option<Connection>,
    /// Cancelled when the chunk is complete.
    pub(crate) complete: CancellationToken,
}

impl Chunk {
    /// Nothing of `range` so far, which may be `asked` for, and of which `most` bytes may be queued.
    pub(super) fn new(range: ByteRange, most: u64, asked: Reservation) -> Self {
        Self {
            pieces: VecDeque::new(),
            filling: None,
            queued: 0,
            missing: range,
            asked,
            room: None,
            admitted: CancellationToken::new(),
            most,
            is_wide: most < range.length(),
            is_kept_waiting: false,
            is_full: false,
            emptied: Arc::default(),
            lap: Lap { start: range.start, length: range.length().min(most), since: None },
            is_asked_twice: false,
            complete: CancellationToken::new(),
        }
    }

    /// Gives it room for what comes.
    pub(super) fn admit(&mut self, room: Reservation) {
        self.room = Some(room);
        self.admitted.cancel();
    }

    /// Takes note that its host has begun to answer. What to wait for before that is read, where what comes
    /// has no room: the token that is cancelled once it has.
    pub(super) fn answered(&mut self) -> Option<CancellationToken> {
        self.is_kept_waiting = self.room.is_none();
        self.is_kept_waiting.then(|| self.admitted.clone())
    }

    /// What is still to come.
    pub(super) fn missing(&self) -> ByteRange {
        self.missing
    }

    /// Whether all has come.
    pub(super) fn is_complete(&self) -> bool {
        self.missing.length() == 0
    }

    /// The order to fetch what is missing of it, number `number` of its blob, over `connection`.
    pub(super) fn claim(&self, number: u64, connection: Option<Connection>) -> Claim {
        Claim {
            number,
            range: self.missing,
            again: false,
            is_wide: self.is_wide,
            connection,
            complete: self.complete.clone(),
        }
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
            self.is_full |= self.queued >= self.most / 2;
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
        self.asked.release(length);
        if let Some(room) = &mut self.room {
            room.release(length);
        }
        if self.is_full && self.queued <= self.most / 4 {
            self.is_full = false;
            self.emptied.notify_waiters();
        }
        Some(next)
    }

    /// What to wait for before more is added, if the room is full.
    pub(super) fn emptied(&self) -> Option<OwnedNotified> {
        self.is_full.then(|| Arc::clone(&self.emptied).notified_owned())
    }

    /// Takes note that its connection waited for room for so long.
    pub(super) fn rested(&mut self, rest: Duration) {
        self.is_kept_waiting = false;
        self.lap.since = self.lap.since.map(|since| since + rest);
    }

    /// Since when how many bytes are awaited; `None` where there is nothing to wait for, or no third
    /// connection to ask.
    pub(super) fn awaited(&self) -> Option<(Instant, u64)> {
        let may_come = !self.is_full && !self.is_kept_waiting;
        let is_awaited = !self.is_complete() && may_come && !self.is_asked_twice;
        self.lap.since.filter(|_| is_awaited).map(|since| (since, self.lap.length))
    }

    /// Takes note that a second connection asks for it.
    pub(super) fn asked_twice(&mut self) {
        self.is_asked_twice = true;
    }
}
