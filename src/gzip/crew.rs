//! The threads that help with one stream.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::codes::Tables;
use super::input::Chunk;
use super::queue::{Queue, Turn};
use super::share::Permit;
use super::span::{Buffers, Decoded, speculate};
use crate::sync::lock;

/// What a helper does with a span: [`speculate`].
pub(super) type Speculate =
    fn(&Chunk, Buffers, &mut Tables, &dyn Fn(u64)) -> Result<Decoded, Buffers>;

#[derive(Debug, Default)]
struct State {
    queue: Queue,
    /// Helpers that have nothing to do.
    idle: usize,
    /// Nothing more is wanted.
    is_closed: bool,
    /// A helper has panicked.
    has_died: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Helpers wait for work.
    work: Condvar,
    /// The reader waits for a helper.
    progress: Condvar,
}

/// The helpers, and the spans that they and the reader share. They are joined when it is dropped.
#[derive(Debug)]
pub(super) struct Crew {
    shared: Arc<Shared>,
    /// How many there are to be.
    size: usize,
    speculate: Speculate,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    /// So many helpers, who start with the second span: most streams have one.
    pub(super) fn new(size: usize) -> Self {
        Self::doing(size, speculate)
    }

    pub(super) fn doing(size: usize, speculate: Speculate) -> Self {
        Self { shared: Arc::default(), size, speculate, threads: Vec::new() }
    }

    /// How many spans are in memory.
    pub(super) fn spans(&self) -> usize {
        lock(&self.shared.state).queue.len()
    }

    /// Adds a span; the reader's own is the first.
    pub(super) fn push(&mut self, chunk: Chunk, permit: Option<Permit>) {
        let count = {
            let mut state = lock(&self.shared.state);
            state.queue.push(Arc::new(chunk), permit);
            state.queue.len()
        };
        if count > 1 && self.threads.len() < self.size {
            self.start();
        }
        self.call();
    }

    /// Where the system has no thread, there are less.
    fn start(&mut self) {
        for number in self.threads.len()..self.size {
            let (shared, speculate) = (Arc::clone(&self.shared), self.speculate);
            let builder = thread::Builder::new().name(format!("inflate-{}", number + 2));
            match builder.spawn(move || shared.help(speculate)) {
                Ok(thread) => self.threads.push(thread),
                Err(error) => {
                    tracing::debug!(%error, "fewer threads inflate");
                    self.size = self.threads.len();
                    return;
                }
            }
        }
    }

    /// Ends with the first span; the next one, if there is one.
    pub(super) fn advance(&self) -> Option<Arc<Chunk>> {
        let next = lock(&self.shared.state).queue.advance();
        self.call();
        next
    }

    /// The first span.
    pub(super) fn front(&self) -> Option<Arc<Chunk>> {
        lock(&self.shared.state).queue.front()
    }

    /// What a helper has decoded from the bit `position` of the stream on, where a block begins; waits for
    /// one who is about to have it. Without it, the block is the reader's.
    ///
    /// # Errors
    /// When a helper has panicked.
    pub(super) fn at(&self, position: u64) -> io::Result<Option<Box<Decoded>>> {
        let mut state = lock(&self.shared.state);
        let taken = loop {
            if state.has_died {
                return Err(io::Error::other("a decompressing thread stopped"));
            }
            match state.queue.turn(position) {
                Turn::Decode => break None,
                Turn::Take(decoded) => break Some(decoded),
                Turn::Wait => {
                    let waited = self.shared.progress.wait(state);
                    state = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        if let Some(decoded) = &taken {
            state.queue.reach(decoded.end);
        }
        self.shared.call(&state);
        Ok(taken)
    }

    /// Takes back the memory of a span.
    pub(super) fn recycle(&self, buffers: Buffers) {
        lock(&self.shared.state).queue.recycle(buffers);
    }

    fn call(&self) {
        self.shared.call(&lock(&self.shared.state));
    }

    /// Does what there is for helpers to do.
    #[cfg(test)]
    pub(super) fn work_off(&self) {
        let mut state = lock(&self.shared.state);
        while let Some((chunk, buffers)) = state.queue.begin() {
            let outcome = (self.speculate)(&chunk, buffers, &mut Tables::empty(), &|_| {});
            state.queue.end(chunk.number, outcome);
        }
    }

    /// Whether a helper has panicked.
    #[cfg(test)]
    pub(super) fn has_died(&self) -> bool {
        lock(&self.shared.state).has_died
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        {
            let mut state = lock(&self.shared.state);
            state.is_closed = true;
            state.queue.forget();
        }
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // One that has panicked was told of, if anybody wanted to know.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Calls a helper, if one has nothing to do and there is something.
    fn call(&self, state: &State) {
        if state.idle > 0 && state.queue.has_work() {
            self.work.notify_one();
        }
    }

    /// Works until nothing more is wanted.
    fn help(&self, speculate: Speculate) {
        let _alarm = Alarm(self);
        let mut tables = Tables::empty();
        while let Some((chunk, buffers)) = self.wait_for_work() {
            let number = chunk.number;
            let found = |start| {
                lock(&self.state).queue.found(number, start);
            };
            let outcome = speculate(&chunk, buffers, &mut tables, &found);
            let mut state = lock(&self.state);
            state.queue.end(number, outcome);
            drop(state);
            self.progress.notify_all();
        }
    }

    fn wait_for_work(&self) -> Option<(Arc<Chunk>, Buffers)> {
        let mut state = lock(&self.state);
        loop {
            if state.is_closed {
                return None;
            }
            if let Some(begun) = state.queue.begin() {
                // There may be work for one more.
                self.call(&state);
                return Some(begun);
            }
            state.idle += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

/// Tells of a panic.
struct Alarm<'a>(&'a Shared);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            lock(&self.0.state).has_died = true;
            self.0.progress.notify_all();
        }
    }
}
