//! Small blobs that are read before their turn.

use std::collections::HashMap;
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
const MAX_VANGUARD_BYTES: u64 = 2 << 20;

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
        let read = match self {
            Self::Read(read) => read.take()?,
            Self::Sent(vanguard) => {
                let asked = lock(&vanguard.coming).remove(digest)?;
                asked.await.ok()??
            }
        };
        Some(Box::new(read))
    }
}

/// What is done for an image while its documents come: the pull of a small one is nothing but round trips,
/// and this saves some of them. Layers that nobody takes are given up.
#[derive(Default)]
pub(super) struct Vanguard {
    /// How many layers may come at the same time.
    concurrency: usize,
    coming: Mutex<HashMap<Digest, AbortOnDropHandle<Option<ReadAhead>>>>,
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

    /// Has `layers`, all of an image, come from `source`, as far as `sink` has use for them.
    pub(super) fn send(
        &self,
        layers: &[Descriptor],
        source: &Arc<dyn Source>,
        sink: &Arc<dyn Sink>,
    ) {
        let mut coming = lock(&self.coming);
        let bytes = layers.iter().fold(0, |sum: u64, layer| sum.saturating_add(layer.size));
        let is_small = layers.len() <= self.concurrency && bytes <= MAX_VANGUARD_BYTES;
        // Another platform's come in their turn.
        if !coming.is_empty() || !is_small || !source.is_remote() {
            return;
        }
        for (position, layer) in layers.iter().enumerate() {
            if layer.data().is_some() {
                continue;
            }
            let is_base = position == 0;
            let (source, sink, wanted) = (Arc::clone(source), Arc::clone(sink), layer.clone());
            coming.entry(layer.digest).or_insert_with(|| {
                AbortOnDropHandle::new(tokio::spawn(async move {
                    if !sink.is_lacking(&wanted).await {
                        return None;
                    }
                    // Whoever asks again is told why it can't be had.
                    let read = async { source.blob(&wanted, 0).await.ok().map(ReadAhead::of) };
                    let ready = async {
                        if is_base {
                            sink.make_ready(&wanted).await;
                        }
                    };
                    join!(read, ready).0
                }))
            });
        }
    }
}
