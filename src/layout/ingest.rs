//! One blob being written: a locked partial file, hashed on the way, renamed when it is whole.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Error;
use super::blobs::Blobs;
use super::blocking::run_blocking;
use super::directory::Directory;
use super::names::INGEST_DIRECTORY;
use crate::oci::{Descriptor, Digest, Hasher};

/// Pieces on their way to the writer thread. A piece is what one read from a socket gave (at most a
/// few hundred KiB), so this bounds the memory behind a slow disk to a few MiB.
const QUEUE: usize = 8;

/// A blob being written.
#[derive(Debug)]
pub struct Ingest {
    expected: Digest,
    size: u64,
    offset: u64,
    ingests: Directory,
    blobs: Blobs,
    writer: Writer,
}

/// A thread that hashes and writes what it is sent, and gives the file back at the end.
#[derive(Debug)]
struct Writer {
    queue: mpsc::Sender<Bytes>,
    /// Gone once its result was taken.
    thread: Option<JoinHandle<Result<Written, Error>>>,
}

#[derive(Debug)]
struct Written {
    file: File,
    hasher: Hasher,
    length: u64,
}

/// Opens the partial file of the blob `name`, beneath the layout's `root`, and waits for the lock on it,
/// which its writer's death releases. Returns the directory that it is in as well.
pub(super) fn lock_partial(root: &Directory, name: &str) -> Result<(Directory, File), Error> {
    loop {
        // Another run may have tidied the directory away.
        let ingests = root.made_directory(INGEST_DIRECTORY)?;
        let file = match ingests.own_file(name) {
            Err(error) if error.is_not_found() => continue,
            opened => opened?,
        };
        file.lock().map_err(|e| Error::io("lock", &ingests.path().join(name), e))?;
        // Whoever had the lock before may have thrown the file away, or made it the blob.
        if ingests.is_at(&file, name) {
            return Ok((ingests, file));
        }
    }
}

impl Ingest {
    /// Hashes what `file` holds and stands at its end. More than the blob's size is no beginning of
    /// it and is thrown away.
    pub(super) fn resume(
        mut file: File,
        ingests: Directory,
        blobs: Blobs,
        descriptor: &Descriptor,
    ) -> Result<Self, Error> {
        let partial = ingests.path().join(descriptor.digest.hex());
        let failed = |source| Error::io("read", &partial, source);
        let mut offset = file.metadata().map_err(failed)?.len();
        if offset > descriptor.size {
            file.set_len(0).map_err(failed)?;
            offset = 0;
        }
        let mut hasher = Hasher::new();
        hasher.update_from(&mut file).map_err(failed)?;
        let written = Written { file, hasher, length: offset };
        Ok(Self {
            expected: descriptor.digest,
            size: descriptor.size,
            offset,
            ingests,
            blobs,
            writer: Writer::start(written, partial),
        })
    }

    /// Where the next byte goes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// [`Error::Io`] of this or an earlier write.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.offset += bytes.len() as u64;
        if self.writer.queue.send(bytes).await.is_ok() {
            return Ok(());
        }
        // The thread stopped: its result says why.
        Err(self
            .stop()
            .await
            .err()
            .unwrap_or_else(|| Error::Stopped(std::io::Error::other("early"))))
    }

    /// Throws away what is there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub async fn restart(&mut self) -> Result<(), Error> {
        let mut written = self.stop().await?;
        let partial = self.partial();
        written = run_blocking(move || {
            let failed = |source| Error::io("truncate", &partial, source);
            written.file.set_len(0).map_err(failed)?;
            written.file.seek(SeekFrom::Start(0)).map_err(failed)?;
            Ok(Written { file: written.file, hasher: Hasher::new(), length: 0 })
        })
        .await?;
        self.writer = Writer::start(written, self.partial());
        self.offset = 0;
        Ok(())
    }

    /// Stops for now, with every piece written.
    pub async fn suspend(mut self) {
        // A later run goes by the file's length, whatever could be written of it.
        let _ = self.stop().await;
    }

    /// Checks size and digest, and makes the blob visible.
    ///
    /// # Errors
    /// [`Error::Mismatch`], after which the partial file is gone; [`Error::Io`].
    pub async fn commit(mut self) -> Result<(), Error> {
        let written = self.stop().await?;
        run_blocking(move || {
            let actual = written.hasher.finish();
            if actual != self.expected || written.length != self.size {
                let _ = self.ingests.remove(&self.expected.hex());
                return Err(Error::Mismatch {
                    expected: self.expected,
                    actual,
                    size: written.length,
                });
            }
            let failed = |source| Error::io("write", &self.partial(), source);
            written.file.sync_data().map_err(failed)?;
            // The lock goes with the file: whoever waits for it finds the blob in its place.
            self.ingests.move_to(&self.expected.hex(), self.blobs.directory())?;
            self.blobs.know(self.expected);
            Ok(())
        })
        .await
    }

    fn partial(&self) -> PathBuf {
        self.ingests.path().join(self.expected.hex())
    }

    /// Ends the writer thread and takes back the file.
    async fn stop(&mut self) -> Result<Written, Error> {
        // Closing the queue is what ends the thread.
        self.writer.queue = mpsc::channel(1).0;
        match self.writer.thread.take() {
            Some(thread) => thread
                .await
                .unwrap_or_else(|stopped| Err(Error::Stopped(std::io::Error::other(stopped)))),
            None => Err(Error::Stopped(std::io::Error::other("an earlier write failed"))),
        }
    }
}

impl Writer {
    fn start(mut written: Written, path: PathBuf) -> Self {
        let (queue, mut pieces) = mpsc::channel::<Bytes>(QUEUE);
        let thread = tokio::task::spawn_blocking(move || {
            while let Some(piece) = pieces.blocking_recv() {
                written.hasher.update(&piece);
                written.file.write_all(&piece).map_err(|e| Error::io("write", &path, e))?;
                written.length += piece.len() as u64;
            }
            Ok(written)
        });
        Self { queue, thread: Some(thread) }
    }
}
