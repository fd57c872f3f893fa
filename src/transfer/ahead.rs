//! Blobs that are read before their turn, small ones, or asked for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::join;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::task::AbortOnDropHandle;

use super::error::Error;
use super::plan::Document;
use super::provenance::Provenance;
use super::sink::Sink;
use super::source::{BlobStream, Source};
use crate::oci::{Descriptor, Digest};
use crate::sync::lock;

/// How large all layers together may be that come while their image's configuration does, in bytes (2 MiB).
/// Of others, one that is larger is asked for.
const MAX_VANGUARD_BYTES: u64 = 2 << 20;

/// A blob on its way, unless it was not wanted or could not be had.
type Coming = AbortOnDropHandle<Option<Box<dyn BlobStream>>>;

/// A blob that is read to its end, or to its first error, whether its bytes are wanted yet or not.
pub(super) struct ReadAhead {
    pieces: UnboundedReceiver<Result<Bytes, Error>>,
    reading: Option<AbortOnDropHandle<Box<dyn BlobStream>>>,
    /// The stream, which knows where it came from, when it was read.
    read: Option<Result<Box<dyn BlobStream>, JoinError>>,
}

impl ReadAhead {
    /// Begins to read `stream`, all of which may be held in memory.
    pub(super) fn of(mut stream: Box<dyn BlobStream>) -> Self {
        let (sender, pieces) = unbounded_channel();
        let reading = tokio::spawn(async move {
            while let Some(piece) = stream.next().await {
                let is_last = piece.is_err();
                if sender.send(piece).is_err() || is_last {
                    break;
                }
            }
            stream
        });
        Self { pieces, reading: Some(AbortOnDropHandle::new(reading)), read: None }
    }

    /// The same, when it was read.
    pub(super) async fn whole(mut self) -> Self {
        self.end().await;
        self
    }

    async fn end(&mut self) {
        if let Some(reading) = self.reading.take() {
            self.read = Some(reading.await);
        }
    }

    fn stream(&self) -> Option<&dyn BlobStream> {
        self.read.as_ref()?.as_ref().ok().map(|stream| &**stream)
    }
}

#[async_trait]
impl BlobStream for ReadAhead {
    async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        if let Some(piece) = self.pieces.recv().await {
            return Some(piece);
        }
        self.end().await;
        let stopped = self.read.take_if(|read| read.is_err())?.err()?;
        Some(Err(Error::Task(stopped)))
    }

    fn places(&self) -> Vec<String> {
        self.stream().map_or_else(Vec::new, BlobStream::places)
    }

    fn right(&self) {
        self.stream().into_iter().for_each(BlobStream::right);
    }

    fn wrong(&self) -> bool {
        self.stream().is_some_and(BlobStream::wrong)
    }

    fn damaged(&self, digest: Digest) -> Error {
        self.stream().map_or(Error::Mismatch(digest), |stream| stream.damaged(digest))
    }
}

/// Where a blob may be that is on its way already.
pub(super) enum Ahead {
    /// Here.
    Read(Option<ReadAhead>),
    /// Among the layers of its image.
    Sent(Arc<Vanguard>),
}

impl Ahead {
    /// The blob `digest`, once; `None` where it has to be asked for.
    pub(super) async fn take(&mut self, digest: &Digest) -> Option<Box<dyn BlobStream>> {
        match self {
            Self::Read(read) => Some(Box::new(read.take()?)),
            Self::Sent(vanguard) => {
                let asked = lock(&vanguard.coming).remove(digest)?;
                asked.await.ok()?
            }
        }
    }
}

/// What is done for an image while its documents come: the pull of a small one is nothing but round trips,
/// and this saves some of them. Layers that nobody takes are given up.
#[derive(Default)]
pub(super) struct Vanguard {
    /// How many layers may come at the same time.
    concurrency: usize,
    coming: Mutex<HashMap<Digest, Coming>>,
    storing: Mutex<Vec<JoinHandle<()>>>,
}

impl Vanguard {
    /// That of an image of which so many layers may come at the same time, or none.
    pub(super) fn of(concurrency: usize) -> Self {
        Self { concurrency, ..Self::default() }
    }

    /// Has `sink` store an index or a manifest of the image.
    pub(super) fn store(
        &self,
        document: &Document,
        provenance: &Arc<Provenance>,
        sink: &Arc<dyn Sink>,
    ) {
        if self.concurrency == 0 {
            return;
        }
        let (document, provenance) = (document.clone(), Arc::clone(provenance));
        let sink = Arc::clone(sink);
        lock(&self.storing).push(tokio::spawn(async move {
            // It is told where the image is published.
            if let Err(error) = sink.put_early(&document, &provenance).await {
                tracing::debug!(%error, "a document is stored later");
            }
        }));
    }

    /// Waits until everything is stored.
    pub(super) async fn has_stored(&self) {
        let storing = std::mem::take(&mut *lock(&self.storing));
        for task in storing {
            // It has nothing to tell.
            let _ = task.await;
        }
    }

    /// Has `layers`, all of an image, come from `source`, as far as `sink` has use for them: all of a small
    /// image, and of another one the beginning of a large layer, which finds out where its bytes are and how
    /// fast they come.
    pub(super) fn send(
        &self,
        layers: &[Descriptor],
        source: &Arc<dyn Source>,
        sink: &Arc<dyn Sink>,
    ) {
        let mut coming = lock(&self.coming);
        // Another platform's come in their turn.
        if self.concurrency == 0 || !coming.is_empty() || !source.is_remote() {
            return;
        }
        let bytes = layers.iter().fold(0, |sum: u64, layer| sum.saturating_add(layer.size));
        let is_small = layers.len() <= self.concurrency && bytes <= MAX_VANGUARD_BYTES;
        let begun = Arc::default();
        for (position, layer) in layers.iter().enumerate().take(self.concurrency) {
            let is_worth_it = is_small || layer.size > MAX_VANGUARD_BYTES;
            if layer.data().is_some() || !is_worth_it {
                continue;
            }
            let first = First {
                source: Arc::clone(source),
                sink: Arc::clone(sink),
                layer: layer.clone(),
                is_base: position == 0,
            };
            coming.entry(layer.digest).or_insert_with(|| {
                let sent = match is_small {
                    true => tokio::spawn(first.read()),
                    false => tokio::spawn(first.begin(Arc::clone(&begun))),
                };
                AbortOnDropHandle::new(sent)
            });
        }
    }
}

/// A layer that comes with its image's configuration.
struct First {
    source: Arc<dyn Source>,
    sink: Arc<dyn Sink>,
    layer: Descriptor,
    is_base: bool,
}

impl First {
    /// Reads all of it, and has the sink get ready for it.
    async fn read(self) -> Option<Box<dyn BlobStream>> {
        if !self.sink.is_lacking(&self.layer).await {
            return None;
        }
        let read = async {
            let stream = self.open().await?;
            Some(Box::new(ReadAhead::of(stream)) as Box<dyn BlobStream>)
        };
        let ready = async {
            if self.is_base {
                self.sink.make_ready(&self.layer).await;
            }
        };
        join!(read, ready).0
    }

    /// Asks for its beginning, unless another one's was `begun`.
    async fn begin(self, begun: Arc<AtomicBool>) -> Option<Box<dyn BlobStream>> {
        if !self.sink.is_lacking(&self.layer).await || begun.swap(true, Ordering::Relaxed) {
            return None;
        }
        self.open().await
    }

    async fn open(&self) -> Option<Box<dyn BlobStream>> {
        // Whoever asks again is told why it can't be had.
        self.source.blob(&self.layer, 0).await.ok()
    }
}
