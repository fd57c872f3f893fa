//! An image in a containerd namespace as a source.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _};

use crate::containerd::{self, Client};
use crate::oci::{Descriptor, Digest, MAX_MANIFEST_BYTES};
use crate::progress::{self, Event};
use crate::transfer::error::Error;
use crate::transfer::source::{BlobStream, DocumentKind, Resolved, Source};

/// An image that a namespace has under a name.
pub struct ContainerdSource {
    client: Client,
    name: String,
    progress: Arc<dyn progress::Sink>,
}

impl ContainerdSource {
    /// The image called `name`, exactly so, in the client's namespace.
    pub fn new(client: Client, name: String, progress: Arc<dyn progress::Sink>) -> Self {
        Self { client, name, progress }
    }

    fn place(&self) -> String {
        format!("containerd's namespace {}", self.client.namespace())
    }

    /// Content that the image names and the store has not was never pulled, or let go of.
    fn explain(&self, digest: Digest, error: containerd::Error) -> Error {
        match error {
            containerd::Error::NotFound { .. } => Error::Incomplete { digest, place: self.place() },
            error => error.into(),
        }
    }
}

#[async_trait]
impl Source for ContainerdSource {
    async fn resolve(&self) -> Result<Resolved, Error> {
        match self.client.images().get(&self.name).await? {
            Some(image) => {
                Ok(Resolved { descriptor: image.target, place: self.place(), document: None })
            }
            None => Err(Error::NoImage { name: self.name.clone(), place: self.place() }),
        }
    }

    async fn document(&self, descriptor: &Descriptor, _: DocumentKind) -> Result<Bytes, Error> {
        let digest = descriptor.digest;
        let read = self.client.content().read(&digest, MAX_MANIFEST_BYTES).await;
        let bytes = read.map_err(|error| self.explain(digest, error))?;
        if bytes.len() as u64 != descriptor.size || Digest::of(&bytes) != digest {
            return Err(Error::Damaged { digest, place: self.place() });
        }
        Ok(bytes)
    }

    async fn blob(
        &self,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<Box<dyn BlobStream>, Error> {
        let digest = descriptor.digest;
        let pieces = self.client.content().reader(&digest, offset).await;
        let pieces = pieces.map_err(|error| self.explain(digest, error))?;
        let (place, progress) = (self.place(), Arc::clone(&self.progress));
        Ok(Box::new(ContainerdBlob { digest, pieces, place, progress }))
    }
}

/// A blob on its way out of the content store.
struct ContainerdBlob<S> {
    digest: Digest,
    pieces: S,
    place: String,
    progress: Arc<dyn progress::Sink>,
}

#[async_trait]
impl<S> BlobStream for ContainerdBlob<S>
where
    S: Stream<Item = Result<Bytes, containerd::Error>> + Send + Unpin,
{
    async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        let digest = self.digest;
        Some(match self.pieces.next().await? {
            Ok(bytes) => {
                let delta_bytes = bytes.len() as u64;
                self.progress.event(Event::Received { digest, delta_bytes });
                Ok(bytes)
            }
            // The daemon opens the blob when it is asked for the first bytes.
            Err(containerd::Error::NotFound { .. }) => {
                Err(Error::Incomplete { digest, place: self.place.clone() })
            }
            Err(error) => Err(error.into()),
        })
    }

    fn places(&self) -> Vec<String> {
        vec![self.place.clone()]
    }
}
