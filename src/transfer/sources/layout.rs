//! An image in an OCI image layout as a source. Anybody may have written it: what is read is checked
//! like a registry's.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::StreamExt as _;

use super::stored::StoredBlob;
use crate::layout::{self, Layout};
use crate::oci::{Descriptor, Digest};
use crate::progress;
use crate::transfer::error::Error;
use crate::transfer::provenance::Provenance;
use crate::transfer::source::{BlobStream, DocumentKind, Resolved, Source};

/// An image of a layout.
pub struct LayoutSource {
    layout: Layout,
    target: Descriptor,
    provenance: Provenance,
    progress: Arc<dyn progress::Sink>,
}

impl LayoutSource {
    /// The image that `target`, an entry of the layout's index, stands for.
    pub fn new(layout: Layout, target: Descriptor, progress: Arc<dyn progress::Sink>) -> Self {
        Self { layout, target, provenance: Provenance::default(), progress }
    }

    /// The same, where it is known where the image can be had again.
    #[must_use]
    pub fn from(self, provenance: Provenance) -> Self {
        Self { provenance, ..self }
    }

    fn place(&self) -> String {
        self.layout.root().display().to_string()
    }

    /// A layout may hold one platform of an index that lists many.
    fn explain(&self, digest: Digest, error: layout::Error) -> Error {
        match error {
            layout::Error::Missing { .. } => Error::Incomplete { digest, place: self.place() },
            layout::Error::Mismatch { .. } => Error::Damaged { digest, place: self.place() },
            error => error.into(),
        }
    }
}

#[async_trait]
impl Source for LayoutSource {
    async fn resolve(&self) -> Result<Resolved, Error> {
        Ok(Resolved { descriptor: self.target.clone(), place: self.place(), document: None })
    }

    async fn document(&self, descriptor: &Descriptor, _: DocumentKind) -> Result<Bytes, Error> {
        let read = self.layout.read(descriptor).await;
        read.map_err(|error| self.explain(descriptor.digest, error))
    }

    async fn blob(
        &self,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<Box<dyn BlobStream>, Error> {
        let digest = descriptor.digest;
        let pieces = self.layout.reader(descriptor, offset).await;
        let pieces = pieces.map_err(|error| self.explain(digest, error))?;
        let (place, progress) = (self.place(), Arc::clone(&self.progress));
        let pieces = pieces.map(|piece| piece.map_err(Error::from));
        Ok(Box::new(StoredBlob { digest, pieces, place, progress }))
    }

    async fn provenance(&self, _: &Descriptor) -> Provenance {
        self.provenance.clone()
    }

    async fn lacks(&self, descriptor: &Descriptor) -> bool {
        self.layout.lacks(descriptor).await
    }
}
