//! A blob's chunks while they fill, and their order.
//!
//! A chunk is claimed with room in the window before anything is asked for, in order; so a blob
//! always holds room for the bytes that its consumer waits for, and blobs can't block one another.
//! Each chunk queues what comes; the consumer drains the first one while the others fill.
//!
//! A chunk that is longer than its room has its connection wait while half of that is full of what the
//! consumer did not take yet.
//!
//! Several connections may fetch one chunk: whoever has the chunk's next byte first adds it, what
//! the others bring later is dropped.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::registry::blob::appetite::Appetite;
use crate::registry::blob::chunk::Chunk;
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
    /// A chunk is asked for, finished, or has room again, which changes who is a straggler.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// Number of the chunk in front.
    front: u64,
    chunks: VecDeque<Chunk>,
    /// Bytes of the blob that are in no chunk yet.
    unplanned: u64,
    appetite: Appetite,
    stopped: Option<Stop>,
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
    /// Whether it is longer than its room, so that it has to [wait](Assembly::room) for that.
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

impl Assembly {
    /// Begins with a chunk for `first`, which has `room`, and the claim to it.
    pub(crate) fn new(source: Arc<Source>, first: ByteRange, room: Reservation) -> (Self, Claim) {
        let chunk = Chunk::new(first, room);
        let (complete, is_wide) = (chunk.complete(), chunk.is_wide());
        let assembly = Self {
            next_start: AsyncMutex::new(first.end),
            state: Mutex::new(State {
                front: 0,
                chunks: VecDeque::from([chunk]),
                unplanned: source.size.saturating_sub(first.end),
                appetite: Appetite::new(),
                stopped: None,
            }),
            consumer: Notify::new(),
            changed: Notify::new(),
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
        let appetite = lock(&self.state).appetite.sated();
        let range = self.source.chunk(*start, appetite);
        if range.start >= range.end {
            return None;
        }
        let room = self.source.reserve(range.length()).await?;
        *start = range.end;
        let chunk = Chunk::new(range, room);
        let (complete, is_wide) = (chunk.complete(), chunk.is_wide());
        let mut state = lock(&self.state);
        let number = state.front + state.chunks.len() as u64;
        state.unplanned = state.unplanned.saturating_sub(range.length());
        state.chunks.push_back(chunk);
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

    /// Waits until there is room for more of chunk `number`, a wide one, and returns how long that took.
    pub(crate) async fn room(&self, number: u64) -> Duration {
        let emptied = lock(&self.state).chunk(number).and_then(|(_, chunk)| chunk.emptied());
        let Some(emptied) = emptied else { return Duration::ZERO };
        let since = Instant::now();
        emptied.await;
        let rest = since.elapsed();
        if let Some((_, chunk)) = lock(&self.state).chunk(number) {
            chunk.rested(rest);
        }
        self.changed.notify_waiters();
        rest
    }

    /// Takes note that chunk `number` is being asked for.
    pub(crate) fn asked(&self, number: u64) {
        if let Some((_, chunk)) = lock(&self.state).chunk(number) {
            chunk.asked();
        }
        self.changed.notify_waiters();
    }

    /// Adds what is new of `frame`, which begins at byte `position` of the blob and is of chunk
    /// `number`.
    pub(crate) fn push(&self, number: u64, position: u64, frame: &[u8]) {
        let mut state = lock(&self.state);
        let Some((is_front, chunk)) = state.chunk(number) else { return };
        let known = chunk.missing().start.saturating_sub(position);
        let known = usize::try_from(known).unwrap_or(usize::MAX).min(frame.len());
        let news = frame.get(known..).unwrap_or_default();
        if news.is_empty() {
            return;
        }
        let count = news.len() as u64;
        chunk.add(news, &self.source.context.pieces);
        if chunk.is_complete() {
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
            let (taken, is_asked) = {
                let mut state = lock(&self.state);
                (state.take(), !state.chunks.is_empty())
            };
            if let Some(taken) = taken {
                return taken;
            }
            let since = Instant::now();
            self.consumer.notified().await;
            // Without room in the window, nobody is late.
            if is_asked {
                lock(&self.state).appetite.hungered(since.elapsed());
            }
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
                self.appetite.took(bytes.len() as u64);
                return Some(Taken::Bytes(bytes));
            }
            if !front.is_complete() {
                return self.stopped.take().map(Taken::Stopped);
            }
            self.chunks.pop_front();
            self.front += 1;
        }
    }

    /// The first chunk that takes longer than `source` has patience for.
    fn straggler(&mut self, source: &Source) -> Straggler {
        let unfinished = || self.chunks.iter().filter(|chunk| !chunk.is_complete());
        if self.unplanned == 0 && unfinished().next().is_none() {
            return Straggler::Never;
        }
        let now = Instant::now();
        let mut due: Option<Instant> = None;
        for (number, chunk) in (self.front..).zip(&mut self.chunks) {
            let Some((since, bytes)) = chunk.awaited() else { continue };
            let patience = source.patience(bytes);
            // While nothing is known, look again when something may be.
            let late = patience
                .map_or(now + source.context.policy.hedge_after, |patience| since + patience);
            if now >= late && patience.is_some() {
                chunk.asked_twice();
                let complete = chunk.complete();
                return Straggler::Found(Claim {
                    number,
                    range: chunk.missing(),
                    again: true,
                    is_wide: chunk.is_wide(),
                    complete,
                });
            }
            due = Some(due.map_or(late, |due| due.min(late)));
        }
        due.map_or(Straggler::NotYet, Straggler::Due)
    }
}
