//! An archive on its way: tables of contents, documents, then blobs one by one, each hashed as it
//! passes. A blob that turns out wrong is taken back where that can be done.
//!
//! Two threads share the work, one hashing and one writing: either alone is about as fast as `cp`, and
//! the two in turn would be half of that.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};
use tokio::task::{JoinHandle, spawn_blocking};

use super::contents::Contents;
use super::error::Error;
use super::output::{Target, Unfinished};
use super::tape::Tape;
use super::wrapping::{Wrapped, Wrapping};
use crate::oci::{Descriptor, Digest, Hasher};

/// Orders on their way to the writing thread, and pieces on theirs to the hashing one. A piece is at
/// most some hundred KiB, so this bounds the memory behind a slow disk to a few MiB.
const QUEUE: usize = 4;

/// An archive being written. It is not there until [`Writer::finish`].
#[derive(Debug)]
pub struct Writer {
    state: Arc<Mutex<State>>,
}

/// The end of the archive, as far as it has come. Whoever writes to it has it alone.
#[derive(Debug)]
struct State {
    orders: mpsc::Sender<Order>,
    /// Gone once its result was taken.
    thread: Option<JoinHandle<io::Result<()>>>,
    unfinished: Option<Unfinished>,
    place: String,
    /// Whether a blob can be taken back.
    is_cuttable: bool,
    /// Whether a blob was begun and neither kept nor taken back.
    is_amid_blob: bool,
    /// Whether a wrong blob is in what can't be cut.
    is_spoiled: bool,
}

/// What the writing thread is to do.
#[derive(Debug)]
enum Order {
    Directory(&'static str),
    /// Begins a file of so many bytes.
    File(String, u64),
    Content(Bytes),
    /// Ends a file.
    Pad,
    /// Forgets the file begun last.
    TakeBack,
    /// Ends the archive.
    End,
}

impl Writer {
    /// Begins an archive.
    ///
    /// # Errors
    /// When there can be none at `target`.
    pub async fn create(target: Target, wrapping: Wrapping) -> Result<Self, Error> {
        let place = target.place();
        let opened = spawn_blocking(move || target.open()).await;
        let (output, unfinished) =
            opened.map_err(|stopped| Error::Stopped(io::Error::other(stopped)))??;
        let is_cuttable = !output.is_stream() && wrapping == Wrapping::None;
        let output = wrapping.around(output);
        let output = output.map_err(|source| Error::Write { place: place.clone(), source })?;
        let (orders, queue) = mpsc::channel(QUEUE);
        let thread = Some(spawn_blocking(move || carry_out(output, queue)));
        let state = State {
            orders,
            thread,
            unfinished,
            place,
            is_cuttable,
            is_amid_blob: false,
            is_spoiled: false,
        };
        Ok(Self { state: Arc::new(Mutex::new(state)) })
    }

    /// Writes the tables of contents.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub async fn begin(&self, contents: Contents) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        for (name, bytes) in contents.files {
            state.whole(name.to_owned(), bytes).await?;
        }
        for name in contents.directories {
            state.order(Order::Directory(name)).await?;
        }
        Ok(())
    }

    /// Writes a small file, whose bytes are the right ones.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub async fn document(&self, path: String, bytes: Bytes) -> Result<(), Error> {
        self.state.lock().await.whole(path, bytes).await
    }

    /// Begins the blob that is to be at `path`, after the one before is kept or taken back.
    ///
    /// # Errors
    /// [`Error::Spoiled`] when a wrong one can't be taken back; [`Error::Write`].
    pub async fn blob(&self, path: String, descriptor: &Descriptor) -> Result<BlobWriter, Error> {
        let mut state = Arc::clone(&self.state).lock_owned().await;
        if state.is_amid_blob {
            // Whoever began it was ended.
            state.take_back().await?;
        }
        if state.is_spoiled {
            return Err(Error::Spoiled(state.place.clone()));
        }
        let Descriptor { digest, size, .. } = *descriptor;
        Ok(BlobWriter { state, path, digest, size, hashing: Hashing::start(), length: 0 })
    }

    /// Ends the archive, and shows it under its name.
    ///
    /// # Errors
    /// [`Error::Write`]; there is no archive then.
    pub async fn finish(&self) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        state.order(Order::End).await?;
        state.stop().await?;
        match state.unfinished.take() {
            Some(unfinished) => spawn_blocking(move || unfinished.finish())
                .await
                .unwrap_or_else(|stopped| Err(Error::Stopped(io::Error::other(stopped)))),
            None => Ok(()),
        }
    }
}

impl State {
    async fn whole(&mut self, name: String, bytes: Bytes) -> Result<(), Error> {
        self.order(Order::File(name, bytes.len() as u64)).await?;
        self.order(Order::Content(bytes)).await?;
        self.order(Order::Pad).await
    }

    async fn order(&mut self, order: Order) -> Result<(), Error> {
        if self.orders.send(order).await.is_ok() {
            return Ok(());
        }
        // The thread stopped: its result says why.
        self.stop().await?;
        Err(Error::Stopped(io::Error::other("early")))
    }

    async fn take_back(&mut self) -> Result<(), Error> {
        self.is_amid_blob = false;
        if !self.is_cuttable {
            self.is_spoiled = true;
            return Ok(());
        }
        self.order(Order::TakeBack).await
    }

    /// Awaits the end of the writing thread.
    async fn stop(&mut self) -> Result<(), Error> {
        // Closing the queue is what ends the thread.
        self.orders = mpsc::channel(1).0;
        match self.thread.take() {
            Some(thread) => match thread.await {
                Ok(written) => {
                    written.map_err(|source| Error::Write { place: self.place.clone(), source })
                }
                Err(stopped) => Err(Error::Stopped(io::Error::other(stopped))),
            },
            None => Err(Error::Stopped(io::Error::other("an earlier write failed"))),
        }
    }
}

/// A blob on its way into an archive.
#[derive(Debug)]
pub struct BlobWriter {
    state: OwnedMutexGuard<State>,
    path: String,
    /// What it must hash to.
    digest: Digest,
    /// How many bytes it must have.
    size: u64,
    hashing: Hashing,
    /// Bytes so far.
    length: u64,
}

impl BlobWriter {
    /// Appends `bytes`.
    ///
    /// # Errors
    /// [`Error::Write`] of this or an earlier write.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.begin().await?;
        self.length += bytes.len() as u64;
        self.hashing.add(bytes.clone()).await;
        self.state.order(Order::Content(bytes)).await
    }

    /// Checks size and digest, and keeps the blob.
    ///
    /// # Errors
    /// [`Error::Mismatch`], after which the blob was taken back if that can be done.
    pub async fn commit(mut self) -> Result<(), Error> {
        self.begin().await?;
        let actual = self.hashing.finish().await?;
        let (expected, size) = (self.digest, self.length);
        if actual == expected && size == self.size {
            self.state.is_amid_blob = false;
            return self.state.order(Order::Pad).await;
        }
        self.state.take_back().await?;
        Err(Error::Mismatch { expected, actual, size })
    }

    /// Lets go of the blob.
    pub async fn give_up(mut self) {
        if self.state.is_amid_blob {
            // Who writes next is told what went wrong.
            let _ = self.state.take_back().await;
        }
    }

    /// Writes the header, when the first bytes are there: of a blob that can't be had, nothing is written.
    async fn begin(&mut self) -> Result<(), Error> {
        if self.state.is_amid_blob {
            return Ok(());
        }
        let order = Order::File(std::mem::take(&mut self.path), self.size);
        self.state.order(order).await?;
        self.state.is_amid_blob = true;
        Ok(())
    }
}

/// A thread that hashes what it is sent.
#[derive(Debug)]
struct Hashing {
    pieces: mpsc::Sender<Bytes>,
    thread: JoinHandle<Digest>,
}

impl Hashing {
    fn start() -> Self {
        let (pieces, mut queue) = mpsc::channel::<Bytes>(QUEUE);
        let thread = spawn_blocking(move || {
            let mut hasher = Hasher::new();
            while let Some(piece) = queue.blocking_recv() {
                hasher.update(&piece);
            }
            hasher.finish()
        });
        Self { pieces, thread }
    }

    async fn add(&mut self, piece: Bytes) {
        // A thread that is gone tells so at the end.
        let _ = self.pieces.send(piece).await;
    }

    async fn finish(&mut self) -> Result<Digest, Error> {
        // Closing the queue is what ends the thread.
        self.pieces = mpsc::channel(1).0;
        (&mut self.thread).await.map_err(|stopped| Error::Stopped(io::Error::other(stopped)))
    }
}

/// The writing thread.
fn carry_out(output: Wrapped, mut orders: mpsc::Receiver<Order>) -> io::Result<()> {
    let mut tape = Tape::new(output);
    let mut begin = 0;
    while let Some(order) = orders.blocking_recv() {
        let done = match order {
            Order::Directory(name) => tape.directory(name),
            Order::File(name, size) => {
                begin = tape.position();
                tape.file(&name, size)
            }
            Order::Content(bytes) => tape.content(&bytes),
            Order::Pad => tape.pad(),
            Order::TakeBack => tape.back_to(begin).cut(begin),
            Order::End => {
                tape.end()?;
                return tape.into_output().finish();
            }
        };
        if done.is_err() {
            tape.into_output().abandon();
            return done;
        }
    }
    tape.into_output().abandon();
    Ok(())
}
