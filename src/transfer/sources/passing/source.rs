//! An image of an archive that comes by, as a source.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::StreamExt as _;
use tokio::sync::mpsc;

use super::arrivals::{Arrivals, Blob, Piece};
use crate::oci::{Descriptor, Digest, MAX_MANIFEST_BYTES};
use crate::progress::{self, Event};
use crate::transfer::error::Error;
use crate::transfer::provenance::Provenance;
use crate::transfer::sinks::Staging;
use crate::transfer::source::{BlobStream, DocumentKind, Resolved, Source};
use crate::transfer::sources::stored::StoredBlob;

/// An image of an archive that comes by.
pub struct PassingSource {
    arrivals: Arc<Arrivals>,
    /// `None` where the archive is only looked at.
    staging: Option<Arc<Staging>>,
    target: Descriptor,
    provenance: Provenance,
    progress: Arc<dyn progress::Sink>,
}

impl PassingSource {
    pub(super) fn new(
        arrivals: Arc<Arrivals>,
        staging: Option<Arc<Staging>>,
        target: Descriptor,
        progress: Arc<dyn progress::Sink>,
    ) -> Self {
        Self { arrivals, staging, target, provenance: Provenance::default(), progress }
    }

    /// The same, where it is known where the image can be had again.
    #[must_use]
    pub fn from(self, provenance: Provenance) -> Self {
        Self { provenance, ..self }
    }

    fn staging(&self) -> Result<&Staging, Error> {
        self.staging.as_deref().ok_or(Error::Closed)
    }
}

#[async_trait]
impl Source for PassingSource {
    async fn resolve(&self) -> Result<Resolved, Error> {
        let (descriptor, place) = (self.target.clone(), self.arrivals.place());
        Ok(Resolved { descriptor, place, document: None })
    }

    async fn document(&self, descriptor: &Descriptor, _: DocumentKind) -> Result<Bytes, Error> {
        let (digest, size) = (descriptor.digest, descriptor.size);
        let bytes = match self.arrivals.document(descriptor).await? {
            Some(bytes) => bytes,
            None => self.staging()?.read(&digest, MAX_MANIFEST_BYTES).await?,
        };
        match bytes.len() as u64 == size && Digest::of(&bytes) == digest {
            true => Ok(bytes),
            false => Err(Error::Damaged { digest, place: self.arrivals.place() }),
        }
    }

    async fn blob(
        &self,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<Box<dyn BlobStream>, Error> {
        let digest = descriptor.digest;
        let (place, progress) = (self.arrivals.place(), Arc::clone(&self.progress));
        match self.arrivals.blob(descriptor).await? {
            Blob::Apart => {
                let pieces = self.staging()?.reader(&digest, offset).await?;
                let pieces = pieces.map(|piece| piece.map_err(Error::from));
                Ok(Box::new(StoredBlob { digest, pieces, place, progress }))
            }
            Blob::Coming(pieces) => {
                let arrivals = Arc::clone(&self.arrivals);
                let has_ended = false;
                Ok(Box::new(ComingBlob {
                    digest,
                    pieces,
                    skip: offset,
                    has_ended,
                    arrivals,
                    progress,
                }))
            }
        }
    }

    async fn provenance(&self, _: &Descriptor) -> Provenance {
        self.provenance.clone()
    }

    async fn lacks(&self, descriptor: &Descriptor) -> bool {
        self.arrivals.lacks(descriptor).await
    }

    async fn whole(&self) -> Result<(), Error> {
        self.arrivals.whole().await
    }

    fn brought(&self, descriptor: &Descriptor) -> u64 {
        if self.arrivals.brought(&descriptor.digest) { descriptor.size } else { 0 }
    }
}

/// A blob while it comes by.
struct ComingBlob {
    digest: Digest,
    pieces: mpsc::Receiver<Piece>,
    /// Bytes that are there already.
    skip: u64,
    has_ended: bool,
    arrivals: Arc<Arrivals>,
    progress: Arc<dyn progress::Sink>,
}

#[async_trait]
impl BlobStream for ComingBlob {
    async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        while !self.has_ended {
            match self.pieces.recv().await {
                Some(Piece::Bytes(mut bytes)) => {
                    let passed_over = usize::try_from(self.skip)
                        .map_or(bytes.len(), |skip| skip.min(bytes.len()));
                    self.skip -= passed_over as u64;
                    let bytes = bytes.split_off(passed_over);
                    if bytes.is_empty() {
                        continue;
                    }
                    let delta_bytes = bytes.len() as u64;
                    self.progress.event(Event::Received { digest: self.digest, delta_bytes });
                    return Some(Ok(bytes));
                }
                Some(Piece::End) => self.has_ended = true,
                None => {
                    self.has_ended = true;
                    let broken = self.arrivals.whole().await;
                    let (digest, place) = (self.digest, self.arrivals.place());
                    return Some(Err(broken.err().unwrap_or(Error::Incomplete { digest, place })));
                }
            }
        }
        None
    }

    fn places(&self) -> Vec<String> {
        vec![self.arrivals.place()]
    }
}
