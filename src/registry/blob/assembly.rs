//! A blob's chunks while they fill, and their order.
//!
//! A chunk is claimed with a connection, and gets room in the window when its host begins to answer, so that
//! none is set aside while a request is on its way; a long one, of which a few fill the window, before it is
//! asked for. Each is waited for by those that have the one before, in the order of the chunks, and kept over
//! any failure: so what has room has a connection, too, and fills, a blob's first bytes before its others; and
//! blobs can't block one another. Each chunk queues what comes; the consumer drains the first one while the
//! others fill.
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
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard, Notify};
use tokio::time::{Instant, sleep_until};

use crate::registry::blob::appetite::Appetite;
use crate::registry::blob::chunk::{Chunk, Claim};
use crate::registry::blob::ranges::ByteRange;
use crate::registry::blob::source::Source;
use crate::registry::blob::window::Reservation;
use crate::registry::error::Error;
use crate::sync::lock;

/// See the module.
#[derive(Debug)]
pub(crate) struct Assembly {
    source: Arc<Source>,
    /// Where the next chunk begins. Held while a connection is waited for, which keeps chunks in order.
    next_start: AsyncMutex<u64>,
    /// Number of the first chunk without room. Held while that is waited for.
    next_admitted: AsyncMutex<u64>,
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

enum Straggler {
    Found(Claim),
    Due(Instant),
    NotYet,
    Never,
}

impl Assembly {
    /// Begins with a chunk for `first`, which is `asked` for, and the claim to it.
    pub(crate) fn new(source: Arc<Source>, first: ByteRange, asked: Reservation) -> (Self, Claim) {
        let chunk = Chunk::new(first, source.room(first), asked);
        let claim = chunk.claim(0, None);
        let assembly = Self {
            next_start: AsyncMutex::new(first.end),
            next_admitted: AsyncMutex::new(0),
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
        (assembly, claim)
    }

    pub(crate) fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Claims the next chunk once it may be asked for; `None` when there is none left.
    pub(crate) async fn claim(&self) -> Option<Claim> {
        let mut start = self.next_start.lock().await;
        let appetite = lock(&self.state).appetite.sated();
        let range = self.source.chunk(*start, appetite);
        if range.start >= range.end {
            return None;
        }
        let connection = self.source.context.budget.connection().await?;
        let asked = self.source.ask(range).await?;
        let mut chunk = Chunk::new(range, self.source.room(range), asked);
        let number = lock(&self.state).planned();
        let mut admitted = None;
        if !self.source.asks_ahead(range) {
            admitted = Some(self.admitted_before(number).await?);
            chunk.admit(self.source.reserve(range).await?);
        }
        // From here on nothing is waited for: whoever gives up a claim before has made none.
        let claim = chunk.claim(number, Some(connection));
        let mut state = lock(&self.state);
        state.chunks.push_back(chunk);
        state.unplanned = state.unplanned.saturating_sub(range.length());
        *start = range.end;
        if let Some(admitted) = &mut admitted {
            **admitted += 1;
        }
        Some(claim)
    }

    /// Waits until chunk `number`, whose host has begun to answer, has room, and returns how long that took.
    /// Those before it get theirs first, asked or not.
    pub(crate) async fn admit(&self, number: u64) -> Duration {
        let admitted = lock(&self.state).chunk(number).and_then(|(_, chunk)| chunk.answered());
        let Some(admitted) = admitted else { return Duration::ZERO };
        let waiting = async {
            tokio::select! {
                biased;
                // Whoever gave it room may be waiting for that of a later one, until what has some is read.
                () = admitted.cancelled() => {}
                _ = self.admitted_before(number + 1) => {}
            }
        };
        self.rest(number, waiting).await
    }

    /// Gives room to all chunks before `number`, in their order.
    async fn admitted_before(&self, number: u64) -> Option<AsyncMutexGuard<'_, u64>> {
        let mut next = self.next_admitted.lock().await;
        while *next < number {
            let range = lock(&self.state).chunk(*next).map(|(_, chunk)| chunk.missing());
            if let Some(range) = range {
                let room = self.source.reserve(range).await?;
                if let Some((_, chunk)) = lock(&self.state).chunk(*next) {
                    chunk.admit(room);
                }
            }
            *next += 1;
        }
        Some(next)
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
        self.rest(number, emptied).await
    }

    /// Has the connection of chunk `number` wait for room, and returns how long that took.
    async fn rest(&self, number: u64, waiting: impl Future<Output = ()>) -> Duration {
        let since = Instant::now();
        waiting.await;
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
    /// Number of the chunk that is claimed next.
    fn planned(&self) -> u64 {
        self.front + self.chunks.len() as u64
    }

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
                let again = Claim { again: true, ..chunk.claim(number, None) };
                return Straggler::Found(again);
            }
            due = Some(due.map_or(late, |due| due.min(late)));
        }
        due.map_or(Straggler::NotYet, Straggler::Due)
    }
}
