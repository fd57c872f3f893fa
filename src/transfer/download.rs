//! Layers' blobs: from a registry stream into the destination, and on to be unpacked. What several
//! images share is done once.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Error;
use super::destination::{BlobIngest, Destination, Opened};
use super::once::OnceMap;
use super::plan::{Layer, PlatformImage};
use super::suspects::Suspects;
use crate::failure::{Diagnose as _, Failure};
use crate::oci::{ChainId, Descriptor, Digest, MediaKind};
use crate::progress::{BlobKind, BlobState, Event, Sink};
use crate::reference::Reference;
use crate::registry::Repository;

/// Times that a blob whose bytes turn out wrong is fetched afresh. Each time one host is left out, so
/// more only helps those with many mirrors.
const ATTEMPTS_AT_A_BLOB: usize = 6;

/// How long no bytes come before those held back are put where a later run finds them (1 s): on a
/// line that stalls, the run may be ended before the next ones come.
const FLUSH_AFTER: Duration = Duration::from_secs(1);

/// The blobs of a run.
pub(super) struct Blobs {
    destination: Arc<dyn Destination>,
    sink: Arc<dyn Sink>,
    slots: Semaphore,
    /// Layers by blob and place. Who waits here for another's work takes no slot.
    brought: OnceMap<(Digest, Option<ChainId>)>,
    fetched: OnceMap<Digest>,
    staged: OnceMap<ChainId>,
    unpacked: OnceMap<ChainId>,
}

/// Where an image's blobs come from.
#[derive(Clone)]
pub(super) struct Source {
    /// The image, by which the destination remembers where a blob can be had again.
    pub(super) image: Reference,
    /// Its repository.
    pub(super) repository: Repository,
}

/// Counts what one image cost.
#[derive(Debug, Default, Clone)]
pub(super) struct Tally(Arc<AtomicU64>);

impl Tally {
    /// Bytes that came over the network.
    pub(super) fn fetched_bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Blobs {
    pub(super) fn new(
        destination: Arc<dyn Destination>,
        sink: Arc<dyn Sink>,
        concurrency: usize,
    ) -> Self {
        Self {
            destination,
            sink,
            slots: Semaphore::new(concurrency.max(1)),
            brought: OnceMap::new(),
            fetched: OnceMap::new(),
            staged: OnceMap::new(),
            unpacked: OnceMap::new(),
        }
    }

    /// Fetches the layers that are missing and unpacks each as soon as it and those below it are
    /// there. The first failure ends the rest.
    pub(super) async fn materialise(
        self: &Arc<Self>,
        image: &PlatformImage,
        source: &Source,
        tally: &Tally,
    ) -> Result<(), Error> {
        let ready = self.destination.ready_layers(image).await?;
        let (present, missing) = image.layers.split_at(ready.min(image.layers.len()));
        for layer in present {
            self.state(&layer.descriptor, BlobState::Exists, 0);
        }
        let is_unpacked = image.unpack && self.destination.unpacks();
        let (downloads, arrivals) = self.start_downloads(missing, is_unpacked, source, tally);
        let unpacking = self.unpack_in_order(is_unpacked, missing, arrivals);
        tokio::try_join!(join_all(downloads), unpacking)?;
        Ok(())
    }

    /// One task a layer, and for each the news that it is ready for those below it.
    fn start_downloads(
        self: &Arc<Self>,
        layers: &[Layer],
        is_unpacked: bool,
        source: &Source,
        tally: &Tally,
    ) -> (JoinSet<Result<(), Error>>, Vec<oneshot::Receiver<()>>) {
        let mut downloads = JoinSet::new();
        let mut arrivals = Vec::with_capacity(layers.len());
        let mut seen = HashSet::new();
        for layer in layers {
            if seen.insert(layer.descriptor.digest) {
                self.state(&layer.descriptor, BlobState::Waiting, 0);
            }
            let (arrived, arrival) = oneshot::channel();
            arrivals.push(arrival);
            let (blobs, layer) = (Arc::clone(self), layer.clone());
            let (source, tally) = (source.clone(), tally.clone());
            downloads.spawn(async move {
                blobs.bring(&layer, is_unpacked, &source, &tally).await?;
                // Nobody listens any more when unpacking has failed.
                let _ = arrived.send(());
                Ok(())
            });
        }
        (downloads, arrivals)
    }

    async fn unpack_in_order(
        &self,
        is_unpacked: bool,
        layers: &[Layer],
        arrivals: Vec<oneshot::Receiver<()>>,
    ) -> Result<(), Error> {
        for (layer, arrival) in layers.iter().zip(arrivals) {
            if arrival.await.is_err() {
                // The download failed, and it is the download that tells why.
                return std::future::pending().await;
            }
            if let Some(identity) = layer.identity.filter(|_| is_unpacked) {
                let unpack = async || {
                    self.state(&layer.descriptor, BlobState::Unpacking, 0);
                    self.destination.unpack(layer).await
                };
                self.unpacked.run(identity.chain_id, unpack).await?;
            }
            self.state(&layer.descriptor, BlobState::Done, 0);
        }
        Ok(())
    }

    /// Brings a layer into the destination, so far that only the layers below are missing.
    async fn bring(
        &self,
        layer: &Layer,
        is_unpacked: bool,
        source: &Source,
        tally: &Tally,
    ) -> Result<(), Error> {
        let digest = layer.descriptor.digest;
        let chain_id = layer.identity.filter(|_| is_unpacked).map(|identity| identity.chain_id);
        let work = async || {
            let Ok(_slot) = self.slots.acquire().await else {
                return Err(Error::Closed);
            };
            let fetch = || self.fetch(layer, is_unpacked, source, tally);
            self.fetched.run(digest, fetch).await?;
            match chain_id {
                Some(chain_id) => self.staged.run(chain_id, || self.destination.stage(layer)).await,
                None => Ok(()),
            }
        };
        self.brought.run((digest, chain_id), work).await
    }

    /// Brings a layer's blob into the destination.
    async fn fetch(
        &self,
        layer: &Layer,
        is_unpacked: bool,
        source: &Source,
        tally: &Tally,
    ) -> Result<(), Error> {
        let descriptor = &layer.descriptor;
        let mut wrong = None;
        let mut suspects = Suspects::new(&source.repository);
        for _ in 0..ATTEMPTS_AT_A_BLOB {
            let opened = self.destination.open(layer, is_unpacked, &source.image).await?;
            let Opened::Ingest(mut ingest) = opened else {
                self.state(descriptor, BlobState::Exists, 0);
                return Ok(());
            };
            let resumed = ingest.offset();
            self.state(descriptor, BlobState::Downloading, resumed);
            let hosts = match self.transfer(descriptor, source, &mut *ingest, tally).await {
                Ok(hosts) => hosts,
                Err(error) => {
                    ingest.suspend().await;
                    return Err(error);
                }
            };
            self.state(descriptor, BlobState::Verifying, 0);
            match ingest.commit().await {
                Ok(()) => {
                    suspects.right();
                    return Ok(());
                }
                Err(error) if error.failure() != Failure::Verification => return Err(error),
                Err(error) => tracing::debug!(%error, ?hosts, "wrong blob"),
            }
            // What an earlier run left may have been the wrong part: the hosts get one more chance.
            let blame = resumed == 0;
            let others_left = !blame || suspects.wrong(&hosts);
            wrong = Some(Error::WrongBlob { digest: descriptor.digest, hosts });
            if !others_left {
                break;
            }
        }
        Err(wrong.unwrap_or(Error::Closed))
    }

    /// Streams the missing part of the blob and tells which hosts gave it.
    async fn transfer(
        &self,
        descriptor: &Descriptor,
        source: &Source,
        ingest: &mut dyn BlobIngest,
        tally: &Tally,
    ) -> Result<Vec<String>, Error> {
        if ingest.offset() == descriptor.size {
            return Ok(Vec::new());
        }
        let mut stream = source.repository.blob(descriptor, ingest.offset()).await?;
        loop {
            let mut next = pin!(stream.next());
            let bytes = match timeout(FLUSH_AFTER, &mut next).await {
                Ok(bytes) => bytes,
                Err(_) => {
                    ingest.flush().await?;
                    next.await
                }
            };
            let Some(bytes) = bytes.transpose()? else { break };
            tally.add(bytes.len() as u64);
            ingest.write(bytes).await?;
        }
        Ok(stream.hosts())
    }

    fn state(&self, descriptor: &Descriptor, state: BlobState, resumed_bytes: u64) {
        let kind = match descriptor.kind() {
            MediaKind::Config => BlobKind::Config,
            _ => BlobKind::Layer,
        };
        self.sink.event(Event::Blob {
            digest: descriptor.digest,
            kind,
            size_bytes: descriptor.size,
            state,
            resumed_bytes,
        });
    }
}

async fn join_all(mut tasks: JoinSet<Result<(), Error>>) -> Result<(), Error> {
    while let Some(joined) = tasks.join_next().await {
        match joined {
            Ok(result) => result?,
            Err(stopped) => return Err(Error::Task(stopped)),
        }
    }
    Ok(())
}
