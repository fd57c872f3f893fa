//! An image in a containerd namespace as a source.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::stored::StoredBlob;
use crate::containerd::{self, Client, Labels, labels};
use crate::images;
use crate::oci::{Descriptor, Digest, MAX_MANIFEST_BYTES};
use crate::progress;
use crate::reference::Reference;
use crate::transfer::error::Error;
use crate::transfer::provenance::{Origin, Provenance};
use crate::transfer::source::{BlobStream, DocumentKind, Resolved, Source};

/// Blobs looked for side by side: each costs the daemon a short read.
const CONCURRENT_LOOKS: usize = 16;

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
}

/// Content that the image names and the store has not was never pulled, or let go of.
fn explain(digest: Digest, place: String, error: containerd::Error) -> Error {
    match error {
        containerd::Error::NotFound { .. } => Error::Incomplete { digest, place },
        error => error.into(),
    }
}

#[async_trait]
impl Source for ContainerdSource {
    async fn resolve(&self) -> Result<Resolved, Error> {
        match self.client.images().get(&self.name).await? {
            Some(image) => {
                Ok(Resolved { descriptor: image.target, place: self.place(), document: None })
            }
            None => Err(images::not_found(&self.client, &self.name).await?.into()),
        }
    }

    async fn document(&self, descriptor: &Descriptor, _: DocumentKind) -> Result<Bytes, Error> {
        let digest = descriptor.digest;
        let read = self.client.content().read(&digest, MAX_MANIFEST_BYTES).await;
        let bytes = read.map_err(|error| explain(digest, self.place(), error))?;
        if bytes.len() as u64 != descriptor.size || Digest::of(&bytes) != digest {
            return Err(Error::Damaged { digest, place: self.place() });
        }
        Ok(bytes)
    }

    async fn missing(&self, blobs: &[Descriptor]) -> Result<Vec<Digest>, Error> {
        let looks = blobs.iter().cloned().map(|blob| {
            let content = self.client.content();
            async move { Ok::<_, Error>((content.info(&blob.digest).await?, blob)) }
        });
        let found: Vec<_> = stream::iter(looks).buffered(CONCURRENT_LOOKS).try_collect().await?;
        let mut missing = Vec::new();
        for (info, Descriptor { digest, size, .. }) in found {
            match info {
                Some(info) if info.size == size => {}
                Some(_) => return Err(Error::Damaged { digest, place: self.place() }),
                None => missing.push(digest),
            }
        }
        Ok(missing)
    }

    fn name(&self) -> Option<String> {
        Some(self.name.clone())
    }

    fn namespace(&self) -> Option<String> {
        Some(self.client.namespace().to_owned())
    }

    /// A later push into another repository of the registry can have the blobs mounted then.
    async fn are_also_at(&self, reference: &Reference, blobs: &BTreeSet<Digest>) {
        let Some(label) = labels::distribution_source(reference, &Labels::new()) else { return };
        let label: Labels = [label].into();
        let content = self.client.content();
        let mut calls = Vec::with_capacity(blobs.len());
        for blob in blobs {
            calls.push(content.add_labels(blob, &label));
        }
        let mut labelling = stream::iter(calls).buffer_unordered(CONCURRENT_LOOKS);
        while let Some(labelled) = labelling.next().await {
            if let Err(error) = labelled {
                // The image is where it should be; what is lost is a mount some day.
                tracing::debug!(%error, "a blob is not labelled with where it was pushed to");
            }
        }
    }

    async fn origins(&self, descriptor: &Descriptor) -> Vec<Origin> {
        let info = self.client.content().info(&descriptor.digest).await;
        let labels = info.ok().flatten().map(|info| info.labels).unwrap_or_default();
        let origins = labels::origins(&labels);
        let origin = |(host, repository)| Origin { host, repository };
        origins.map(origin).collect()
    }

    /// Whoever has its manifest has all of it.
    async fn provenance(&self, target: &Descriptor) -> Provenance {
        let (stored, origins) = tokio::join!(
            async { self.client.images().get(&self.name).await },
            self.origins(target)
        );
        let stored = stored.ok().flatten();
        let source = stored.and_then(|image| labels::named_source(&image.labels));
        Provenance::named(&self.name, source, origins)
    }

    async fn blob(
        &self,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<Box<dyn BlobStream>, Error> {
        let digest = descriptor.digest;
        let pieces = self.client.content().nearest_reader(&digest, offset).await;
        let pieces = pieces.map_err(|error| explain(digest, self.place(), error))?;
        let (place, progress) = (self.place(), Arc::clone(&self.progress));
        // The daemon opens the blob when it is asked for the first bytes.
        let at = place.clone();
        let pieces =
            pieces.map(move |piece| piece.map_err(|error| explain(digest, at.clone(), error)));
        Ok(Box::new(StoredBlob { digest, pieces, place, progress }))
    }
}
