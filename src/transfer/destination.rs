//! What the recipe needs of a place where images go. Two places are known: containerd and the OCI
//! image layout.

use async_trait::async_trait;
use bytes::Bytes;

use super::plan::{ImagePlan, Layer, PlatformImage};
use super::{Error, PullRequest};
use crate::oci::Descriptor;
use crate::reference::Reference;

/// A place that keeps blobs and names images.
#[async_trait]
pub trait Destination: Send + Sync {
    /// The bytes of a small document, if it is there.
    async fn read(&self, descriptor: &Descriptor) -> Result<Option<Bytes>, Error>;

    /// How many layers of the image, counted from the base, need neither their blob nor unpacking. A
    /// place that can get layers by itself is asked to do so first.
    async fn ready_layers(&self, image: &PlatformImage) -> Result<usize, Error>;

    /// Begins or continues the blob of `layer`, which belongs to `image`; waits while another client
    /// writes it. What is written may be unpacked on the way if the layer `is_unpacked`.
    async fn open(
        &self,
        layer: &Layer,
        is_unpacked: bool,
        image: &Reference,
    ) -> Result<Opened, Error>;

    /// Does what unpacking a layer, whose blob is there, needs before the layers below are unpacked.
    /// Layers are staged side by side.
    async fn stage(&self, layer: &Layer) -> Result<(), Error>;

    /// Makes the layer, which is staged and whose parent is unpacked, part of the file system.
    async fn unpack(&self, layer: &Layer) -> Result<(), Error>;

    /// Whether layers are unpacked here at all.
    fn unpacks(&self) -> bool;

    /// Makes the image visible under its names, after all of it is in place.
    async fn publish(&self, request: &PullRequest, plan: &ImagePlan) -> Result<(), Error>;

    /// Ends the run: tidies up when it was `complete`, otherwise keeps what a later run resumes.
    async fn close(&self, requests: &[PullRequest], complete: bool) -> Result<(), Error>;
}

/// What [`Destination::open`] found.
pub enum Opened {
    /// The blob is there.
    Exists,
    /// The blob is to be written.
    Ingest(Box<dyn BlobIngest>),
}

/// A blob on its way into a destination.
#[async_trait]
pub trait BlobIngest: Send {
    /// Where the next byte goes; more than 0 when an earlier run left a beginning.
    fn offset(&self) -> u64;

    /// Appends bytes.
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error>;

    /// Puts bytes that are held back where a later run finds them. For when no more come for a while.
    async fn flush(&mut self) -> Result<(), Error>;

    /// Stops for now; a later run goes on after the last byte written.
    async fn suspend(self: Box<Self>);

    /// Checks size and digest and keeps the blob; a blob that fails is thrown away.
    ///
    /// # Errors
    /// [`Error`] with [`Failure::Verification`](crate::failure::Failure::Verification) when the
    /// bytes are not the blob.
    async fn commit(self: Box<Self>) -> Result<(), Error>;
}
