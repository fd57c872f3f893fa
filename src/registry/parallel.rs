//! A large blob in closed ranges over several connections, put back in order.
//!
//! Workers claim the blob's chunks in order, each with room in the window before anything is asked
//! for; so a blob always holds room for the bytes that its consumer waits for, and blobs can't
//! block one another. Each chunk queues its frames; the consumer drains the first chunk while the
//! others fill.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::task::JoinSet;

use super::context::lock;
use super::error::Error;
use super::ranges::ByteRange;
use super::segment::Segment;
use super::source::Source;
use super::window::Reservation;

/// The consumer's end. Dropping it stops the workers.
pub(crate) struct Parallel {
    assembly: Arc<Assembly>,
    /// Frames taken over from the assembly, next one first.
    taken: VecDeque<Bytes>,
    _workers: JoinSet<()>,
}

/// What the consumer gets.
pub(crate) enum Piece {
    /// The next bytes.
    Frame(Bytes),
    /// All bytes have been handed on.
    End,
    /// No host has the next bytes.
    Failed(Error),
    /// The hosts that are left serve no ranges: go on with one stream.
    Rangeless,
}

#[derive(Debug)]
struct Assembly {
    source: Arc<Source>,
    /// Where the next chunk begins. Held while room is waited for, which keeps chunks in order.
    next_start: AsyncMutex<u64>,
    state: Mutex<State>,
    /// Something changed that the consumer may wait for.
    changed: Notify,
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
    frames: VecDeque<Bytes>,
    /// Bytes still to come.
    missing: u64,
    room: Reservation,
}

#[derive(Debug)]
enum Stop {
    Failed(Error),
    Rangeless,
}

/// The first chunk: its open segment, and the room it has.
pub(crate) struct First {
    pub(crate) segment: Segment,
    pub(crate) range: ByteRange,
    pub(crate) room: Reservation,
}

impl Parallel {
    /// Fetches what follows `first` beside it.
    pub(crate) fn start(source: Arc<Source>, first: First) -> Self {
        let First { segment, range, room } = first;
        let policy = &source.context.policy;
        let rest = source.size - range.end;
        let workers = rest.div_ceil(policy.chunk_bytes.max(1)).min(policy.connections as u64);
        let chunk = Chunk { frames: VecDeque::new(), missing: range.length(), room };
        let assembly = Arc::new(Assembly {
            next_start: AsyncMutex::new(range.end),
            state: Mutex::new(State {
                front: 0,
                chunks: VecDeque::from([chunk]),
                unplanned: rest,
                stopped: None,
            }),
            changed: Notify::new(),
            source,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(work(Arc::clone(&assembly), Some((0, segment))));
        for _ in 1..workers.max(1) {
            tasks.spawn(work(Arc::clone(&assembly), None));
        }
        Self { assembly, taken: VecDeque::new(), _workers: tasks }
    }

    /// The next bytes in order.
    pub(crate) async fn next(&mut self) -> Piece {
        loop {
            if let Some(frame) = self.taken.pop_front() {
                return Piece::Frame(frame);
            }
            if let Some(last) = self.take() {
                return last;
            }
            if self.taken.is_empty() {
                self.assembly.changed.notified().await;
            }
        }
    }

    /// Takes over what the front chunk has queued, and moves on when it is finished.
    fn take(&mut self) -> Option<Piece> {
        let mut state = lock(&self.assembly.state);
        loop {
            let Some(front) = state.chunks.front_mut() else {
                let over = state.unplanned == 0;
                return if over { Some(Piece::End) } else { state.stop() };
            };
            if !front.frames.is_empty() {
                std::mem::swap(&mut self.taken, &mut front.frames);
                front.room.release(self.taken.iter().map(|frame| frame.len() as u64).sum());
                return None;
            }
            if front.missing > 0 {
                return state.stop();
            }
            state.chunks.pop_front();
            state.front += 1;
        }
    }
}

impl State {
    fn stop(&mut self) -> Option<Piece> {
        self.stopped.take().map(|stop| match stop {
            Stop::Failed(error) => Piece::Failed(error),
            Stop::Rangeless => Piece::Rangeless,
        })
    }
}

impl Assembly {
    /// Claims the next chunk once there is room for it; `None` when there is none left.
    async fn claim(&self) -> Option<(u64, Segment)> {
        let mut start = self.next_start.lock().await;
        let Source { size, context, .. } = &*self.source;
        if *start >= *size {
            return None;
        }
        let range = ByteRange {
            start: *start,
            end: size.min(&(*start + context.policy.chunk_bytes.max(1))).to_owned(),
        };
        let room = context.budget.reserve(range.length()).await?;
        *start = range.end;
        let mut state = lock(&self.state);
        let number = state.front + state.chunks.len() as u64;
        state.unplanned -= range.length();
        state.chunks.push_back(Chunk { frames: VecDeque::new(), missing: range.length(), room });
        Some((number, Segment::new(Arc::clone(&self.source), range)))
    }

    fn push(&self, number: u64, frame: Bytes) {
        let mut state = lock(&self.state);
        let Some(position) = number.checked_sub(state.front) else { return };
        let chunk =
            usize::try_from(position).ok().and_then(|position| state.chunks.get_mut(position));
        let Some(chunk) = chunk else { return };
        chunk.missing = chunk.missing.saturating_sub(frame.len() as u64);
        chunk.frames.push_back(frame);
        // The consumer looks at the front chunk only.
        if position == 0 {
            self.changed.notify_one();
        }
    }

    fn stop(&self, stop: Stop) {
        lock(&self.state).stopped.get_or_insert(stop);
        self.changed.notify_one();
    }
}

/// Fetches chunk after chunk over what is, as long as all goes well, one connection.
async fn work(assembly: Arc<Assembly>, mut claimed: Option<(u64, Segment)>) {
    loop {
        let next = match claimed.take() {
            Some(first) => Some(first),
            None => assembly.claim().await,
        };
        let Some((number, segment)) = next else { return };
        if let Err(stop) = fetch(&assembly, number, segment).await {
            return assembly.stop(stop);
        }
    }
}

async fn fetch(assembly: &Assembly, number: u64, mut segment: Segment) -> Result<(), Stop> {
    segment.open().await.map_err(Stop::Failed)?;
    if !segment.is_ranged() {
        return Err(Stop::Rangeless);
    }
    while let Some(next) = segment.next().await {
        assembly.push(number, next.map_err(Stop::Failed)?);
    }
    Ok(())
}
