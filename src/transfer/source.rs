//! What the core needs of a place that images come from.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;

use super::error::Error;
use super::provenance::{Origin, Provenance};
use crate::oci::{Descriptor, Digest};
use crate::reference::Reference;

/// One image at a place that keeps it.
#[async_trait]
pub trait Source: Send + Sync {
    /// Finds out what the image is.
    ///
    /// # Errors
    /// When the place has no such image, or does not answer.
    async fn resolve(&self) -> Result<Resolved, Error>;

    /// As [`resolve`](Self::resolve), for a sink that has no image of the name: what it is will be read
    /// in any case, so that a place that tells both at once is asked once.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    async fn resolve_unknown(&self) -> Result<Resolved, Error> {
        self.resolve().await
    }

    /// Reads a small document whole, its size and digest checked.
    ///
    /// # Errors
    /// When it is not there or is another one.
    async fn document(&self, descriptor: &Descriptor, kind: DocumentKind) -> Result<Bytes, Error>;

    /// Opens a blob at byte `offset`. The stream is unverified: whoever stores it checks the digest,
    /// and tells the stream.
    ///
    /// # Errors
    /// When it is not there.
    async fn blob(
        &self,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<Box<dyn BlobStream>, Error>;

    /// Those of `blobs` that are surely not there, as far as the place can tell without fetching them.
    ///
    /// # Errors
    /// When it does not answer.
    async fn missing(&self, _blobs: &[Descriptor]) -> Result<Vec<Digest>, Error> {
        Ok(Vec::new())
    }

    /// Where else the blob can be had, as far as that is known without asking far away.
    async fn origins(&self, _descriptor: &Descriptor) -> Vec<Origin> {
        Vec::new()
    }

    /// Where all of the image `target` can be had again, as far as that is known without asking far away.
    async fn provenance(&self, _target: &Descriptor) -> Provenance {
        Provenance::default()
    }

    /// What the image is called there, where that tells how to have it again.
    fn name(&self) -> Option<String> {
        None
    }

    /// The namespace that it is in, where it is in one.
    fn namespace(&self) -> Option<String> {
        None
    }

    /// Takes note that the `blobs` are at `reference`, in a registry, as well by now.
    async fn are_also_at(&self, _reference: &Reference, _blobs: &BTreeSet<Digest>) {}

    /// Whether what comes from it comes over the network.
    fn is_remote(&self) -> bool {
        false
    }

    /// Whether the source surely has not got `descriptor`. Archives hold one platform of an index that
    /// lists many, and are taken for what they hold; elsewhere what is listed should be there.
    async fn lacks(&self, _descriptor: &Descriptor) -> bool {
        false
    }

    /// Waits until the source is known to be whole, where it may break off behind what was taken of it:
    /// then nothing of it is to be seen.
    ///
    /// # Errors
    /// What is wrong with it.
    async fn whole(&self) -> Result<(), Error> {
        Ok(())
    }

    /// How many bytes of the blob, which the sink has, it has because of this source.
    fn brought(&self, _descriptor: &Descriptor) -> u64 {
        0
    }

    /// Takes note that what `resolved` points to could not be read for `error`, and tells whether
    /// resolving again may give another answer.
    fn doubt(&self, _resolved: &Resolved, _error: &Error) -> bool {
        false
    }
}

/// What an image is, and who said so.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// An index or a manifest.
    pub descriptor: Descriptor,
    /// The registry's host, or another name of the place.
    pub place: String,
    /// Its bytes, size and digest checked, where they had to be read to know the descriptor.
    pub document: Option<Bytes>,
}

/// How a document is asked for: registries keep them in two places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentKind {
    /// An index or a manifest.
    Manifest,
    /// A configuration, which is a blob.
    Blob,
}

/// A blob's bytes: in order, each once, from the offset asked for to the blob's end.
#[async_trait]
pub trait BlobStream: Send {
    /// The next bytes; `None` when all have come.
    async fn next(&mut self) -> Option<Result<Bytes, Error>>;

    /// The places that bytes came from so far.
    fn places(&self) -> Vec<String>;

    /// The bytes were the blob's.
    fn right(&self) {}

    /// The bytes were not the blob's. Tells whether opening it again may give others.
    fn wrong(&self) -> bool {
        false
    }

    /// That the blob, called `digest`, can't be had right.
    fn damaged(&self, digest: Digest) -> Error {
        Error::Damaged { digest, place: self.places().join(", ") }
    }
}
