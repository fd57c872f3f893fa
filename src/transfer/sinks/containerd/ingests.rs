//! Layers' blobs on their way into containerd's content store, and into files at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::join;
use tokio::time::Instant;

use super::storing::Storing;
use super::turns::Turn;
use crate::containerd::labels::{self, Labels};
use crate::containerd::{self, ContentStore, Ingest, Opened, ingest_reference};
use crate::oci::{Descriptor, Digest};
use crate::sync::lock;
use crate::transfer::error::Error;
use crate::transfer::sink;
use crate::unpack::LayerSink;

/// How long a small blob may take to come in before a later run should find what there is of it.
const IN_MEMORY: Duration = Duration::from_secs(2);

/// Largest blob, in bytes (512 KiB), that is stored while what was unpacked of it goes on its way: of larger
/// ones, files are what takes the time.
const MAX_LEFT_BLOB: u64 = 512 << 10;

/// A blob on its way into the content store, and into files at the same time.
pub(super) struct ContainerdIngest {
    pub(super) ingest: Box<Ingest>,
    /// They go with the commit, which saves a transaction.
    pub(super) labels: Labels,
    pub(super) unpacked: Option<LayerSink>,
}

#[async_trait]
impl sink::Ingest for ContainerdIngest {
    fn offset(&self) -> u64 {
        self.ingest.offset()
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.ingest.write(bytes.clone()).await?;
        if let Some(unpacked) = &mut self.unpacked {
            unpacked.write(bytes).await;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Error> {
        Ok(self.ingest.flush().await?)
    }

    async fn suspend(self: Box<Self>) {
        suspend(self.unpacked, Some(self.ingest)).await;
    }

    async fn commit(mut self: Box<Self>) -> Result<(), Error> {
        let committed = self.ingest.commit(self.labels).await;
        settle(self.unpacked, committed.map_err(Error::from)).await
    }
}

/// A blob small enough to be kept in memory until it is complete, and stored by a single message. On
/// a slow line it becomes an ingest like any other, so that a later run need not begin again.
pub(super) struct SmallBlob {
    content: ContentStore,
    descriptor: Descriptor,
    place: Place,
    /// When the place was last thought about.
    since: Instant,
    labels: Labels,
    after: After,
    unpacked: Option<LayerSink>,
    /// Others wait for it as long as this lives.
    turn: Turn,
}

/// Who takes note of a small blob when it is complete. Clones share it.
#[derive(Clone)]
pub(super) struct After {
    /// That it was stored, and how it was labelled.
    pub(super) labelled: Labelled,
    /// That it is being stored.
    pub(super) storing: Storing,
}

/// Where the bytes so far are.
enum Place {
    Memory(BytesMut),
    Ingest(Box<Ingest>),
}

/// Blobs that this run has stored, and the labels that they were given: nothing need be asked about
/// those. Clones share them.
#[derive(Debug, Default, Clone)]
pub(super) struct Labelled(Arc<Mutex<HashMap<Digest, Labels>>>);

impl Labelled {
    /// Takes note that the blob was stored with these.
    pub(super) fn note(&self, digest: Digest, labels: Labels) {
        self.blobs().insert(digest, labels);
    }

    /// Whether the blob was given all of `wanted`.
    pub(super) fn has(&self, digest: &Digest, wanted: &Labels) -> bool {
        let given = self.blobs();
        let given = given.get(digest);
        given.is_some_and(|given| wanted.iter().all(|(key, value)| given.get(key) == Some(value)))
    }

    fn blobs(&self) -> MutexGuard<'_, HashMap<Digest, Labels>> {
        // Nothing that could panic happens under this lock.
        lock(&self.0)
    }
}

impl SmallBlob {
    /// A blob of which there is nothing yet. It gets `labels`, of which note is taken `after` that.
    pub(super) fn new(
        content: ContentStore,
        descriptor: Descriptor,
        labels: Labels,
        after: After,
        unpacked: Option<LayerSink>,
        turn: Turn,
    ) -> Self {
        // Small: growing by and by would copy it several times, to memory that is new each time.
        let held = BytesMut::with_capacity(usize::try_from(descriptor.size).unwrap_or_default());
        let (place, since) = (Place::Memory(held), Instant::now());
        Self { content, descriptor, place, since, labels, after, unpacked, turn }
    }

    /// Moves what is in memory to where a later run finds it.
    async fn leave_memory(&mut self) -> Result<(), Error> {
        let Place::Memory(held) = &mut self.place else { return Ok(()) };
        self.since = Instant::now();
        let descriptor = &self.descriptor;
        // Where another client has stored it meanwhile, memory is as good a place.
        if let Opened::Ingest(mut ingest) =
            self.content.ingest(&ingest_reference(descriptor), descriptor).await?
        {
            if ingest.offset() > 0 {
                ingest.restart().await?;
            }
            ingest.write(std::mem::take(held).freeze()).await?;
            self.place = Place::Ingest(ingest);
        }
        Ok(())
    }
}

#[async_trait]
impl sink::Ingest for SmallBlob {
    fn offset(&self) -> u64 {
        match &self.place {
            Place::Memory(held) => held.len() as u64,
            Place::Ingest(ingest) => ingest.offset(),
        }
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        let Descriptor { digest, size: expected, .. } = self.descriptor;
        let actual = self.offset() + bytes.len() as u64;
        if actual > expected {
            return Err(containerd::Error::Size { digest, expected, actual }.into());
        }
        match &mut self.place {
            Place::Memory(held) => held.extend_from_slice(&bytes),
            Place::Ingest(ingest) => ingest.write(bytes.clone()).await?,
        }
        if let Some(unpacked) = &mut self.unpacked {
            unpacked.write(bytes).await;
        }
        if actual < expected && self.since.elapsed() > IN_MEMORY {
            self.leave_memory().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Error> {
        self.leave_memory().await?;
        match &mut self.place {
            Place::Memory(_) => Ok(()),
            Place::Ingest(ingest) => Ok(ingest.flush().await?),
        }
    }

    async fn suspend(self: Box<Self>) {
        suspend(
            self.unpacked,
            if let Place::Ingest(ingest) = self.place { Some(ingest) } else { None },
        )
        .await;
    }

    async fn commit(self: Box<Self>) -> Result<(), Error> {
        let Self { content, descriptor, place, labels, after, unpacked, turn, .. } = *self;
        let After { labelled, storing } = after;
        let digest = descriptor.digest;
        match place {
            Place::Memory(held) => {
                let bytes = held.freeze();
                let proven = with_diff_id(unpacked, labels);
                let (placed, proven) = join!(content.place(&descriptor, &bytes), proven);
                let (unpacked, labels) = proven?;
                let is_small = descriptor.size <= MAX_LEFT_BLOB;
                let store = async move {
                    let (_turn, reference) = (turn, ingest_reference(&descriptor));
                    let given = labels.clone();
                    content.put_placed(&reference, &descriptor, bytes, given, placed).await?;
                    labelled.note(digest, labels);
                    Ok(())
                };
                // Where it lies in its place, it is known to be the right one.
                let left = match placed.is_in_place() && unpacked.is_some() && is_small {
                    true => storing.leave(digest, store),
                    false => Err(store),
                };
                let stored = match left {
                    Ok(()) => Ok(()),
                    Err(store) => store.await,
                };
                settle(unpacked, stored).await
            }
            Place::Ingest(ingest) => {
                let (unpacked, labels) = with_diff_id(unpacked, labels).await?;
                let stored = ingest.commit(labels.clone()).await;
                if stored.is_ok() {
                    labelled.note(digest, labels);
                }
                settle(unpacked, stored.map_err(Error::from)).await
            }
        }
    }
}

/// Adds the diff ID to the labels, if it is known to be the blob's: it says that they belong together, so
/// it has to be true. With the labels of the commit, that is no call of its own, which is worth waiting for
/// the few files of a small layer.
async fn with_diff_id(
    unpacked: Option<LayerSink>,
    mut labels: Labels,
) -> Result<(Option<LayerSink>, Labels), Error> {
    let Some(unpacked) = unpacked else { return Ok((None, labels)) };
    let (unpacked, diff_id) = unpacked.prove().await?;
    labels.extend(diff_id.map(|diff_id| labels::uncompressed(&diff_id)));
    Ok((Some(unpacked), labels))
}

/// Stops for now, leaving what has come in for a later run.
async fn suspend(unpacked: Option<LayerSink>, ingest: Option<Box<Ingest>>) {
    if let Some(unpacked) = unpacked {
        unpacked.abandon().await;
    }
    let Some(ingest) = ingest else { return };
    if let Err(error) = ingest.suspend().await {
        tracing::debug!(%error, "the last bytes of a blob are lost");
    }
}

/// Keeps what was unpacked of a blob that was stored, and drops it otherwise.
async fn settle(unpacked: Option<LayerSink>, stored: Result<(), Error>) -> Result<(), Error> {
    match (unpacked, stored) {
        (Some(unpacked), Ok(())) => {
            unpacked.keep();
            Ok(())
        }
        (Some(unpacked), Err(error)) => {
            unpacked.abandon().await;
            Err(error)
        }
        (None, stored) => stored,
    }
}
