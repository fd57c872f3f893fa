//! Blobs that are put into the content store before anybody knows what they belong to: those of an
//! archive that comes by once. A lease of their own holds them, until the images that they are part of
//! are named; what no image names goes with it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::Stream;

use crate::containerd::{self, Client, Ingest, Labels, Lease, Opened, Resource, ingest_reference};
use crate::oci::{Descriptor, Digest, MediaType};
use crate::transfer::error::Error;

/// How long they outlive a run that is killed (24 h, the lifetime of containerd's own leases).
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Up to what size, in bytes, a blob is kept in memory until it is complete (2 MiB): there is one at a
/// time.
const MAX_SMALL_BLOB: u64 = 2 << 20;

/// A type by which ingests are called as containerd's clients call those of layers.
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// Where blobs are put apart.
#[derive(Debug)]
pub struct Staging {
    client: Client,
    lease: Lease,
}

/// A blob on its way there.
#[derive(Debug)]
pub(in crate::transfer) struct StagedBlob<'a> {
    staging: &'a Staging,
    expected: Option<Digest>,
    size: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// It is there: the bytes are not wanted.
    Present,
    Memory(BytesMut),
    Ingest(Box<Ingest>),
}

impl Staging {
    /// A place apart in the client's namespace.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn begin(client: &Client) -> Result<Self, containerd::Error> {
        let lease = Lease::ours([]);
        let client = client.with_lease(&lease.id);
        client.leases().create(&lease.id, LIFETIME, &lease.labels).await?;
        Ok(Self { client, lease })
    }

    /// Lets go of what no image has taken. With `sync` its room is there when this returns.
    pub async fn end(&self, sync: bool) {
        if let Err(error) = self.client.leases().delete(&self.lease.id, sync).await {
            tracing::warn!(%error, "what an archive has left expires by itself");
        }
    }

    /// Begins a blob of `size` bytes that must hash to `expected`, or whose digest is told at its end.
    pub(in crate::transfer) async fn blob(
        &self,
        expected: Option<Digest>,
        size: u64,
    ) -> Result<StagedBlob<'_>, Error> {
        let place = match expected {
            Some(digest) => self.place_for(digest, size).await?,
            None if size <= MAX_SMALL_BLOB => Place::Memory(BytesMut::new()),
            None => Place::Ingest(Box::new(self.client.content().ingest_unnamed(size).await?)),
        };
        Ok(StagedBlob { staging: self, expected, size, place })
    }

    async fn place_for(&self, digest: Digest, size: u64) -> Result<Place, Error> {
        let content = self.client.content();
        if content.info(&digest).await?.is_some_and(|info| info.size == size) {
            let blob = Resource::new(Resource::CONTENT, digest.to_string());
            self.client.leases().hold(&self.lease.id, &blob).await?;
            return Ok(Place::Present);
        }
        if size <= MAX_SMALL_BLOB {
            return Ok(Place::Memory(BytesMut::new()));
        }
        let descriptor = layer(digest, size);
        match content.ingest(&ingest_reference(&descriptor), &descriptor).await? {
            Opened::Exists => Ok(Place::Present),
            Opened::Ingest(mut ingest) => {
                // What another run has left may be wrong, and this archive comes by only once.
                if ingest.offset() > 0 {
                    ingest.restart().await?;
                }
                Ok(Place::Ingest(ingest))
            }
        }
    }

    /// The blob `digest`, which was put here and is no larger than `max_bytes`.
    pub(in crate::transfer) async fn read(
        &self,
        digest: &Digest,
        max_bytes: u64,
    ) -> Result<Bytes, Error> {
        Ok(self.client.content().read(digest, max_bytes).await?)
    }

    /// The bytes of the blob `digest`, which was put here, from `offset` on.
    pub(in crate::transfer) async fn reader(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<impl Stream<Item = Result<Bytes, containerd::Error>> + Send + Unpin + use<>, Error>
    {
        Ok(self.client.content().reader(digest, offset).await?)
    }
}

impl StagedBlob<'_> {
    /// Whether it was there before.
    pub(in crate::transfer) fn is_present(&self) -> bool {
        matches!(self.place, Place::Present)
    }

    /// Takes the next bytes.
    pub(in crate::transfer) async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        match &mut self.place {
            Place::Present => {}
            Place::Memory(held) => held.extend_from_slice(&bytes),
            Place::Ingest(ingest) => ingest.write(bytes).await?,
        }
        Ok(())
    }

    /// Keeps the blob, which is `found` where nothing was expected.
    ///
    /// # Errors
    /// When it is not what was expected.
    pub(in crate::transfer) async fn finish(self, found: Option<Digest>) -> Result<Digest, Error> {
        let digest = self.expected.or(found).ok_or(Error::Closed)?;
        match self.place {
            Place::Present => {}
            Place::Memory(held) => {
                let descriptor = layer(digest, self.size);
                let (reference, bytes) = (ingest_reference(&descriptor), held.freeze());
                let content = self.staging.client.content();
                content.put(&reference, &descriptor, bytes, Labels::new()).await?;
            }
            Place::Ingest(ingest) if self.expected.is_some() => {
                ingest.commit(Labels::new()).await?;
            }
            Place::Ingest(ingest) => ingest.commit_as(digest, Labels::new()).await?,
        }
        Ok(digest)
    }
}

fn layer(digest: Digest, size: u64) -> Descriptor {
    Descriptor::new(MediaType::new(LAYER_TYPE), digest, size)
}
