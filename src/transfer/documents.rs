//! Indexes, manifests and configurations of one image: read where they are nearest, kept in memory
//! until the image is published.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::ahead::Vanguard;
use super::error::Error;
use super::plan::Document;
use super::provenance::Provenance;
use super::sink::Sink;
use super::source::{DocumentKind, Source};
use crate::oci::{Descriptor, Digest, MAX_MANIFEST_BYTES};

/// Most bytes of documents that one image may have, in bytes (32 MiB). An index of many platforms
/// has some hundred KiB; the bound keeps a hostile one out of memory.
const MAX_DOCUMENT_BYTES: u64 = 32 * 1024 * 1024;

/// Up to what size, in bytes, a configuration of an image whose name is new is asked for where the image
/// comes from, and not first where it goes (64 KiB): it is there next to never, and fetching it costs no
/// more than asking.
const MAX_UNASKED: u64 = 64 << 10;

/// The documents of one image.
pub(super) struct Documents {
    source: Arc<dyn Source>,
    sink: Arc<dyn Sink>,
    known: HashMap<Digest, Bytes>,
    held_bytes: u64,
    fetched_bytes: u64,
    /// Whether nothing in the sink is called as the image.
    is_new: bool,
    vanguard: Vanguard,
}

impl Documents {
    /// `root` is the index or manifest, where resolving brought it along.
    pub(super) fn new(source: Arc<dyn Source>, sink: Arc<dyn Sink>, root: Option<Bytes>) -> Self {
        let mut documents = Self {
            source,
            sink,
            known: HashMap::new(),
            held_bytes: 0,
            fetched_bytes: 0,
            is_new: false,
            vanguard: Vanguard::default(),
        };
        if let Some(bytes) = root {
            documents.held_bytes = bytes.len() as u64;
            documents.fetched_bytes = documents.held_bytes;
            documents.known.insert(Digest::of(&bytes), bytes);
        }
        documents
    }

    /// The same, of an image whose name is new: if it will surely be brought, so many of its layers may come
    /// with its configuration.
    pub(super) fn of_new(self, concurrency: usize) -> Self {
        Self { is_new: true, vanguard: Vanguard::of(concurrency), ..self }
    }

    /// Takes note that this index or manifest is the image's, and if it is a manifest that `layers` are.
    pub(super) fn expect(
        &self,
        document: &Document,
        provenance: &Arc<Provenance>,
        layers: &[Descriptor],
    ) {
        self.vanguard.store(document, provenance, &self.sink);
        self.vanguard.send(layers, &self.source, &self.sink);
    }

    /// What is under way for the image, and bytes that came from the source besides.
    pub(super) fn into_parts(self) -> (Arc<Vanguard>, u64) {
        (Arc::new(self.vanguard), self.fetched_bytes)
    }

    /// See [`Sink::keeps_artifacts`].
    pub(super) fn keeps_artifacts(&self) -> bool {
        self.sink.keeps_artifacts()
    }

    /// See [`Source::name`].
    pub(super) fn source_name(&self) -> Option<String> {
        self.source.name()
    }

    /// See [`Source::namespace`].
    pub(super) fn source_namespace(&self) -> Option<String> {
        self.source.namespace()
    }

    /// See [`Source::provenance`].
    pub(super) async fn provenance(&self, target: &Descriptor) -> Provenance {
        self.source.provenance(target).await
    }

    /// An index or a manifest.
    pub(super) async fn manifest(&mut self, descriptor: &Descriptor) -> Result<Bytes, Error> {
        self.document(descriptor, DocumentKind::Manifest).await
    }

    /// An image configuration, which is a blob.
    pub(super) async fn config(&mut self, descriptor: &Descriptor) -> Result<Bytes, Error> {
        self.document(descriptor, DocumentKind::Blob).await
    }

    /// Whether the document is neither in the source nor anywhere near. See [`Source::lacks`].
    pub(super) async fn lacks(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        if self.known.contains_key(&descriptor.digest) || descriptor.data().is_some() {
            return Ok(false);
        }
        Ok(self.source.lacks(descriptor).await && self.sink.document(descriptor).await?.is_none())
    }

    /// Whether none of `blobs` is in the source.
    pub(super) async fn lacks_all(&self, blobs: &[Descriptor]) -> bool {
        for blob in blobs {
            if !self.source.lacks(blob).await {
                return false;
            }
        }
        !blobs.is_empty()
    }

    async fn document(
        &mut self,
        descriptor: &Descriptor,
        kind: DocumentKind,
    ) -> Result<Bytes, Error> {
        if let Some(bytes) = self.at_hand(descriptor)? {
            return Ok(bytes);
        }
        let is_asked =
            kind == DocumentKind::Manifest || !self.is_new || descriptor.size > MAX_UNASKED;
        if is_asked && let Some(bytes) = self.stored(descriptor).await? {
            return Ok(bytes);
        }
        match self.source.document(descriptor, kind).await {
            Ok(bytes) => {
                self.fetched_bytes += bytes.len() as u64;
                Ok(self.keep(descriptor, bytes))
            }
            Err(error) if is_asked => Err(error),
            Err(error) => self.stored(descriptor).await?.ok_or(error),
        }
    }

    /// A document that nobody need be asked for.
    fn at_hand(&mut self, descriptor: &Descriptor) -> Result<Option<Bytes>, Error> {
        if descriptor.size > MAX_MANIFEST_BYTES
            || self.held_bytes.saturating_add(descriptor.size) > MAX_DOCUMENT_BYTES
        {
            return Err(Error::DocumentTooLarge {
                digest: descriptor.digest,
                size_bytes: descriptor.size,
            });
        }
        if let Some(bytes) = self.known.get(&descriptor.digest) {
            return Ok(Some(bytes.clone()));
        }
        // The descriptor may bring it along.
        Ok(descriptor.data().map(|bytes| self.keep(descriptor, bytes)))
    }

    /// A document that is there where the image goes.
    async fn stored(&mut self, descriptor: &Descriptor) -> Result<Option<Bytes>, Error> {
        let found = self.sink.document(descriptor).await?;
        // A store whose disk was damaged must not be believed more than a registry.
        let found = found.filter(|bytes| Digest::of(bytes) == descriptor.digest);
        Ok(found.map(|bytes| self.keep(descriptor, bytes)))
    }

    fn keep(&mut self, descriptor: &Descriptor, bytes: Bytes) -> Bytes {
        self.held_bytes += bytes.len() as u64;
        self.known.insert(descriptor.digest, bytes.clone());
        bytes
    }
}
