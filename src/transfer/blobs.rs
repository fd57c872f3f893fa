//! Layers' blobs: from a source's stream into the sink, and on until they are settled there. What
//! several images share is done once.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::ahead::{Ahead, Vanguard};
use super::error::Error;
use super::manner::Manner;
use super::once::OnceMap;
use super::plan::{Layer, PlatformImage};
use super::sink::{Ingest, Opened, Sink};
use super::slots::{BLOB_BYTES, Slot, Slots, ZSTD_LAYER_BYTES};
use super::source::{BlobStream, Source};
use crate::failure::{Diagnose as _, Failure};
use crate::oci::{ChainId, Compression, Descriptor, Digest, MediaKind};
use crate::progress::{self, BlobKind, BlobState, Event};

/// Times that a blob whose bytes turn out wrong is fetched afresh. Each time one host is left out, so
/// more only helps those with many mirrors.
const ATTEMPTS_AT_A_BLOB: usize = 6;

/// Times that a blob is opened again in a sink that has lost bytes of it, or its whole beginning,
/// without having more of it than ever before.
const REOPENINGS_OF_A_BLOB: usize = 4;

/// How long no bytes come before those held back are put where a later run finds them (1 s): on a
/// line that stalls, the run may be ended before the next ones come.
const FLUSH_AFTER: Duration = Duration::from_secs(1);

/// The blobs of a run.
pub(super) struct Blobs {
    pub(super) sink: Arc<dyn Sink>,
    progress: Arc<dyn progress::Sink>,
    slots: Slots,
    /// How many there are.
    pub(super) concurrency: usize,
    /// What was done for the layers so far. That it was is all there is to know here: what comes of it is
    /// the sink's, which keeps it by the same digests and chain IDs.
    steps: OnceMap<Step, ()>,
}

/// What is done for a layer, once a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    /// Everything up to being staged. Who waits here for another's work takes no slot.
    Bring(Digest, Option<ChainId>),
    /// The blob, which several layers may have.
    Fetch(Digest),
    /// What does not need the layers below.
    Stage(ChainId),
    /// What does.
    Settle(ChainId),
}

/// Counts what one image cost.
#[derive(Debug, Default, Clone)]
pub(super) struct Tally(Arc<AtomicU64>);

impl Tally {
    /// Bytes that came from the source.
    pub(super) fn fetched_bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A blob's bytes that were written, and where they came from: nowhere when all were there.
type Poured = Option<Box<dyn BlobStream>>;

impl Blobs {
    pub(super) fn new(
        sink: Arc<dyn Sink>,
        progress: Arc<dyn progress::Sink>,
        manner: &Manner,
    ) -> Self {
        let concurrency = manner.concurrency.max(1);
        let slots = Slots::new(concurrency, manner.memory_bytes);
        Self { sink, progress, slots, concurrency, steps: OnceMap::new() }
    }

    /// Fetches the layers that are missing and settles each as soon as it and those below it are
    /// there; the vanguard has been sent for. The first failure ends the rest.
    pub(super) async fn materialise(
        self: &Arc<Self>,
        image: &Arc<PlatformImage>,
        source: &Arc<dyn Source>,
        vanguard: &Arc<Vanguard>,
        tally: &Tally,
    ) -> Result<(), Error> {
        let layers = image.layers();
        let ready = self.sink.prepare(image).await?;
        let (present, missing) = layers.split_at(ready.min(layers.len()));
        for layer in present {
            self.state(layer.descriptor(), BlobState::Exists, 0);
        }
        let settled = Arc::new(AtomicUsize::new(0));
        let (mut downloads, arrivals) =
            self.start_downloads(missing, source, vanguard, tally, &settled);
        let settling = self.settle_in_order(missing, arrivals, &settled);
        let done = tokio::try_join!(join_all(&mut downloads), settling);
        // Those that go on would tell of an image that has failed.
        downloads.shutdown().await;
        match done {
            Ok(_) => Ok(()),
            Err(error) => Err(self.with_all_missing(error, missing, &**source).await),
        }
    }

    /// Where a blob is not in the source, the error with all of them: whoever has to bring them wants
    /// to know at once.
    async fn with_all_missing(&self, error: Error, layers: &[Layer], source: &dyn Source) -> Error {
        let Error::Incomplete { place, .. } = &error else { return error };
        let mut digests = Vec::new();
        for layer in layers {
            let digest = layer.descriptor().digest;
            if !digests.contains(&digest)
                && source.lacks(layer.descriptor()).await
                && self.is_missing(layer).await
            {
                digests.push(digest);
            }
        }
        if digests.len() > 1 { Error::Lacking { digests, place: place.clone() } } else { error }
    }

    /// Whether the sink has not got the layer's blob.
    async fn is_missing(&self, layer: &Layer) -> bool {
        match self.sink.open(layer).await {
            Ok(Opened::Ingest(ingest)) => {
                ingest.suspend().await;
                true
            }
            _ => false,
        }
    }

    /// One task a layer, and for each the news that it is ready for those below it, of which `settled`
    /// are in place.
    fn start_downloads(
        self: &Arc<Self>,
        layers: &[Layer],
        source: &Arc<dyn Source>,
        vanguard: &Arc<Vanguard>,
        tally: &Tally,
        settled: &Arc<AtomicUsize>,
    ) -> (JoinSet<Result<(), Error>>, Vec<oneshot::Receiver<()>>) {
        let mut downloads = JoinSet::new();
        let mut arrivals = Vec::with_capacity(layers.len());
        let mut seen = HashSet::new();
        for (position, layer) in layers.iter().enumerate() {
            if seen.insert(layer.descriptor().digest) {
                self.state(layer.descriptor(), BlobState::Waiting, 0);
            }
            let (arrived, arrival) = oneshot::channel();
            arrivals.push(arrival);
            let (blobs, layer) = (Arc::clone(self), layer.clone());
            let (source, tally) = (Arc::clone(source), tally.clone());
            let settled = Arc::clone(settled);
            let ahead = Ahead::Sent(Arc::clone(vanguard));
            downloads.spawn(async move {
                blobs.bring(&layer, ahead, &*source, &tally).await?;
                if position > settled.load(Ordering::Relaxed) {
                    blobs.state(layer.descriptor(), BlobState::AwaitingLowerLayers, 0);
                }
                // Nobody listens any more when settling has failed.
                let _ = arrived.send(());
                Ok(())
            });
        }
        (downloads, arrivals)
    }

    async fn settle_in_order(
        &self,
        layers: &[Layer],
        arrivals: Vec<oneshot::Receiver<()>>,
        settled: &AtomicUsize,
    ) -> Result<(), Error> {
        for (layer, arrival) in layers.iter().zip(arrivals) {
            if arrival.await.is_err() {
                // The download failed, and it is the download that tells why.
                return std::future::pending().await;
            }
            if let Some(identity) = layer.identity() {
                let step = Step::Settle(identity.chain_id);
                self.steps.run(step, || self.sink.settle(layer)).await?;
            }
            settled.fetch_add(1, Ordering::Relaxed);
            self.state(layer.descriptor(), BlobState::Done, 0);
        }
        Ok(())
    }

    /// Brings a layer into the sink, so far that only the layers below are missing.
    /// What of its blob is read already comes by `ahead`.
    pub(super) async fn bring(
        &self,
        layer: &Layer,
        ahead: Ahead,
        source: &dyn Source,
        tally: &Tally,
    ) -> Result<(), Error> {
        let digest = layer.descriptor().digest;
        let chain_id = layer.identity().map(|identity| identity.chain_id);
        let work = async || {
            let mut slot = self.slots.take(self.most_bytes(layer)).await?;
            let fetch = || self.fetch(layer, ahead, source, tally, &mut slot);
            self.steps.run(Step::Fetch(digest), fetch).await?;
            match chain_id {
                Some(chain_id) => {
                    self.steps.run(Step::Stage(chain_id), || self.sink.stage(layer)).await
                }
                None => Ok(()),
            }
        };
        self.steps.run(Step::Bring(digest, chain_id), work).await
    }

    /// What the layer holds in memory on its way, at most.
    fn most_bytes(&self, layer: &Layer) -> u64 {
        match layer.descriptor().kind() {
            // Where artifacts are kept, nothing is unpacked.
            _ if self.sink.keeps_artifacts() => BLOB_BYTES,
            MediaKind::Layer { compression: Compression::Zstd, .. } => ZSTD_LAYER_BYTES,
            _ => BLOB_BYTES,
        }
    }

    /// Brings a layer's blob into the sink.
    async fn fetch(
        &self,
        layer: &Layer,
        mut ahead: Ahead,
        source: &dyn Source,
        tally: &Tally,
        slot: &mut Slot<'_>,
    ) -> Result<(), Error> {
        let descriptor = layer.descriptor();
        let (mut attempts, mut reopenings, mut furthest) = (0, 0, 0);
        if self.sink.adopt(layer, source).await? {
            self.state(descriptor, BlobState::Exists, 0);
            return Ok(());
        }
        loop {
            slot.work();
            let Opened::Ingest(ingest) = self.sink.open(layer).await? else {
                tally.add(source.brought(descriptor));
                self.state(descriptor, BlobState::Exists, 0);
                return Ok(());
            };
            let resumed = ingest.offset();
            if resumed > furthest {
                (furthest, reopenings) = (resumed, 0);
            }
            self.state(descriptor, ingest.moving(), resumed);
            let ahead = &mut ahead;
            let (error, poured) =
                match self.bring_in(descriptor, ahead, source, ingest, tally, slot).await {
                    Ok(()) => return Ok(()),
                    Err(failed) => failed,
                };
            if matches!(error, Error::Lost(_)) && reopenings < REOPENINGS_OF_A_BLOB {
                tracing::debug!(%error, digest = %descriptor.digest, "going on from where it is");
                reopenings += 1;
                continue;
            }
            let Some(stream) = poured.filter(|_| error.failure() == Failure::Verification) else {
                return Err(error);
            };
            tracing::debug!(%error, places = ?stream.as_ref().map(|s| s.places()), "wrong blob");
            attempts += 1;
            // What an earlier run left may have been the wrong part: the source gets one more chance.
            let again = resumed > 0 || stream.as_ref().is_some_and(|stream| stream.wrong());
            if !again || attempts >= ATTEMPTS_AT_A_BLOB {
                return Err(stream.map_or(error, |stream| stream.damaged(descriptor.digest)));
            }
        }
    }

    /// Streams the missing part of the blob into `ingest`, and keeps it. An error comes with the
    /// stream when it is what the stream gave that could not be kept.
    async fn bring_in(
        &self,
        descriptor: &Descriptor,
        ahead: &mut Ahead,
        source: &dyn Source,
        mut ingest: Box<dyn Ingest>,
        tally: &Tally,
        slot: &mut Slot<'_>,
    ) -> Result<(), (Error, Option<Poured>)> {
        let poured = match self.pour(descriptor, ahead, source, &mut *ingest, tally).await {
            Ok(poured) => poured,
            Err(error) => {
                ingest.suspend().await;
                return Err((error, None));
            }
        };
        self.state(descriptor, BlobState::Verifying, 0);
        if ingest.is_settled_elsewhere() {
            slot.wait().await.map_err(|error| (error, None))?;
        }
        match ingest.commit().await {
            Ok(()) => {
                if let Some(stream) = poured {
                    stream.right();
                }
                Ok(())
            }
            Err(error) => Err((error, Some(poured))),
        }
    }

    async fn pour(
        &self,
        descriptor: &Descriptor,
        ahead: &mut Ahead,
        source: &dyn Source,
        ingest: &mut dyn Ingest,
        tally: &Tally,
    ) -> Result<Poured, Error> {
        if ingest.offset() == descriptor.size {
            tally.add(source.brought(descriptor));
            return Ok(None);
        }
        if let Some(bytes) = descriptor.data().filter(|_| ingest.offset() == 0) {
            ingest.write(bytes).await?;
            return Ok(None);
        }
        let begun = ahead.take(&descriptor.digest).await;
        let mut stream = match begun.filter(|_| ingest.offset() == 0) {
            Some(stream) => stream,
            None => source.blob(descriptor, ingest.offset()).await?,
        };
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
        Ok(Some(stream))
    }

    pub(super) fn state(&self, descriptor: &Descriptor, state: BlobState, resumed_bytes: u64) {
        let kind = match descriptor.kind() {
            MediaKind::Config => BlobKind::Config,
            _ => BlobKind::Layer,
        };
        self.progress.event(Event::Blob {
            digest: descriptor.digest,
            kind,
            size_bytes: descriptor.size,
            state,
            resumed_bytes,
        });
    }
}

async fn join_all(tasks: &mut JoinSet<Result<(), Error>>) -> Result<(), Error> {
    while let Some(joined) = tasks.join_next().await {
        match joined {
            Ok(result) => result?,
            Err(stopped) => return Err(Error::Task(stopped)),
        }
    }
    Ok(())
}
