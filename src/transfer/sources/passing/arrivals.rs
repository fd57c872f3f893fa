//! What has come by of an archive, and who waits for what. Shared between the one who takes it in and the
//! images' sources.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use crate::archive::{ArchiveImage, Entry, FoundLayer, Packing, PassedArchive, ReadError};
use crate::oci::{Descriptor, Digest};
use crate::sync::lock;

use crate::transfer::error::Error;

/// Pieces of a blob that wait for whoever stores it. A piece has 256 KiB at the most.
const QUEUED_PIECES: usize = 8;

/// A piece of a blob, or its end.
#[derive(Debug)]
pub(super) enum Piece {
    Bytes(Bytes),
    End,
}

/// What has come by.
pub(super) struct Arrivals {
    state: Mutex<State>,
    changes: watch::Sender<()>,
}

struct State {
    archive: PassedArchive,
    /// Blobs that were put apart.
    apart: HashSet<Digest>,
    /// Those of them that were not there before.
    brought: HashSet<Digest>,
    /// Blobs that have come by, to whomever.
    taken: HashSet<Digest>,
    /// The blob that is being put apart.
    current: Option<Digest>,
    waiting: HashMap<Digest, mpsc::Sender<Piece>>,
    phase: Phase,
}

enum Phase {
    /// Nothing is known of images yet.
    Coming,
    /// The table of contents has come by.
    Listed,
    Ended,
    Broken(Arc<Error>),
}

/// Where a blob is to be had.
pub(super) enum Blob {
    /// Apart, in the store.
    Apart,
    /// It will come by.
    Coming(mpsc::Receiver<Piece>),
}

impl Arrivals {
    pub(super) fn new(place: &str) -> Self {
        let state = State {
            archive: PassedArchive::new(place),
            apart: HashSet::new(),
            brought: HashSet::new(),
            taken: HashSet::new(),
            current: None,
            waiting: HashMap::new(),
            phase: Phase::Coming,
        };
        Self { state: Mutex::new(state), changes: watch::Sender::new(()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Waits until `look` finds something in what has come by.
    async fn wait_for<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(found) = look(&mut self.state()) {
                return Some(found);
            }
            // The sender lives as long as this.
            changes.changed().await.ok()?;
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state());
        self.changes.send_replace(());
        changed
    }

    /// What the archive is called.
    pub(super) fn place(&self) -> String {
        self.state().archive.place().to_owned()
    }

    // What the one who takes in tells.

    /// Changes what is known of the archive.
    pub(super) fn learn<T>(
        &self,
        learn: impl FnOnce(&mut PassedArchive) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        self.change(|state| learn(&mut state.archive))
    }

    /// The table of contents has come by.
    pub(super) fn listed(&self) {
        self.change(|state| {
            if matches!(state.phase, Phase::Coming) {
                state.phase = Phase::Listed;
            }
        });
    }

    /// The blob `digest` in the file `entry` has come by.
    pub(super) fn passed(&self, entry: &Entry, digest: Digest, packing: Packing) {
        let blob = FoundLayer { digest, size: entry.size, packing };
        self.change(|state| {
            state.taken.insert(digest);
            state.archive.blob(entry, blob);
        });
    }

    /// All has come by, or what kept it from doing so.
    pub(super) fn ended(&self, outcome: Result<(), Error>) {
        self.change(|state| {
            state.waiting.clear();
            state.phase = match outcome {
                Ok(()) => Phase::Ended,
                Err(error) => Phase::Broken(Arc::new(error)),
            };
        });
    }

    /// The blob `digest` begins to come by: who waits for it, now or later on.
    pub(super) async fn taker(&self, digest: &Digest) -> mpsc::Sender<Piece> {
        let taker = self.wait_for(|state| {
            let taker = state.waiting.remove(digest)?;
            state.taken.insert(*digest);
            Some(taker)
        });
        match taker.await {
            Some(taker) => taker,
            None => std::future::pending().await,
        }
    }

    /// The blob `digest`, new or not, is about to be put apart: whoever wants it has to wait. Unless
    /// somebody has been waiting for it, who then is returned.
    pub(super) fn begin_apart(&self, digest: &Digest, is_new: bool) -> Option<mpsc::Sender<Piece>> {
        self.change(|state| {
            let taker = state.waiting.remove(digest);
            if taker.is_some() {
                state.taken.insert(*digest);
            } else {
                state.current = Some(*digest);
                // Before anybody can find it in the store.
                state.brought.extend(is_new.then_some(*digest));
            }
            taker
        })
    }

    /// The blob `digest` was put apart.
    pub(super) fn apart(&self, digest: Digest, is_new: bool) {
        self.change(|state| {
            state.current = None;
            state.apart.insert(digest);
            state.brought.extend(is_new.then_some(digest));
        });
    }

    // What sources ask.

    /// The images, once they are known.
    pub(super) async fn images(&self) -> Result<Vec<ArchiveImage>, Error> {
        let known = self.wait_for(|state| match &state.phase {
            Phase::Coming => None,
            Phase::Listed | Phase::Ended => Some(state.archive.images().map_err(Error::from)),
            Phase::Broken(error) => Some(Err(Error::Shared(Arc::clone(error)))),
        });
        known.await.unwrap_or(Err(Error::Closed))
    }

    /// The document `descriptor`, once it has come by; `None` when it is apart.
    pub(super) async fn document(&self, descriptor: &Descriptor) -> Result<Option<Bytes>, Error> {
        let digest = descriptor.digest;
        let found = self.wait_for(|state| match state.archive.find(&digest) {
            Some(bytes) => Some(Ok(Some(bytes))),
            None if state.apart.contains(&digest) => Some(Ok(None)),
            None => state.end(digest).map(Err),
        });
        found.await.unwrap_or(Err(Error::Closed))
    }

    /// Where the blob `descriptor` is to be had.
    pub(super) async fn blob(&self, descriptor: &Descriptor) -> Result<Blob, Error> {
        let digest = descriptor.digest;
        let found = self.wait_for(|state| {
            if state.apart.contains(&digest) {
                return Some(Ok(Blob::Apart));
            }
            if state.current == Some(digest) {
                return None;
            }
            if let Some(error) = state.end(digest) {
                return Some(Err(error));
            }
            if state.taken.contains(&digest) || state.waiting.contains_key(&digest) {
                // It comes by only once.
                return Some(Err(Error::Incomplete { digest, place: state.place() }));
            }
            let (taker, pieces) = mpsc::channel(QUEUED_PIECES);
            state.waiting.insert(digest, taker);
            Some(Ok(Blob::Coming(pieces)))
        });
        let found = found.await.unwrap_or(Err(Error::Closed));
        if matches!(found, Ok(Blob::Coming(_))) {
            self.changes.send_replace(());
        }
        found
    }

    /// Whether the archive has not got `descriptor`, once that is known.
    pub(super) async fn lacks(&self, descriptor: &Descriptor) -> bool {
        let digest = descriptor.digest;
        let known = self.wait_for(|state| match &state.phase {
            _ if state.has(&digest) => Some(false),
            Phase::Ended => Some(true),
            // That it is broken is told by whoever needs something of it.
            Phase::Broken(_) => Some(false),
            Phase::Coming | Phase::Listed => None,
        });
        known.await.unwrap_or(false)
    }

    /// Waits until all has come by.
    pub(super) async fn whole(&self) -> Result<(), Error> {
        let ended = self.wait_for(|state| match &state.phase {
            Phase::Coming | Phase::Listed => None,
            Phase::Ended => Some(Ok(())),
            Phase::Broken(error) => Some(Err(Error::Shared(Arc::clone(error)))),
        });
        ended.await.unwrap_or(Err(Error::Closed))
    }

    /// Whether the blob `digest` is in the store because of this archive.
    pub(super) fn brought(&self, digest: &Digest) -> bool {
        self.state().brought.contains(digest)
    }
}

impl State {
    fn place(&self) -> String {
        self.archive.place().to_owned()
    }

    fn has(&self, digest: &Digest) -> bool {
        self.archive.find(digest).is_some()
            || self.apart.contains(digest)
            || self.taken.contains(digest)
            || self.current == Some(*digest)
    }

    /// Why `digest`, which has not come by, will not come any more.
    fn end(&self, digest: Digest) -> Option<Error> {
        match &self.phase {
            Phase::Coming | Phase::Listed => None,
            Phase::Ended => Some(Error::Incomplete { digest, place: self.place() }),
            Phase::Broken(error) => Some(Error::Shared(Arc::clone(error))),
        }
    }
}
