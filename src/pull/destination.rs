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

    /// How many layers of the image, counted from the base, need neither their blob nor unpacking.
    async fn ready_layers(&self, image: &PlatformImage) -> Result<usize, Error>;

    /// Begins or continues a layer's blob, which belongs to `image`; waits while another client
    /// writes it.
    async fn open(&self, descriptor: &Descriptor, image: &Reference) -> Result<Opened, Error>;

    /// Makes the layer, whose blob is there and whose parent is unpacked, part of the file system.
    /// Does nothing in a place that does not unpack.
    async fn unpack(&self, layer: &Layer) -> Result<(), Error>;

    /// Whether [`Destination::unpack`] does anything.
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

    /// Throws away what is there.
    async fn restart(&mut self) -> Result<(), Error>;

    /// Checks size and digest and keeps the blob; a blob that fails is thrown away.
    ///
    /// # Errors
    /// [`Error`] with [`Failure::Verification`](crate::failure::Failure::Verification) when the
    /// bytes are not the blob.
    async fn commit(self: Box<Self>) -> Result<(), Error>;
}
