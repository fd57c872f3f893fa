//! The seam behind which layers become snapshots: chooses between our way and containerd's, and keeps
//! what was extracted until the layers below it are there.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::active::{ActiveSnapshot, ActiveSnapshots};
use super::daemon::DaemonUnpacker;
use super::direct::DirectUnpacker;
use super::extract::ExtractError;
use super::held::{MAX_HELD_BLOB, Memory};
use super::inflating::Inflating;
use super::known::{Layers, Staged};
use super::remarks::Remarks;
use super::room::Allowance;
use super::sink::LayerSink;
use super::target::Target;
use super::twins::Twins;
use super::{Error, Layer};
use crate::containerd::{Client, ContentStore};
use crate::failure::{Diagnose as _, Failure, Notice};
use crate::oci::{ChainId, Descriptor, Digest};
use crate::progress::{Event, Sink};

/// Which way layers become snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Way {
    /// Ours where it is sound, otherwise containerd's.
    #[default]
    Auto,
    /// Ours, or fail.
    Direct,
    /// containerd's.
    Daemon,
}

/// Blobs that go on being stored while what was unpacked of them goes its way.
#[async_trait]
pub trait Storing: Send + Sync {
    /// Waits until the blob is stored, or can't be, if it is one of these.
    async fn settled(&self, blob: &Digest);
}

/// Makes layers snapshots, for all images of a run.
pub struct Unpacker {
    content: ContentStore,
    /// What is to be waited for before a blob is read there.
    storing: Option<Arc<dyn Storing>>,
    active: ActiveSnapshots,
    daemon: DaemonUnpacker,
    direct: Option<DirectUnpacker>,
    way: Way,
    /// What another namespace has unpacked.
    twins: Option<Twins>,
    layers: Arc<Layers>,
    memory: Memory,
    sink: Arc<dyn Sink>,
    has_warned: AtomicBool,
}

impl Unpacker {
    /// An unpacker into `snapshotter`, under the lease of `client`, of as much as `allowance` has.
    /// `sink` is told when our way fails for a layer and containerd's is taken.
    ///
    /// # Errors
    /// [`Error::Unsound`] when only our way is allowed and can't be gone.
    pub fn new(
        client: &Client,
        snapshotter: &str,
        way: Way,
        allowance: Allowance,
        sink: Arc<dyn Sink>,
    ) -> Result<Self, Error> {
        let active = ActiveSnapshots::new(client.snapshots(snapshotter));
        let remarks = Remarks::new(client, Arc::clone(&sink));
        let layers = Arc::<Layers>::default();
        let direct = DirectUnpacker::new(
            snapshotter,
            active.clone(),
            Arc::clone(&layers),
            remarks.clone(),
            allowance.clone(),
            client.is_sparing(),
        );
        let direct = match (way, direct) {
            (Way::Daemon, _) => None,
            (_, Ok(direct)) => Some(direct),
            (Way::Auto, Err(unsound)) => {
                tracing::debug!(%unsound, "containerd unpacks");
                None
            }
            (Way::Direct, Err(unsound)) => return Err(unsound.into()),
        };
        Ok(Self {
            content: client.content(),
            storing: None,
            daemon: DaemonUnpacker::new(client, active.clone(), remarks, allowance),
            active,
            direct,
            twins: None,
            way,
            layers,
            memory: Memory::new(None),
            sink,
            has_warned: AtomicBool::new(false),
        })
    }

    /// The same, which takes the files of layers that the namespace of `other`, of the same daemon, has
    /// unpacked in the `snapshotter` of that name, rather than inflating them once more.
    #[must_use]
    pub fn beside(self, other: &Client, snapshotter: &str) -> Self {
        let twins = self.direct.is_some().then(|| Twins::new(other, snapshotter));
        Self { twins, ..self }
    }

    /// The same, whose blobs may still be on their way into the store.
    #[must_use]
    pub fn waiting_for(self, storing: Arc<dyn Storing>) -> Self {
        Self { storing: Some(storing), ..self }
    }

    /// The same, which inflates layers with as many threads as `inflating` says.
    #[must_use]
    pub fn inflated_by(self, inflating: Inflating) -> Self {
        Self { direct: self.direct.map(|direct| direct.inflated_by(inflating)), ..self }
    }

    /// The same, in whose memory small blobs wait that have no more than `bytes` together, or as many as usual.
    #[must_use]
    pub fn holding(self, bytes: Option<u64>) -> Self {
        Self { memory: Memory::new(bytes), ..self }
    }

    /// Looks which layers of an image, base first, lie unpacked elsewhere.
    pub async fn look_for_twins(&self, chain: &[ChainId]) {
        if let Some(twins) = &self.twins {
            twins.look(chain).await;
        }
    }

    /// Takes note that the snapshot of `chain_id` is there.
    pub fn know(&self, chain_id: ChainId) {
        self.layers.know(chain_id);
    }

    /// Whether the snapshot of `chain_id` is known to be there.
    pub fn knows(&self, chain_id: &ChainId) -> bool {
        self.layers.is_committed(chain_id)
    }

    /// How many bytes the layer of `chain_id` is, unpacked, if this run has unpacked it: those of its
    /// files by our way, those of its whole archive by containerd's.
    pub fn unpacked_bytes(&self, chain_id: &ChainId) -> Option<u64> {
        self.layers.unpacked_bytes(chain_id)
    }

    /// Has the snapshotter provide `layer`, whose parent's snapshot is there, if it fetches layers by
    /// itself. [`Self::knows`] tells whether it did. Where it did not, the snapshot that it gave to be
    /// filled is used for that: asking again would have it try again, for as long as that takes.
    ///
    /// # Errors
    /// The daemon's.
    pub(super) async fn ask_for(&self, layer: &Layer) -> Result<(), Error> {
        let chain_id = layer.identity.chain_id;
        match self.active.on_parent(layer).await? {
            // The daemon has put it under the lease.
            None => self.know(chain_id),
            Some(active) => self.layers.stage(chain_id, Staged::Prepared(active)),
        }
        Ok(())
    }

    /// Makes a place for a layer that lies on no other, before more is known of it than `blob`, where our
    /// way is gone.
    pub async fn make_ready(&self, blob: &Descriptor) {
        if let Some(direct) = &self.direct {
            direct.make_ready(blob).await;
        }
    }

    /// A sink for the blob of `layer`, which is about to come in; `None` when nothing is to be done
    /// with its bytes yet.
    ///
    /// # Errors
    /// [`Error`], where containerd's way would fail too or is not allowed.
    pub(super) async fn begin(&self, layer: &Layer) -> Result<Option<LayerSink>, Error> {
        let chain_id = layer.identity.chain_id;
        let Some(direct) = self.direct.as_ref().filter(|_| !self.layers.is_ready(&chain_id)) else {
            return Ok(None);
        };
        if self.twin_of(layer).is_some() {
            return Ok(None);
        }
        let parent_is_ready = self.parent_is_ready(layer);
        let must_move = !parent_is_ready && !direct.can_rebase().await;
        if must_move && let Some(held) = self.memory.room_for(&layer.descriptor) {
            return Ok(Some(self.sink_for(layer, Target::Memory(held))));
        }
        match direct.begin(layer, parent_is_ready).await {
            Ok(extraction) => Ok(extraction
                .map(|extraction| self.sink_for(layer, Target::Extraction(Box::new(extraction))))),
            Err(error) => self.fall_back(chain_id, error).map(|()| None),
        }
    }

    fn sink_for(&self, layer: &Layer, target: Target) -> LayerSink {
        LayerSink::new(Arc::clone(&self.layers), layer.clone(), target)
    }

    /// Does what can be done for a layer whose blob is stored, before the layers below it are there.
    ///
    /// # Errors
    /// As [`Unpacker::begin`].
    pub(super) async fn stage(&self, layer: &Layer) -> Result<(), Error> {
        let chain_id = layer.identity.chain_id;
        let target = match self.layers.take_arrived(&chain_id) {
            Some(target) => target,
            None => {
                if self.take_twin(layer).await? {
                    return Ok(());
                }
                let Some(sink) = self.begin(layer).await? else { return Ok(()) };
                self.is_stored(layer).await;
                let stored = self.content.nearest_reader(&layer.descriptor.digest, 0).await?;
                sink.feed(stored).await?.into_target()
            }
        };
        match Staged::of(target).await {
            Ok(staged) => {
                self.layers.stage(chain_id, staged);
                Ok(())
            }
            Err(error) => self.fall_back(chain_id, error),
        }
    }

    /// Where the layer's files lie unpacked. One whose blob is small is as quick to extract.
    fn twin_of(&self, layer: &Layer) -> Option<PathBuf> {
        let is_small = layer.descriptor.size <= MAX_HELD_BLOB;
        self.twins.as_ref().filter(|_| !is_small)?.directory(&layer.identity.chain_id)
    }

    /// Takes the layer's files from where they lie unpacked; `false` where they have to be extracted.
    async fn take_twin(&self, layer: &Layer) -> Result<bool, Error> {
        let chain_id = layer.identity.chain_id;
        let direct = self.direct.as_ref().filter(|_| !self.layers.is_ready(&chain_id));
        let (Some(direct), Some(twin)) = (direct, self.twin_of(layer)) else { return Ok(false) };
        match direct.copy(layer, self.parent_is_ready(layer), twin).await {
            Ok(filled) => {
                let staged = filled.map(|filled| Staged::Filled(Box::new(filled)));
                staged.into_iter().for_each(|staged| self.layers.stage(chain_id, staged));
                Ok(true)
            }
            Err(error) if error.failure() == Failure::DiskFull => Err(error),
            Err(error) => {
                tracing::debug!(%chain_id, %error, "extracted anew");
                self.twins.iter().for_each(|twins| twins.forget(&chain_id));
                Ok(false)
            }
        }
    }

    /// Makes the snapshot of `layer`, whose blob is stored and whose parent's snapshot is there.
    ///
    /// # Errors
    /// [`Error`].
    pub(super) async fn unpack(&self, layer: &Layer) -> Result<(), Error> {
        let chain_id = layer.identity.chain_id;
        if self.knows(&chain_id) {
            return Ok(());
        }
        let staged = self.layers.take_staged(&chain_id);
        let outcome = match (&self.direct, staged) {
            (Some(direct), Some(Staged::Filled(filled))) => direct.commit(*filled).await,
            (Some(direct), Some(Staged::Held(held))) => {
                direct.unpack(layer, held.into_reader()).await
            }
            (_, Some(Staged::Failed(error))) => Err(error),
            (_, Some(Staged::Prepared(active))) => {
                return self.leave_to_daemon(layer, Some(active)).await;
            }
            _ => return self.leave_to_daemon(layer, None).await,
        };
        match outcome {
            Ok(unpacked) => self.layers.commit(&layer.identity, unpacked),
            Err(error) => {
                self.fall_back(chain_id, error)?;
                self.warn_of_fallback(&chain_id);
                self.leave_to_daemon(layer, None).await?;
            }
        }
        Ok(())
    }

    async fn leave_to_daemon(
        &self,
        layer: &Layer,
        prepared: Option<ActiveSnapshot>,
    ) -> Result<(), Error> {
        self.is_stored(layer).await;
        let unpacked = self.daemon.unpack(layer, prepared).await?;
        self.layers.commit(&layer.identity, unpacked);
        Ok(())
    }

    /// Waits until the layer's blob can be read. Whoever gives the image its name tells why it can't.
    async fn is_stored(&self, layer: &Layer) {
        if let Some(storing) = &self.storing {
            storing.settled(&layer.descriptor.digest).await;
        }
    }

    /// Removes what was extracted and is of no use any more.
    pub async fn close(&self) {
        // Their threads end when their senders are gone.
        self.layers.clear();
        self.active.remove_left().await;
        if let Some(twins) = &self.twins {
            twins.close().await;
        }
    }

    /// Takes note that our way failed for a layer, unless that settles the matter.
    fn fall_back(&self, chain_id: ChainId, error: Error) -> Result<(), Error> {
        // What the file system takes, it takes of nobody.
        let is_final = matches!(
            error,
            Error::DiffId { .. }
                | Error::Containerd(_)
                | Error::Extract(ExtractError::Attribute { .. })
        ) || error.failure() == Failure::DiskFull;
        if self.direct.is_none() || self.way == Way::Direct || is_final {
            return Err(error);
        }
        self.layers.stage(chain_id, Staged::Failed(error));
        Ok(())
    }

    /// Says, once a run, that containerd had to unpack.
    fn warn_of_fallback(&self, chain_id: &ChainId) {
        let Some(Staged::Failed(error)) = self.layers.take_staged(chain_id) else { return };
        tracing::debug!(%chain_id, %error, "containerd unpacks this layer");
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            let message = format!("containerd unpacks, which is slower: {error}");
            let notice = Notice::new("unpacker-fallback", message)
                .with_hint("--unpacker daemon takes that way at once");
            self.sink.event(Event::Warning(notice));
        }
    }

    fn parent_is_ready(&self, layer: &Layer) -> bool {
        layer.identity.parent.is_none_or(|parent| self.knows(&parent))
    }
}
