//! What the content store has of the layers' blobs, and where a blob that is missing goes.

use std::sync::Arc;

use tokio::try_join;

use super::absent::Absent;
use super::ingests::{After, ContainerdIngest, SmallBlob};
use super::lease::RunLease;
use super::sources::Sources;
use super::turns::Turns;
use super::unpacking::Unpacking;
use crate::containerd::{self, Client, ContentStore, Resource, ingest_reference};
use crate::oci::Descriptor;
use crate::transfer::error::Error;
use crate::transfer::plan::{Layer, Plan};
use crate::transfer::sink::Opened;

/// Up to what size, in bytes, a blob is kept in memory until it is complete (2 MiB): that many at a
/// time as blobs are fetched at once. Larger ones go into the daemon's file as they come in.
const MAX_SMALL_BLOB: u64 = 2 << 20;

/// Up to what size, in bytes, nobody asks what an earlier run has left of a blob (256 KiB): fetching
/// it again costs no more.
const MAX_REFETCHED: u64 = 256 << 10;

/// The blobs of the layers of a run.
pub(super) struct LayerBlobs {
    content: ContentStore,
    lease: Arc<RunLease>,
    after: After,
    /// Those of which nothing was there, not even a part.
    absent: Absent,
    turns: Turns,
    sources: Sources,
}

impl LayerBlobs {
    pub(super) fn new(
        client: &Client,
        lease: Arc<RunLease>,
        after: After,
        sources: Sources,
    ) -> Self {
        let (absent, turns) = (Absent::default(), Turns::new());
        Self { content: client.content(), lease, after, absent, turns, sources }
    }

    /// How many layers from the base have their blob.
    pub(super) async fn present_layers(&self, layers: &[Descriptor]) -> Result<usize, Error> {
        for (position, layer) in layers.iter().enumerate() {
            if self.holds(layer).await? {
                continue;
            }
            for present in &layers[..position] {
                self.keep(present).await?;
            }
            return Ok(position);
        }
        Ok(layers.len())
    }

    /// Whether there is nothing of the blob.
    pub(super) async fn is_new(&self, blob: &Descriptor) -> Result<bool, Error> {
        let (is_held, is_begun) = try_join!(self.holds(blob), self.is_begun(blob))?;
        let is_new = !is_held && !is_begun;
        if is_new {
            self.absent.note(blob.digest);
        }
        Ok(is_new)
    }

    /// Whether the blob is there.
    async fn holds(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        let found = self.content.info(&descriptor.digest).await?;
        Ok(found.is_some_and(|info| info.size == descriptor.size))
    }

    /// Keeps a blob that is there for as long as the lease.
    async fn keep(&self, descriptor: &Descriptor) -> Result<(), Error> {
        let blob = Resource::new(Resource::CONTENT, descriptor.digest.to_string());
        Ok(self.lease.hold(blob).await?)
    }

    /// Waits until the blobs of the image's layers are stored.
    pub(super) async fn are_stored(&self, plan: &Plan) -> Result<(), Error> {
        for layer in plan.images.iter().flat_map(|image| &image.layers) {
            self.after.storing.end(&layer.digest).await?;
        }
        Ok(())
    }

    /// Waits until none is being stored.
    pub(super) async fn close(&self) {
        self.after.storing.end_all().await;
    }

    /// Opens the layer's blob, which goes to `unpacking` on its way.
    pub(super) async fn open(
        &self,
        layer: &Layer,
        unpacking: Option<&Unpacking>,
    ) -> Result<Opened, Error> {
        let descriptor = layer.descriptor();
        if descriptor.size <= MAX_SMALL_BLOB
            && let Some(opened) = self.open_small(layer, unpacking).await?
        {
            return Ok(opened);
        }
        let content = self.lease.client().await?.content();
        let ingest = match content.ingest(&ingest_reference(descriptor), descriptor).await? {
            containerd::Opened::Exists => return Ok(Opened::Exists),
            containerd::Opened::Ingest(ingest) => ingest,
        };
        // What an earlier run has left is unpacked first, from where it lies. Where it can't be read,
        // the layer is read back from the store when it is whole.
        let unpacked = match unpacking.filter(|_| ingest.offset() == 0 || ingest.is_readable()) {
            Some(unpacking) => unpacking.begin(layer).await?,
            None => None,
        };
        let unpacked = match unpacked {
            Some(unpacked) => Some(unpacked.feed(ingest.stored()).await?),
            None => None,
        };
        let labels = self.sources.of(layer);
        Ok(Opened::Ingest(Box::new(ContainerdIngest { ingest, labels, unpacked })))
    }

    /// Opens a small blob, which is stored in one message when it is complete: the daemon then makes
    /// no file of what is unfinished, and remembers none. `None` where it does so already.
    async fn open_small(
        &self,
        layer: &Layer,
        unpacking: Option<&Unpacking>,
    ) -> Result<Option<Opened>, Error> {
        let descriptor = layer.descriptor();
        // Before looking: whoever had the turn has stored it.
        let turn = self.turns.take(&descriptor.digest).await;
        let (is_held, is_begun) = match self.absent.take(&descriptor.digest) && !turn.is_next {
            true => (false, false),
            false => try_join!(self.holds(descriptor), self.is_begun(descriptor))?,
        };
        if is_held {
            self.keep(descriptor).await?;
            return Ok(Some(Opened::Exists));
        }
        if is_begun {
            return Ok(None);
        }
        let content = self.lease.client().await?.content();
        let unpacked = match unpacking {
            Some(unpacking) => unpacking.begin(layer).await?,
            None => None,
        };
        let labels = self.sources.of(layer);
        let (descriptor, after) = (descriptor.clone(), self.after.clone());
        let blob = SmallBlob::new(content, descriptor, labels, after, unpacked, turn);
        Ok(Some(Opened::Ingest(Box::new(blob))))
    }

    /// Whether an earlier run has left a part of the blob that is worth going on with.
    async fn is_begun(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        if descriptor.size <= MAX_REFETCHED {
            return Ok(false);
        }
        let status = self.content.status(&ingest_reference(descriptor)).await?;
        Ok(status.is_some_and(|status| status.offset > 0))
    }
}
