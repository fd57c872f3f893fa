//! Layers' blobs on their way into containerd's content store, and into files at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use super::Error;
use super::destination::BlobIngest;
use super::plan::Layer;
use crate::containerd::labels::{self, Labels};
use crate::containerd::{self, ContentStore, Ingest, ingest_reference};
use crate::oci::{Descriptor, Digest};
use crate::unpack::{LayerSink, Unpacker};

/// A blob on its way into the content store, and into files at the same time.
pub(super) struct ContainerdIngest {
    pub(super) ingest: Box<Ingest>,
    /// They go with the commit, which saves a transaction.
    pub(super) labels: Labels,
    pub(super) unpacked: Option<Unpacked>,
}

/// A layer that is unpacked while its blob comes in.
pub(super) struct Unpacked {
    pub(super) unpacker: Arc<Unpacker>,
    pub(super) sink: LayerSink,
}

#[async_trait]
impl BlobIngest for ContainerdIngest {
    fn offset(&self) -> u64 {
        self.ingest.offset()
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.ingest.write(bytes.clone()).await?;
        if let Some(unpacked) = &mut self.unpacked {
            unpacked.sink.write(bytes).await;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Error> {
        Ok(self.ingest.flush().await?)
    }

    async fn suspend(self: Box<Self>) {
        if let Some(Unpacked { sink, .. }) = self.unpacked {
            sink.abandon().await;
        }
        if let Err(error) = self.ingest.suspend().await {
            tracing::debug!(%error, "the last bytes of a blob are lost");
        }
    }

    async fn commit(mut self: Box<Self>) -> Result<(), Error> {
        let committed = self.ingest.commit(self.labels).await;
        settle(self.unpacked, committed).await
    }
}

/// A small blob, kept in memory until it is complete.
pub(super) struct WholeBlob {
    pub(super) content: ContentStore,
    pub(super) layer: Layer,
    pub(super) bytes: BytesMut,
    pub(super) labels: Labels,
    pub(super) labelled: Labelled,
    pub(super) unpacked: Option<Unpacked>,
}

/// Blobs that this run has stored, and the labels that they were given: nothing need be asked about
/// those. Clones share them.
#[derive(Debug, Default, Clone)]
pub(super) struct Labelled(Arc<Mutex<HashMap<Digest, Labels>>>);

impl Labelled {
    fn note(&self, digest: Digest, labels: Labels) {
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl BlobIngest for WholeBlob {
    fn offset(&self) -> u64 {
        self.bytes.len() as u64
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        let Descriptor { digest, size: expected, .. } = self.layer.descriptor;
        let actual = self.offset() + bytes.len() as u64;
        if actual > expected {
            return Err(containerd::Error::Size { digest, expected, actual }.into());
        }
        self.bytes.extend_from_slice(&bytes);
        if let Some(unpacked) = &mut self.unpacked {
            unpacked.sink.write(bytes).await;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }

    async fn suspend(self: Box<Self>) {
        if let Some(Unpacked { sink, .. }) = self.unpacked {
            sink.abandon().await;
        }
    }

    async fn commit(mut self: Box<Self>) -> Result<(), Error> {
        let descriptor = &self.layer.descriptor;
        // A diff ID on a blob says that they belong together, so it has to be true.
        if let (Some(unpacked), Some(layer)) = (&self.unpacked, self.layer.unpackable())
            && unpacked.sink.is_proven(&layer)
        {
            self.labels.extend([labels::uncompressed(&layer.identity.diff_id)]);
        }
        let (reference, bytes) = (ingest_reference(descriptor), self.bytes.freeze());
        let stored = self.content.put(&reference, descriptor, bytes, self.labels.clone()).await;
        if stored.is_ok() {
            self.labelled.note(descriptor.digest, self.labels);
        }
        settle(self.unpacked, stored).await
    }
}

/// Keeps what was unpacked of a blob that was stored, and drops it otherwise.
async fn settle(
    unpacked: Option<Unpacked>,
    stored: Result<(), containerd::Error>,
) -> Result<(), Error> {
    match (unpacked, stored) {
        (Some(Unpacked { unpacker, sink }), Ok(())) => {
            unpacker.take_back(sink);
            Ok(())
        }
        (Some(Unpacked { sink, .. }), Err(error)) => {
            sink.abandon().await;
            Err(error.into())
        }
        (None, stored) => Ok(stored?),
    }
}
