//! An archive while it comes by: what of it is kept in memory, handed to whoever waits, or put apart.

use std::io::BufRead;
use std::sync::Arc;
use std::thread;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::arrivals::{Arrivals, Piece};
use super::source::PassingSource;
use crate::archive::{ArchiveImage, MAX_DOCUMENT_BYTES, Passing, ReadError};
use crate::oci::{Descriptor, Digest};
use crate::progress::{self, BlobKind, BlobState, Event};
use crate::transfer::error::Error;
use crate::transfer::sinks::{StagedBlob, Staging};

/// Pieces that were read and not yet taken. A piece has 256 KiB at the most.
const QUEUED_PIECES: usize = 8;

/// An archive that comes by.
pub struct Intake {
    arrivals: Arc<Arrivals>,
    /// `None` where it is only looked at.
    staging: Option<Arc<Staging>>,
    progress: Arc<dyn progress::Sink>,
    task: JoinHandle<()>,
}

impl Intake {
    /// Begins to take in the archive `tar`, called `place` in messages. Of its documents `document_bytes` are
    /// kept in memory; others are put apart.
    ///
    /// # Errors
    /// When there is no thread to read it.
    pub fn start(
        tar: Box<dyn BufRead + Send>,
        place: &str,
        document_bytes: u64,
        staging: Staging,
        progress: Arc<dyn progress::Sink>,
    ) -> std::io::Result<Self> {
        let (sender, queue) = mpsc::channel(QUEUED_PIECES);
        let (told, outcome) = tokio::sync::oneshot::channel();
        let name = place.to_owned();
        thread::Builder::new().name("archive".to_owned()).spawn(move || {
            let take = |passing| sender.blocking_send(passing).is_ok();
            let read = Passing::read(tar, &name, document_bytes, take);
            // Whoever is gone does not want to know.
            let _ = told.send(read);
        })?;
        let (arrivals, staging) = (Arc::new(Arrivals::new(place)), Arc::new(staging));
        let mut taking = Taking {
            queue,
            arrivals: Arc::clone(&arrivals),
            staging: Arc::clone(&staging),
            progress: Arc::clone(&progress),
        };
        let task = tokio::spawn(async move {
            let taken = taking.all().await;
            taking.queue.close();
            let outcome = match taken {
                Ok(()) => read_outcome(outcome.await),
                Err(error) => Err(error),
            };
            taking.arrivals.ended(outcome);
        });
        Ok(Self { arrivals, staging: Some(staging), progress, task })
    }

    /// Looks at the archive `tar`, called `place` in messages, and keeps no blob of it.
    pub fn look(
        tar: Box<dyn BufRead + Send>,
        place: &str,
        progress: Arc<dyn progress::Sink>,
    ) -> Self {
        let arrivals = Arc::new(Arrivals::new(place));
        let (looked, name) = (Arc::clone(&arrivals), place.to_owned());
        let task = tokio::task::spawn_blocking(move || looked.ended(look_at(tar, &name, &looked)));
        Self { arrivals, staging: None, progress, task }
    }

    /// The images, as soon as they are known.
    ///
    /// # Errors
    /// When the archive is none of images, or is broken.
    pub async fn images(&self) -> Result<Vec<ArchiveImage>, Error> {
        self.arrivals.images().await
    }

    /// The image that `target`, one of the archive's, stands for.
    pub fn source(&self, target: Descriptor) -> PassingSource {
        let (arrivals, staging) = (Arc::clone(&self.arrivals), self.staging.clone());
        PassingSource::new(arrivals, staging, target, Arc::clone(&self.progress))
    }

    /// Ends it. What no image has taken is let go of; with `sync` its room is there when this returns.
    pub async fn end(self, sync: bool) {
        self.task.abort();
        // What it was writing has to be given up before that is let go of.
        let _ = self.task.await;
        if let Some(staging) = self.staging {
            staging.end(sync).await;
        }
    }
}

fn look_at(tar: impl BufRead, place: &str, arrivals: &Arrivals) -> Result<(), Error> {
    let mut blob = None;
    let mut failed = None;
    Passing::read(tar, place, MAX_DOCUMENT_BYTES, |passing| {
        let learnt = match passing {
            Passing::Entry(entry) => arrivals.learn(|archive| archive.entry(&entry)),
            Passing::Document(entry, bytes) => {
                arrivals.learn(|archive| archive.document(&entry, bytes).map(drop))
            }
            Passing::Blob(entry, begin) => {
                let learnt = arrivals.learn(|archive| archive.entry(&entry));
                blob = Some((entry, begin));
                learnt
            }
            Passing::Bytes(_) => Ok(()),
            Passing::End(found) => {
                if let Some((entry, begin)) = blob.take()
                    && let Some(digest) = begin.expected.or(found)
                {
                    arrivals.passed(&entry, digest, begin.packing);
                }
                Ok(())
            }
        };
        failed = learnt.err();
        failed.is_none()
    })?;
    Ok(failed.map_or(Ok(()), Err)?)
}

fn read_outcome(
    outcome: Result<Result<(), ReadError>, tokio::sync::oneshot::error::RecvError>,
) -> Result<(), Error> {
    match outcome {
        Ok(read) => Ok(read?),
        Err(_) => Err(Error::Closed),
    }
}

struct Taking {
    queue: mpsc::Receiver<Passing>,
    arrivals: Arc<Arrivals>,
    staging: Arc<Staging>,
    progress: Arc<dyn progress::Sink>,
}

impl Taking {
    /// Takes all that comes. Where the archive breaks off, its reader says why.
    async fn all(&mut self) -> Result<(), Error> {
        while let Some(passing) = self.queue.recv().await {
            match passing {
                Passing::Entry(entry) => self.arrivals.learn(|archive| archive.entry(&entry))?,
                Passing::Document(entry, bytes) => {
                    if self.arrivals.learn(|archive| archive.document(&entry, bytes))? {
                        self.arrivals.listed();
                    }
                }
                Passing::Blob(entry, begin) => {
                    self.arrivals.learn(|archive| archive.entry(&entry))?;
                    let Some(digest) = self.blob(entry.size, begin.expected).await? else {
                        return Ok(());
                    };
                    self.arrivals.passed(&entry, digest, begin.packing);
                }
                // They follow a blob, which has taken them.
                Passing::Bytes(_) | Passing::End(_) => {}
            }
        }
        Ok(())
    }

    /// Takes a blob: to whoever waits for it, or apart. Returns its digest, unless it breaks off.
    async fn blob(&mut self, size: u64, expected: Option<Digest>) -> Result<Option<Digest>, Error> {
        let (arrivals, staging) = (Arc::clone(&self.arrivals), Arc::clone(&self.staging));
        let Some(digest) = expected else {
            let blob = staging.blob(None, size).await?;
            return self.put_apart(blob, None, size).await;
        };
        // Whoever has just opened it in the store has the lock on it, and is about to wait here.
        let blob = tokio::select! {
            biased;
            taker = arrivals.taker(&digest) => return Ok(self.hand_over(digest, &taker).await),
            blob = staging.blob(expected, size) => blob?,
        };
        match arrivals.begin_apart(&digest, !blob.is_present()) {
            Some(taker) => Ok(self.hand_over(digest, &taker).await),
            None => self.put_apart(blob, expected, size).await,
        }
    }

    async fn hand_over(&mut self, digest: Digest, taker: &mpsc::Sender<Piece>) -> Option<Digest> {
        loop {
            // One who has given up leaves the rest to come by.
            match self.queue.recv().await {
                Some(Passing::Bytes(bytes)) => drop(taker.send(Piece::Bytes(bytes)).await),
                Some(Passing::End(_)) => {
                    let _ = taker.send(Piece::End).await;
                    return Some(digest);
                }
                _ => return None,
            }
        }
    }

    async fn put_apart(
        &mut self,
        mut blob: StagedBlob<'_>,
        expected: Option<Digest>,
        size_bytes: u64,
    ) -> Result<Option<Digest>, Error> {
        let is_new = !blob.is_present();
        // One without a name can't be told of before its end.
        let told = expected.filter(|_| is_new);
        self.tell(told, size_bytes);
        loop {
            match self.queue.recv().await {
                Some(Passing::Bytes(bytes)) => {
                    if let Some(digest) = told {
                        let delta_bytes = bytes.len() as u64;
                        self.progress.event(Event::Received { digest, delta_bytes });
                    }
                    blob.write(bytes).await?;
                }
                Some(Passing::End(found)) => {
                    let digest = blob.finish(found).await?;
                    self.arrivals.apart(digest, is_new);
                    return Ok(Some(digest));
                }
                _ => return Ok(None),
            }
        }
    }

    fn tell(&self, digest: Option<Digest>, size_bytes: u64) {
        let Some(digest) = digest else { return };
        self.progress.event(Event::Blob {
            digest,
            kind: BlobKind::Layer,
            size_bytes,
            state: BlobState::Downloading,
            resumed_bytes: 0,
        });
    }
}
