//! The seam behind which layers become snapshots: chooses between our way and containerd's, and keeps
//! what was extracted until the layers below it are there.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::active::{ActiveSnapshot, ActiveSnapshots};
use super::daemon::DaemonUnpacker;
use super::direct::{DirectUnpacker, Extraction, Filled, compression, run_blocking};
use super::extract::ExtractError;
use super::inflate::Decoder;
use super::learnt::Learnt;
use super::room::Allowance;
use super::{Error, Layer};
use crate::containerd::{Client, ContentStore};
use crate::failure::{Diagnose as _, Failure, Notice};
use crate::oci::{ChainId, Compression, DiffId, Hasher};
use crate::progress::{Event, Sink};
use crate::sync::lock;

/// Largest blob, in bytes, that waits in memory for the layers below instead of being extracted apart
/// (256 KiB), where it would have to move then. That saves two of the daemon's transactions and the
/// move, which cost more than extracting so little.
const MAX_HELD_BLOB: u64 = 256 * 1024;

/// Most bytes of blobs that wait in memory (8 MiB), whatever the number of layers.
const MAX_HELD_BYTES: usize = 8 * 1024 * 1024;

/// Up to what uncompressed size a blob in memory is proved before it is stored (16 MiB).
const MAX_PROVEN_BYTES: u64 = 16 << 20;

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

/// Makes layers snapshots, for all images of a run.
pub struct Unpacker {
    content: ContentStore,
    active: ActiveSnapshots,
    daemon: DaemonUnpacker,
    direct: Option<DirectUnpacker>,
    way: Way,
    state: Mutex<State>,
    memory: Arc<Semaphore>,
    sink: Arc<dyn Sink>,
    learnt: Learnt,
}

#[derive(Debug, Default)]
struct State {
    layers: HashMap<ChainId, Known>,
    has_warned: bool,
}

/// What is known of a layer, by the chain that it ends.
#[derive(Debug)]
enum Known {
    /// Its blob came in while it was extracted.
    Arrived(Target),
    Staged(Staged),
    /// Its snapshot is there.
    Committed,
}

/// A layer that only waits for those below it.
#[derive(Debug)]
enum Staged {
    Filled(Box<Filled>),
    Held(Held),
    /// Our way failed: containerd's is next.
    Failed(Error),
    /// The snapshotter was asked for the layer and has it not: containerd fills what it gave instead.
    Prepared(ActiveSnapshot),
}

/// A small blob in memory.
#[derive(Debug)]
struct Held {
    bytes: BytesMut,
    _memory: OwnedSemaphorePermit,
}

/// Takes a layer's blob while it comes in.
pub struct LayerSink {
    unpacker: Arc<Unpacker>,
    layer: Layer,
    target: Target,
}

#[derive(Debug)]
enum Target {
    Extraction(Box<Extraction>),
    /// The extraction's outcome.
    Extracted(Result<Box<Filled>, Error>),
    Memory(Held),
}

impl State {
    fn take_arrived(&mut self, chain_id: &ChainId) -> Option<Target> {
        match self.layers.remove(chain_id)? {
            Known::Arrived(target) => Some(target),
            other => self.put_back(chain_id, other),
        }
    }

    fn take_staged(&mut self, chain_id: &ChainId) -> Option<Staged> {
        match self.layers.remove(chain_id)? {
            Known::Staged(staged) => Some(staged),
            other => self.put_back(chain_id, other),
        }
    }

    fn put_back<T>(&mut self, chain_id: &ChainId, known: Known) -> Option<T> {
        self.layers.insert(*chain_id, known);
        None
    }
}

impl Held {
    /// The diff ID, unless it takes too long to find out.
    fn diff_id(&self, compression: Compression) -> Option<DiffId> {
        let decoder = Decoder::new(&self.bytes[..], compression).ok()?;
        let mut content = decoder.take(MAX_PROVEN_BYTES);
        let mut hasher = Hasher::new();
        hasher.update_from(&mut content).ok()?;
        (content.limit() > 0).then(|| DiffId(hasher.finish()))
    }
}

impl LayerSink {
    /// Takes the next bytes; waits while the disk is behind.
    pub async fn write(&mut self, bytes: Bytes) {
        match &mut self.target {
            Target::Extraction(extraction) => extraction.write(bytes).await,
            Target::Extracted(_) => {}
            Target::Memory(held) => held.bytes.extend_from_slice(&bytes),
        }
    }

    /// Itself, and the layer's diff ID if the bytes so far, all of the blob, are found to have it;
    /// waits for its last file. Of a blob in memory that inflates to much, this is not found out.
    ///
    /// # Errors
    /// When a thread has stopped.
    pub async fn prove(self) -> Result<(Self, Option<DiffId>), Error> {
        let Self { unpacker, layer, target } = self;
        let diff_id = layer.identity.diff_id;
        let (target, is_proven) = match target {
            Target::Extraction(extraction) => {
                let outcome = extraction.finish().await.map(Box::new);
                let is_proven = outcome.is_ok();
                (Target::Extracted(outcome), is_proven)
            }
            Target::Memory(held) => {
                let compression = compression(&layer)?;
                run_blocking(move || {
                    let is_proven = held.diff_id(compression) == Some(diff_id);
                    Ok((Target::Memory(held), is_proven))
                })
                .await?
            }
            Target::Extracted(outcome) => {
                let is_proven = outcome.is_ok();
                (Target::Extracted(outcome), is_proven)
            }
        };
        Ok((Self { unpacker, layer, target }, is_proven.then_some(diff_id)))
    }

    /// Leaves what was made of the whole blob, which proved to be the right one, to be staged.
    pub fn keep(self) {
        let Self { unpacker, layer, target } = self;
        unpacker.state().layers.insert(layer.identity.chain_id, Known::Arrived(target));
    }

    /// Gives up: the bytes were not the blob's.
    pub async fn abandon(self) {
        match self.target {
            Target::Extraction(extraction) => extraction.abandon().await,
            Target::Extracted(Ok(filled)) => filled.abandon().await,
            Target::Extracted(Err(_)) | Target::Memory(_) => {}
        }
    }
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
        let learnt = Learnt::new(client, Arc::clone(&sink));
        let direct =
            DirectUnpacker::new(snapshotter, active.clone(), learnt.clone(), allowance.clone());
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
            daemon: DaemonUnpacker::new(client, active.clone(), learnt.clone(), allowance),
            learnt,
            active,
            direct,
            way,
            state: Mutex::default(),
            memory: Arc::new(Semaphore::new(MAX_HELD_BYTES)),
            sink,
        })
    }

    /// Takes note that the snapshot of `chain_id` is there.
    pub fn know(&self, chain_id: ChainId) {
        self.state().layers.insert(chain_id, Known::Committed);
    }

    /// Whether the snapshot of `chain_id` is known to be there.
    pub fn knows(&self, chain_id: &ChainId) -> bool {
        matches!(self.state().layers.get(chain_id), Some(Known::Committed))
    }

    /// How many bytes the layer of `chain_id` is, unpacked, if this run has unpacked it: those of its
    /// files by our way, those of its whole archive by containerd's.
    pub fn unpacked_bytes(&self, chain_id: &ChainId) -> Option<u64> {
        self.learnt.bytes_of(chain_id)
    }

    /// Has the snapshotter provide `layer`, whose parent's snapshot is there, if it fetches layers by
    /// itself. [`Self::knows`] tells whether it did. Where it did not, the snapshot that it gave to be
    /// filled is used for that: asking again would have it try again, for as long as that takes.
    ///
    /// # Errors
    /// The daemon's.
    pub async fn ask_for(&self, layer: &Layer) -> Result<(), Error> {
        let chain_id = layer.identity.chain_id;
        match self.active.on_parent(layer).await? {
            // The daemon has put it under the lease.
            None => self.know(chain_id),
            Some(active) => {
                self.keep_staged(chain_id, Staged::Prepared(active));
            }
        }
        Ok(())
    }

    /// A sink for the blob of `layer`, which is about to come in; `None` when nothing is to be done
    /// with its bytes yet.
    ///
    /// # Errors
    /// [`Error`], where containerd's way would fail too or is not allowed.
    pub async fn begin(self: &Arc<Self>, layer: &Layer) -> Result<Option<LayerSink>, Error> {
        let chain_id = layer.identity.chain_id;
        let Some(direct) = self.direct.as_ref().filter(|_| !self.is_known(&chain_id)) else {
            return Ok(None);
        };
        let parent_is_ready = self.parent_is_ready(layer);
        let must_move = !parent_is_ready && !direct.can_rebase().await;
        if must_move && let Some(held) = self.room_for(layer) {
            return Ok(Some(self.sink_for(layer, Target::Memory(held))));
        }
        match direct.begin(layer, parent_is_ready).await {
            Ok(extraction) => Ok(extraction
                .map(|extraction| self.sink_for(layer, Target::Extraction(Box::new(extraction))))),
            Err(error) => self.fall_back(chain_id, error).map(|()| None),
        }
    }

    fn sink_for(self: &Arc<Self>, layer: &Layer, target: Target) -> LayerSink {
        LayerSink { unpacker: Arc::clone(self), layer: layer.clone(), target }
    }

    /// Waits for the last file of a layer, and checks that it is the right one.
    async fn complete(&self, chain_id: ChainId, target: Target) -> Result<(), Error> {
        let outcome = match target {
            Target::Memory(held) => Ok(Staged::Held(held)),
            Target::Extraction(extraction) => {
                extraction.finish().await.map(|filled| Staged::Filled(Box::new(filled)))
            }
            Target::Extracted(outcome) => outcome.map(Staged::Filled),
        };
        match outcome {
            Ok(staged) => {
                self.keep_staged(chain_id, staged);
                Ok(())
            }
            Err(error) => self.fall_back(chain_id, error),
        }
    }

    fn keep_staged(&self, chain_id: ChainId, staged: Staged) {
        self.state().layers.insert(chain_id, Known::Staged(staged));
    }

    /// Does what can be done for a layer whose blob is stored, before the layers below it are there.
    ///
    /// # Errors
    /// As [`Unpacker::begin`].
    pub async fn stage(self: &Arc<Self>, layer: &Layer) -> Result<(), Error> {
        let chain_id = layer.identity.chain_id;
        let arrived = self.state().take_arrived(&chain_id);
        if let Some(target) = arrived {
            return self.complete(chain_id, target).await;
        }
        let Some(mut sink) = self.begin(layer).await? else { return Ok(()) };
        let mut blob = self.content.reader(&layer.descriptor.digest, 0).await?;
        while let Some(chunk) = blob.next().await {
            match chunk {
                Ok(chunk) => sink.write(chunk).await,
                Err(error) => {
                    sink.abandon().await;
                    return Err(error.into());
                }
            }
        }
        self.complete(chain_id, sink.target).await
    }

    /// Makes the snapshot of `layer`, whose blob is stored and whose parent's snapshot is there.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn unpack(&self, layer: &Layer) -> Result<(), Error> {
        let chain_id = layer.identity.chain_id;
        if self.knows(&chain_id) {
            return Ok(());
        }
        let staged = self.state().take_staged(&chain_id);
        let outcome = match (&self.direct, staged) {
            (Some(direct), Some(Staged::Filled(filled))) => direct.commit(*filled).await.map(drop),
            (Some(direct), Some(Staged::Held(held))) => unpack_held(direct, layer, held).await,
            (_, Some(Staged::Failed(error))) => Err(error),
            (_, Some(Staged::Prepared(active))) => {
                return self.leave_to_daemon(layer, Some(active)).await;
            }
            _ => return self.leave_to_daemon(layer, None).await,
        };
        match outcome {
            Ok(()) => self.know(chain_id),
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
        self.daemon.unpack(layer, prepared).await?;
        self.know(layer.identity.chain_id);
        Ok(())
    }

    /// Removes what was extracted and is of no use any more.
    pub async fn close(&self) {
        // Their threads end when their senders are gone.
        drop(std::mem::take(&mut *self.state()));
        self.active.remove_left().await;
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
        self.keep_staged(chain_id, Staged::Failed(error));
        Ok(())
    }

    /// Says, once a run, that containerd had to unpack.
    fn warn_of_fallback(&self, chain_id: &ChainId) {
        let mut state = self.state();
        let Some(Staged::Failed(error)) = state.take_staged(chain_id) else { return };
        tracing::debug!(%chain_id, %error, "containerd unpacks this layer");
        if !std::mem::replace(&mut state.has_warned, true) {
            drop(state);
            let message = format!("containerd unpacks, which is slower: {error}");
            let notice = Notice::new("unpacker-fallback", message)
                .with_hint("--unpacker daemon takes that way at once");
            self.sink.event(Event::Warning(notice));
        }
    }

    fn is_known(&self, chain_id: &ChainId) -> bool {
        let state = self.state();
        matches!(state.layers.get(chain_id), Some(Known::Committed | Known::Staged(_)))
    }

    fn parent_is_ready(&self, layer: &Layer) -> bool {
        layer.identity.parent.is_none_or(|parent| self.knows(&parent))
    }

    /// Memory for the whole blob, if it is small and there is room.
    fn room_for(&self, layer: &Layer) -> Option<Held> {
        let size = layer.descriptor.size;
        let size = u32::try_from(size).ok().filter(|_| size <= MAX_HELD_BLOB)?;
        let memory = Arc::clone(&self.memory).try_acquire_many_owned(size).ok()?;
        Some(Held { bytes: BytesMut::new(), _memory: memory })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that could panic happens under this lock.
        lock(&self.state)
    }
}

async fn unpack_held(direct: &DirectUnpacker, layer: &Layer, held: Held) -> Result<(), Error> {
    direct.unpack(layer, held.bytes.freeze().reader()).await.map(drop)
}
