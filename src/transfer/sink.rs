//! What the core needs of a place where images go.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::error::Error;
use super::forecast::Forecast;
use super::held::{Held, Lack};
use super::plan::{Document, Layer, Plan, PlatformImage};
use super::provenance::Provenance;
use super::request::Names;
use super::source::Source;
use crate::failure::Failure;
use crate::oci::{Descriptor, Digest};
use crate::progress::{BlobState, Seen};

/// A place that keeps blobs and names images. It serves all images of a run, several at a time.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Whether blobs have one order in it, and come when all images of the run are known. Such a sink has
    /// none of a run's images until it is [finished](Sink::finish).
    fn is_sequential(&self) -> bool {
        false
    }

    /// Those of `layers` that a sequential sink has not got yet and will not get from elsewhere.
    fn needed(&self, layers: &[Descriptor]) -> Vec<Descriptor> {
        layers.to_vec()
    }

    /// Takes note of all that comes, before the first blob of a sequential sink.
    async fn announce(&self, _images: &[Announced<'_>]) -> Result<(), Error> {
        Ok(())
    }

    /// How many blobs a sequential sink takes at the same time, once all was announced.
    fn blobs_at_once(&self) -> usize {
        1
    }

    /// Whether there is an image of the name already, most often the one that it still stands for.
    async fn knows(&self, _names: &Names) -> Result<bool, Error> {
        Ok(false)
    }

    /// What the sink has under the name that people ask for, where it can tell whether all of it is there.
    async fn holding(&self, _names: &Names) -> Result<Option<Held>, Error> {
        Ok(None)
    }

    /// What is missing of an image whose documents are all there.
    async fn lacking(&self, _names: &Names, _plan: &Plan) -> Result<Vec<Lack>, Error> {
        Ok(Vec::new())
    }

    /// What the images will take, where that can be told.
    async fn forecast(&self, _plans: &[&Plan]) -> Result<Option<Forecast>, Error> {
        Ok(None)
    }

    /// Whether the images have room in any case, which is quicker to tell than how much they take.
    async fn is_ample(&self, _plans: &[&Plan]) -> Result<bool, Error> {
        Ok(true)
    }

    /// Takes note of images that are all brought next: what they share may be done for all at once.
    fn expect(&self, _plans: &[&Plan]) {}

    /// How much room could be had by removing what nobody uses.
    async fn reclaimable_bytes(&self) -> Option<u64> {
        None
    }

    /// Begins what any image needs that is not there, while it is found out what the one is that comes.
    fn anticipate(&self) {}

    /// Stores an index or a manifest, as that of an image from `provenance`, while it is found out what else
    /// the image needs. What is not stored here is when the image is published.
    ///
    /// # Errors
    /// When it can't be stored.
    async fn put_early(&self, _document: &Document, _provenance: &Provenance) -> Result<(), Error> {
        Ok(())
    }

    /// Whether the blob of a small layer is surely to be fetched, whatever the image's configuration turns
    /// out to be.
    async fn is_lacking(&self, _layer: &Descriptor) -> bool {
        false
    }

    /// Gets ready for the lowest layer of an image, which [is lacking](Self::is_lacking), as far as that
    /// takes no more of the image than `blob`.
    async fn make_ready(&self, _blob: &Descriptor) {}

    /// The bytes of a small document, if it is there.
    async fn document(&self, descriptor: &Descriptor) -> Result<Option<Bytes>, Error>;

    /// Says whether the place takes the image at all, before any layer of it is fetched.
    ///
    /// # Errors
    /// Why it does not.
    async fn admit(&self, _names: &Names, _plan: &Plan) -> Result<(), Error> {
        Ok(())
    }

    /// Whether it keeps what is no file system: charts, models, signatures. One that unpacks layers on their
    /// way does not.
    fn keeps_artifacts(&self) -> bool {
        true
    }

    /// Gets ready for the image, and tells how many of its layers, counted from the base, need
    /// nothing any more. A place that can get layers by itself is asked to do so first.
    async fn prepare(&self, image: &Arc<PlatformImage>) -> Result<usize, Error>;

    /// Tells whether the layer's blob is needed no more: because it is there, or because the place got
    /// it by itself from where `source` says that it is as well.
    async fn adopt(&self, _layer: &Layer, _source: &dyn Source) -> Result<bool, Error> {
        Ok(false)
    }

    /// Stores the image's documents while its layers come.
    ///
    /// # Errors
    /// When one can't be stored.
    async fn put_beside(&self, _plan: &Plan) -> Result<(), Error> {
        Ok(())
    }

    /// Begins or continues the layer's blob; waits while another client writes it.
    async fn open(&self, layer: &Layer) -> Result<Opened, Error>;

    /// Does for a layer, whose blob is there, what does not need the layers below. Layers are staged
    /// side by side.
    async fn stage(&self, _layer: &Layer) -> Result<(), Error> {
        Ok(())
    }

    /// Does what is left for a layer, which is staged, after all is done for those below it.
    async fn settle(&self, _layer: &Layer) -> Result<(), Error> {
        Ok(())
    }

    /// What those of the image's layers that this run has unpacked are, in bytes.
    fn unpacked_bytes(&self, _image: &Arc<PlatformImage>) -> u64 {
        0
    }

    /// Makes the image visible under its names, after all of it is in place.
    async fn publish(&self, names: &Names, plan: &Plan) -> Result<(), Error>;

    /// Whether whom the images are for finds one, where that can be asked.
    async fn seen(&self, _names: &Names, _plan: &Plan) -> Option<Seen> {
        None
    }

    /// Makes all images of the run visible in a sequential sink; not called when one has failed.
    async fn finish(&self) -> Result<(), Error> {
        Ok(())
    }

    /// What the names then stand for: another document than at the source where that would point to
    /// what is not there.
    fn target(&self, _names: &Names, plan: &Plan) -> Digest {
        plan.target.digest
    }

    /// Bytes that went out over the network so far for what is called so; `None` for a place on this
    /// machine.
    fn sent_bytes(&self, _names: &Names) -> Option<u64> {
        None
    }

    /// Ends the run: lets go of what is complete, and keeps what a later run resumes.
    async fn close(&self, outcomes: &[Outcome]) -> Result<(), Error>;
}

/// An image that comes.
#[derive(Debug, Clone, Copy)]
pub struct Announced<'a> {
    /// What it is called.
    pub names: &'a Names,
    /// What it consists of.
    pub plan: &'a Plan,
}

/// How the transfer of one image ended.
#[derive(Debug)]
pub struct Outcome {
    /// What the image is called.
    pub names: Arc<Names>,
    /// What it consists of, as far as that was found out.
    pub images: Vec<Arc<PlatformImage>>,
    /// What kept it from being complete.
    pub failure: Option<Failure>,
}

/// What [`Sink::open`] found.
pub enum Opened {
    /// The blob is there.
    Exists,
    /// The blob is to be written.
    Ingest(Box<dyn Ingest>),
}

/// A blob on its way into a sink. After an error it is of no use any more; [`Error::Lost`] says that
/// opening the blob again shows where to go on.
#[async_trait]
pub trait Ingest: Send {
    /// Where the next byte goes; more than 0 when an earlier run left a beginning.
    fn offset(&self) -> u64;

    /// What bytes do that are appended.
    fn moving(&self) -> BlobState {
        BlobState::Downloading
    }

    /// Appends bytes.
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error>;

    /// Puts bytes that are held back where a later run finds them. For when no more come for a while.
    async fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Whether what is left to be done after the last byte is somebody else's work, on another machine for
    /// instance, so that the next blob can come meanwhile.
    fn is_settled_elsewhere(&self) -> bool {
        false
    }

    /// Stops for now; a later run goes on after the last byte written.
    async fn suspend(self: Box<Self>);

    /// Checks size and digest and keeps the blob; a blob that fails is thrown away.
    ///
    /// # Errors
    /// [`Error`] with [`Failure::Verification`] when the bytes are not the blob.
    async fn commit(self: Box<Self>) -> Result<(), Error>;
}
