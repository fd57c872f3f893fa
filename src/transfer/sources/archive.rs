//! An image in an archive that can be read at any place as a source. Anybody may have written it: what is
//! read is checked like a registry's.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use tokio::task::spawn_blocking;

use super::stored::StoredBlob;
use crate::archive::{ArchiveFile, Body, Found};
use crate::oci::{Descriptor, Digest, MAX_MANIFEST_BYTES};
use crate::progress;
use crate::transfer::error::Error;
use crate::transfer::provenance::Provenance;
use crate::transfer::source::{BlobStream, DocumentKind, Resolved, Source};

/// Most bytes read at a time (256 KiB): still in the second-level cache when they are hashed.
const READ_BYTES: usize = 256 << 10;

/// Pieces read ahead of whoever takes them, so that reading one does not wait for the last one's
/// writing.
const READ_AHEAD: usize = 2;

/// An image of an archive.
pub struct ArchiveSource {
    archive: ArchiveFile,
    target: Descriptor,
    provenance: Provenance,
    progress: Arc<dyn progress::Sink>,
}

impl ArchiveSource {
    /// The image that `target`, one of the archive's, stands for.
    pub fn new(
        archive: ArchiveFile,
        target: Descriptor,
        progress: Arc<dyn progress::Sink>,
    ) -> Self {
        Self { archive, target, provenance: Provenance::default(), progress }
    }

    /// The same, where it is known where the image can be had again.
    #[must_use]
    pub fn from(self, provenance: Provenance) -> Self {
        Self { provenance, ..self }
    }

    fn place(&self) -> String {
        self.archive.place().to_owned()
    }

    /// What the archive has of `descriptor`. It may hold one platform of an index that lists many.
    fn find(&self, descriptor: &Descriptor) -> Result<Found, Error> {
        let digest = descriptor.digest;
        let found = self.archive.find(&digest)?;
        let found = found.ok_or_else(|| Error::Incomplete { digest, place: self.place() })?;
        // Too long is as wrong as too short, and shows at once.
        match found.size() == descriptor.size {
            true => Ok(found),
            false => Err(Error::Damaged { digest, place: self.place() }),
        }
    }
}

#[async_trait]
impl Source for ArchiveSource {
    async fn resolve(&self) -> Result<Resolved, Error> {
        Ok(Resolved { descriptor: self.target.clone(), place: self.place(), document: None })
    }

    async fn document(&self, descriptor: &Descriptor, _: DocumentKind) -> Result<Bytes, Error> {
        let (digest, size_bytes) = (descriptor.digest, descriptor.size);
        if size_bytes > MAX_MANIFEST_BYTES {
            return Err(Error::DocumentTooLarge { digest, size_bytes });
        }
        let bytes = match self.find(descriptor)? {
            Found::Memory(bytes) => bytes,
            Found::Body(body) => read(self.archive.clone(), body, 0, usize::MAX).await?,
        };
        match Digest::of(&bytes) == digest {
            true => Ok(bytes),
            false => Err(Error::Damaged { digest, place: self.place() }),
        }
    }

    async fn blob(
        &self,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<Box<dyn BlobStream>, Error> {
        let digest = descriptor.digest;
        let (place, progress) = (self.place(), Arc::clone(&self.progress));
        let pieces = match self.find(descriptor)? {
            Found::Memory(bytes) => {
                let begin = usize::try_from(offset).map_or(bytes.len(), |at| at.min(bytes.len()));
                stream::iter([Ok(bytes.slice(begin..))]).boxed()
            }
            Found::Body(body) => {
                let archive = self.archive.clone();
                stream::iter((offset..body.size()).step_by(READ_BYTES))
                    .map(move |at| read(archive.clone(), body.clone(), at, READ_BYTES))
                    .buffered(READ_AHEAD)
                    .boxed()
            }
        };
        Ok(Box::new(StoredBlob { digest, pieces, place, progress }))
    }

    async fn provenance(&self, _: &Descriptor) -> Provenance {
        self.provenance.clone()
    }

    async fn lacks(&self, descriptor: &Descriptor) -> bool {
        matches!(self.archive.find(&descriptor.digest), Ok(None))
    }
}

/// At most `length` bytes of `body` from `position` on, read where it may block.
async fn read(
    archive: ArchiveFile,
    body: Body,
    position: u64,
    length: usize,
) -> Result<Bytes, Error> {
    let read = spawn_blocking(move || archive.read(&body, position, length)).await;
    Ok(read.map_err(Error::Task)??)
}
