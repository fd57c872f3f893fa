//! A blob's chunks while they fill, and their order.
//!
//! A chunk is claimed with room in the window before anything is asked for, in order; so a blob
//! always holds room for the bytes that its consumer waits for, and blobs can't block one another.
//! Each chunk queues what comes; the consumer drains the first one while the others fill.
//!
//! A chunk that is longer than the window has all of it to itself, and its connection waits while as
//! many bytes as that are queued.
//!
//! Several connections may fetch one chunk: whoever has the chunk's next byte first adds it, what
//! the others bring later is dropped.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::registry::blob::pieces::{Piece, Pieces};
use crate::registry::blob::ranges::ByteRange;
use crate::registry::blob::source::Source;
use crate::registry::blob::window::Reservation;
use crate::registry::error::Error;
use crate::sync::lock;

/// See the module.
#[derive(Debug)]
pub(crate) struct Assembly {
    source: Arc<Source>,
    /// Where the next chunk begins. Held while room is waited for, which keeps chunks in order.
    next_start: AsyncMutex<u64>,
    state: Mutex<State>,
    /// The consumer has something to do.
    consumer: Notify,
    /// A chunk is asked for or finished, which changes who is a straggler.
    changed: Notify,
    /// The consumer has taken something.
    taken: Notify,
}

#[derive(Debug)]
struct State {
    /// Number of the chunk in front.
    front: u64,
    chunks: VecDeque<Chunk>,
    /// Bytes of the blob that are in no chunk yet.
    unplanned: u64,
    stopped: Option<Stop>,
}

#[derive(Debug)]
struct Chunk {
    /// What waits for the consumer, whole pieces.
    ///
    /// A frame keeps the buffer that hyper has read it into, of up to 400 KiB, of which half may be
    /// empty; and a hostile server may send frames of a byte. The window counts bytes, so they are
    /// copied: bytes that were read a moment ago cost little.
    pieces: VecDeque<Bytes>,
    /// The piece that follows them.
    filling: Option<Piece>,
    length: u64,
    /// Bytes that came and were not taken.
    queued: u64,
    /// What is still to come.
    missing: ByteRange,
    room: Reservation,
    /// When it was asked for; `None` while its connection is waited for.
    asked: Option<Instant>,
    asked_twice: bool,
    /// Cancelled when the chunk is complete.
    complete: CancellationToken,
}

/// Why no more bytes come.
#[derive(Debug)]
pub(crate) enum Stop {
    /// No host has the next bytes.
    Failed(Error),
    /// The hosts that are left serve no ranges.
    Rangeless,
}

/// What the consumer finds.
pub(crate) enum Taken {
    /// The next bytes, a piece at most.
    Bytes(Bytes),
    /// All bytes were taken.
    End,
    /// No more come.
    Stopped(Stop),
}

/// A worker's order to fetch a chunk, or what is missing of one.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) number: u64,
    pub(crate) range: ByteRange,
    /// Whether another connection fetches it as well.
    pub(crate) again: bool,
    /// Whether it is longer than the window, so that it has to wait for [room](Assembly::room).
    pub(crate) is_wide: bool,
    /// Cancelled when the chunk is complete.
    pub(crate) complete: CancellationToken,
}

enum Straggler {
    Found(Claim),
    Due(Instant),
    NotYet,
    Never,
}

impl Chunk {
    fn new(range: ByteRange, room: Reservation) -> Self {
        Self {
            pieces: VecDeque::new(),
            filling: None,
            length: range.length(),
            queued: 0,
            missing: range,
            room,
            asked: None,
            asked_twice: false,
            complete: CancellationToken::new(),
        }
    }

    /// Queues the bytes that come next, in pieces of `spare`.
    fn add(&mut self, mut bytes: &[u8], spare: &Pieces) {
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
    }

    /// What comes next, as far as it is there.
    fn next(&mut self) -> Option<Bytes> {
        let next = self.pieces.pop_front();
        let next =
            next.or_else(|| self.filling.as_mut().map(Piece::read).filter(|it| !it.is_empty()));
        let length = next.as_ref().map_or(0, Bytes::len) as u64;
        self.queued = self.queued.saturating_sub(length);
        next
    }
}

impl Assembly {
    /// Begins with a chunk for `first`, which has `room`, and the claim to it.
    pub(crate) fn new(source: Arc<Source>, first: ByteRange, room: Reservation) -> (Self, Claim) {
        let chunk = Chunk::new(first, room);
        let complete = chunk.complete.clone();
        let is_wide = source.context.policy.is_wide(first.length());
        let assembly = Self {
            next_start: AsyncMutex::new(first.end),
            state: Mutex::new(State {
                front: 0,
                chunks: VecDeque::from([chunk]),
                unplanned: source.size.saturating_sub(first.end),
                stopped: None,
            }),
            consumer: Notify::new(),
            changed: Notify::new(),
            taken: Notify::new(),
            source,
        };
        (assembly, Claim { number: 0, range: first, again: false, is_wide, complete })
    }

    pub(crate) fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Claims the next chunk once there is room for it; `None` when there is none left.
    pub(crate) async fn claim(&self) -> Option<Claim> {
        let mut start = self.next_start.lock().await;
        let range = self.source.chunk(*start);
        if range.start >= range.end {
            return None;
        }
        let room = self.source.context.budget.reserve(range.length()).await?;
        *start = range.end;
        let chunk = Chunk::new(range, room);
        let complete = chunk.complete.clone();
        let mut state = lock(&self.state);
        let number = state.front + state.chunks.len() as u64;
        state.unplanned = state.unplanned.saturating_sub(range.length());
        state.chunks.push_back(chunk);
        let is_wide = self.source.context.policy.is_wide(range.length());
        Some(Claim { number, range, again: false, is_wide, complete })
    }

    /// Waits for a chunk that takes so long that it is worth asking for again, and claims what is
    /// missing of it; `None` when there will be none.
    pub(crate) async fn straggler(&self) -> Option<Claim> {
        loop {
            let changed = self.changed.notified();
            let straggler = lock(&self.state).straggler(&self.source);
            match straggler {
                Straggler::Found(claim) => return Some(claim),
                Straggler::Never => return None,
                Straggler::NotYet => changed.await,
                Straggler::Due(at) => tokio::select! {
                    () = changed => {}
                    () = sleep_until(at) => {}
                },
            }
        }
    }

    /// Waits until there is room for more of chunk `number`, a wide one.
    pub(crate) async fn room(&self, number: u64) {
        loop {
            let taken = self.taken.notified();
            let most = self.source.context.policy.window_bytes;
            let chunk = lock(&self.state).chunk(number).map(|(_, chunk)| chunk.queued);
            let is_full = chunk.is_some_and(|queued| queued >= most);
            if !is_full {
                return;
            }
            taken.await;
        }
    }

    /// Takes note that chunk `number` is being asked for.
    pub(crate) fn asked(&self, number: u64) {
        if let Some((_, chunk)) = lock(&self.state).chunk(number) {
            chunk.asked.get_or_insert_with(Instant::now);
        }
        self.changed.notify_waiters();
    }

    /// Adds what is new of `frame`, which begins at byte `position` of the blob and is of chunk
    /// `number`.
    pub(crate) fn push(&self, number: u64, position: u64, frame: &[u8]) {
        let mut state = lock(&self.state);
        let Some((is_front, chunk)) = state.chunk(number) else { return };
        let known = chunk.missing.start.saturating_sub(position);
        let known = usize::try_from(known).unwrap_or(usize::MAX).min(frame.len());
        let news = frame.get(known..).unwrap_or_default();
        if news.is_empty() {
            return;
        }
        let count = news.len() as u64;
        chunk.add(news, &self.source.context.pieces);
        if chunk.missing.length() == 0 {
            chunk.complete.cancel();
            self.changed.notify_waiters();
        }
        drop(state);
        self.source.received(count);
        // The consumer looks at the front chunk only.
        if is_front {
            self.consumer.notify_one();
        }
    }

    /// Ends the assembly; the first reason stays.
    pub(crate) fn stop(&self, stop: Stop) {
        lock(&self.state).stopped.get_or_insert(stop);
        self.consumer.notify_one();
    }

    /// The next bytes in order, as soon as there are any. No more than a piece: what is taken has left the
    /// window, though whoever takes it may be slow.
    pub(crate) async fn take(&self) -> Taken {
        loop {
            let taken = lock(&self.state).take();
            if let Some(taken) = taken {
                self.taken.notify_waiters();
                return taken;
            }
            self.consumer.notified().await;
        }
    }
}

impl State {
    /// Chunk `number` and whether it is in front; `None` once it is taken.
    fn chunk(&mut self, number: u64) -> Option<(bool, &mut Chunk)> {
        let position = number.checked_sub(self.front)?;
        let chunk = self.chunks.get_mut(usize::try_from(position).ok()?)?;
        Some((position == 0, chunk))
    }

    /// What the front chunk has queued; moves on when it is finished.
    fn take(&mut self) -> Option<Taken> {
        loop {
            let Some(front) = self.chunks.front_mut() else {
                let over = self.unplanned == 0;
                return if over {
                    Some(Taken::End)
                } else {
                    self.stopped.take().map(Taken::Stopped)
                };
            };
            if let Some(bytes) = front.next() {
                front.room.release(bytes.len() as u64);
                return Some(Taken::Bytes(bytes));
            }
            if front.missing.length() > 0 {
                return self.stopped.take().map(Taken::Stopped);
            }
            self.chunks.pop_front();
            self.front += 1;
        }
    }

    /// The first chunk that takes longer than `source` has patience for.
    fn straggler(&mut self, source: &Source) -> Straggler {
        let unfinished = || self.chunks.iter().filter(|chunk| chunk.missing.length() > 0);
        if self.unplanned == 0 && unfinished().next().is_none() {
            return Straggler::Never;
        }
        let now = Instant::now();
        let mut due: Option<Instant> = None;
        for (number, chunk) in (self.front..).zip(&mut self.chunks) {
            let Some(asked) = chunk.asked.filter(|_| !chunk.asked_twice) else { continue };
            // A wide one is as slow as its consumer.
            if chunk.missing.length() == 0 || source.context.policy.is_wide(chunk.length) {
                continue;
            }
            let patience = source.patience(chunk.length);
            // While nothing is known, look again when something may be.
            let late = patience
                .map_or(now + source.context.policy.hedge_after, |patience| asked + patience);
            if now >= late && patience.is_some() {
                chunk.asked_twice = true;
                let complete = chunk.complete.clone();
                return Straggler::Found(Claim {
                    number,
                    range: chunk.missing,
                    again: true,
                    is_wide: false,
                    complete,
                });
            }
            due = Some(due.map_or(late, |due| due.min(late)));
        }
        due.map_or(Straggler::NotYet, Straggler::Due)
    }
}
