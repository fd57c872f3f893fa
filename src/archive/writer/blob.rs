//! A blob on its way into an archive, hashed as it passes: to the archive's end, or to a place that was
//! left for it, where several come at the same time.
//!
//! One thread hashes and one writes: either alone is about as fast as `cp`, and the two in turn would be
//! half of that.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::task::{JoinHandle, spawn_blocking};

use super::error::Error;
use super::recorder::Recorder;
use crate::oci::{Digest, Hasher};
use crate::sync::lock;

/// Pieces on their way to a thread. A piece is at most half a MiB, and both threads have the same ones.
const QUEUE: usize = 4;

/// A blob on its way into an archive.
#[derive(Debug)]
pub struct BlobWriter {
    way: Way,
    /// What it must hash to.
    digest: Digest,
    /// How many bytes it must have.
    size: u64,
    hashing: Work<Digest>,
    /// Bytes so far.
    length: u64,
}

/// Where its bytes go.
#[derive(Debug)]
enum Way {
    /// Behind what is there, under a name that is taken with the first of them.
    End(OwnedMutexGuard<Recorder>, Option<String>),
    /// To its own place.
    Place(Place, Work<io::Result<()>>),
}

/// A place for a blob in an archive.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
    /// What the archive is called.
    pub(super) archive: String,
    /// Those that are still empty.
    pub(super) empty: Places,
}

/// The places of blobs that are not there yet: where each begins, and how long it is.
pub(super) type Places = Arc<Mutex<HashMap<Digest, (Arc<File>, u64, u64)>>>;

impl BlobWriter {
    /// One that goes to the end of what `recorder` writes.
    pub(super) fn behind(
        recorder: OwnedMutexGuard<Recorder>,
        name: String,
        digest: Digest,
        size: u64,
    ) -> Self {
        Self::by(Way::End(recorder, Some(name)), digest, size)
    }

    /// One that goes to its own place.
    pub(super) fn at(place: Place, digest: Digest, size: u64) -> Self {
        let (file, mut at) = (Arc::clone(&place.file), place.offset);
        let writing = Work::start(move |mut pieces| {
            while let Some(piece) = pieces.blocking_recv() {
                file.write_all_at(&piece, at)?;
                at += piece.len() as u64;
            }
            Ok(())
        });
        Self::by(Way::Place(place, writing), digest, size)
    }

    fn by(way: Way, digest: Digest, size: u64) -> Self {
        let hashing = Work::start(|mut pieces| {
            let mut hasher = Hasher::new();
            while let Some(piece) = pieces.blocking_recv() {
                hasher.update(&piece);
            }
            hasher.finish()
        });
        Self { way, digest, size, hashing, length: 0 }
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// [`Error::Write`] of this or an earlier write.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.begin().await?;
        let left = self.size.saturating_sub(self.length);
        self.length += bytes.len() as u64;
        self.hashing.add(bytes.clone()).await;
        match &mut self.way {
            Way::End(recorder, _) => recorder.content(bytes).await,
            // Behind it is another's place.
            Way::Place(place, writing) => {
                let fitting = usize::try_from(left).map_or(bytes.len(), |it| it.min(bytes.len()));
                match writing.add(bytes.slice(..fitting)).await {
                    true => Ok(()),
                    false => Err(place.why_stopped(writing).await),
                }
            }
        }
    }

    /// Checks size and digest, and keeps the blob.
    ///
    /// # Errors
    /// [`Error::Mismatch`], after which the blob was taken back if that can be done.
    pub async fn commit(mut self) -> Result<(), Error> {
        self.begin().await?;
        let actual = self.hashing.finish().await?;
        let (expected, size) = (self.digest, self.length);
        let is_right = actual == expected && size == self.size;
        match &mut self.way {
            Way::End(recorder, _) if is_right => recorder.end_blob().await?,
            Way::End(recorder, _) => recorder.take_back().await?,
            Way::Place(place, writing) => {
                place.written(writing.finish().await?)?;
                if is_right {
                    lock(&place.empty).remove(&expected);
                }
            }
        }
        if is_right { Ok(()) } else { Err(Error::Mismatch { expected, actual, size }) }
    }

    /// Lets go of the blob.
    pub async fn give_up(mut self) {
        match &mut self.way {
            Way::End(recorder, _) => {
                // Who writes next is told what went wrong.
                let _ = recorder.take_back().await;
            }
            // Who comes next begins when nobody else writes there.
            Way::Place(_, writing) => drop(writing.finish().await),
        }
    }

    /// Writes the header, when the first bytes are there: of a blob that can't be had, nothing is written.
    async fn begin(&mut self) -> Result<(), Error> {
        if let Way::End(recorder, name) = &mut self.way
            && let Some(name) = name.take()
        {
            recorder.begin_blob(name, self.size).await?;
        }
        Ok(())
    }
}

impl Place {
    fn written(&self, written: io::Result<()>) -> Result<(), Error> {
        written.map_err(|source| Error::Write { place: self.archive.clone(), source })
    }

    async fn why_stopped(&self, writing: &mut Work<io::Result<()>>) -> Error {
        let stopped = writing.finish().await.and_then(|written| self.written(written));
        stopped.err().unwrap_or_else(|| Error::Stopped(io::Error::other("early")))
    }
}

/// A thread that does something with the pieces that it is sent.
#[derive(Debug)]
struct Work<T> {
    pieces: mpsc::Sender<Bytes>,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Work<T> {
    fn start(work: impl FnOnce(mpsc::Receiver<Bytes>) -> T + Send + 'static) -> Self {
        let (pieces, queue) = mpsc::channel(QUEUE);
        Self { pieces, thread: spawn_blocking(move || work(queue)) }
    }

    /// Hands on a piece; `false` when the thread is gone, which tells why at the end.
    async fn add(&mut self, piece: Bytes) -> bool {
        self.pieces.send(piece).await.is_ok()
    }

    /// What came of it.
    async fn finish(&mut self) -> Result<T, Error> {
        // Closing the queue is what ends the thread.
        self.pieces = mpsc::channel(1).0;
        (&mut self.thread).await.map_err(|stopped| Error::Stopped(io::Error::other(stopped)))
    }
}
