//! The thread that writes an archive, entry by entry in one order, and what it is told to do.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};

use super::error::Error;
use super::output::Unfinished;
use super::tape::Tape;
use super::wrapping::Wrapped;

/// Orders on their way to the thread. A piece is at most some hundred KiB, so this bounds the memory
/// behind a slow disk to a few MiB.
const QUEUE: usize = 4;

/// The end of the archive, as far as it has come. Whoever writes to it has it alone.
#[derive(Debug)]
pub(super) struct Recorder {
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

/// What the thread is to do.
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
    /// Leaves room for files of so many bytes, and tells where their contents go.
    LayOut(Vec<(String, u64)>, oneshot::Sender<Option<LaidOut>>),
    /// Ends the archive.
    End,
}

/// Room for files in an archive.
#[derive(Debug)]
pub(super) struct LaidOut {
    /// The archive.
    pub(super) file: Arc<File>,
    /// Where the contents go, in the files' order.
    pub(super) offsets: Vec<u64>,
}

impl Recorder {
    pub(super) fn start(
        output: Wrapped,
        unfinished: Option<Unfinished>,
        place: String,
        is_cuttable: bool,
    ) -> Self {
        let (orders, queue) = mpsc::channel(QUEUE);
        let thread = Some(spawn_blocking(move || carry_out(output, queue)));
        let (is_amid_blob, is_spoiled) = (false, false);
        Self { orders, thread, unfinished, place, is_cuttable, is_amid_blob, is_spoiled }
    }

    pub(super) async fn directory(&mut self, name: &'static str) -> Result<(), Error> {
        self.order(Order::Directory(name)).await
    }

    /// A file, all of it.
    pub(super) async fn whole(&mut self, name: String, bytes: Bytes) -> Result<(), Error> {
        self.order(Order::File(name, bytes.len() as u64)).await?;
        self.order(Order::Content(bytes)).await?;
        self.order(Order::Pad).await
    }

    /// Leaves room for `files`, name and size of each; `None` where they must come in their order.
    pub(super) async fn lay_out(
        &mut self,
        files: Vec<(String, u64)>,
    ) -> Result<Option<LaidOut>, Error> {
        let (tell, told) = oneshot::channel();
        self.order(Order::LayOut(files, tell)).await?;
        match told.await {
            Ok(laid_out) => Ok(laid_out),
            Err(_) => Err(self.why_stopped().await),
        }
    }

    /// Gets ready for a blob.
    ///
    /// # Errors
    /// [`Error::Spoiled`] when a wrong one can't be taken back; [`Error::Write`].
    pub(super) async fn ready(&mut self) -> Result<(), Error> {
        if self.is_amid_blob {
            // Whoever began it was ended.
            self.take_back().await?;
        }
        if self.is_spoiled { Err(Error::Spoiled(self.place.clone())) } else { Ok(()) }
    }

    /// Begins a blob, which is then [ended](Self::end_blob) or [taken back](Self::take_back).
    pub(super) async fn begin_blob(&mut self, name: String, size: u64) -> Result<(), Error> {
        self.order(Order::File(name, size)).await?;
        self.is_amid_blob = true;
        Ok(())
    }

    pub(super) async fn content(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.order(Order::Content(bytes)).await
    }

    pub(super) async fn end_blob(&mut self) -> Result<(), Error> {
        self.is_amid_blob = false;
        self.order(Order::Pad).await
    }

    /// Takes back the blob that was begun, if one was, and can be.
    pub(super) async fn take_back(&mut self) -> Result<(), Error> {
        if !std::mem::take(&mut self.is_amid_blob) {
            return Ok(());
        }
        if !self.is_cuttable {
            self.is_spoiled = true;
            return Ok(());
        }
        self.order(Order::TakeBack).await
    }

    /// Ends the archive, and shows it under its name.
    pub(super) async fn finish(&mut self) -> Result<(), Error> {
        self.order(Order::End).await?;
        self.stop().await?;
        match self.unfinished.take() {
            Some(unfinished) => spawn_blocking(move || unfinished.finish())
                .await
                .unwrap_or_else(|stopped| Err(Error::Stopped(io::Error::other(stopped)))),
            None => Ok(()),
        }
    }

    async fn order(&mut self, order: Order) -> Result<(), Error> {
        match self.orders.send(order).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.why_stopped().await),
        }
    }

    /// Why the thread stopped: its result says so.
    async fn why_stopped(&mut self) -> Error {
        self.stop().await.err().unwrap_or_else(|| Error::Stopped(io::Error::other("early")))
    }

    /// Awaits the end of the thread.
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

/// The thread.
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
            Order::LayOut(files, tell) => lay_out(&mut tape, &files).map(|laid_out| {
                // Who asked may have been ended.
                let _ = tell.send(laid_out);
            }),
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

/// Writes the headers of `files`, with room for what is in them, if there can be such.
fn lay_out(tape: &mut Tape<Wrapped>, files: &[(String, u64)]) -> io::Result<Option<LaidOut>> {
    let mut imagined = Tape::imagined(tape.position());
    for (name, size) in files {
        imagined.file(name, *size)?;
        imagined.leave_out(*size)?;
    }
    imagined.end()?;
    let Some(file) = tape.output().set_aside(imagined.position())? else { return Ok(None) };
    let mut offsets = Vec::with_capacity(files.len());
    for (name, size) in files {
        tape.file(name, *size)?;
        offsets.push(tape.position());
        tape.leave_out(*size)?;
        let next = tape.position();
        tape.output().go_to(next)?;
    }
    Ok(Some(LaidOut { file, offsets }))
}
