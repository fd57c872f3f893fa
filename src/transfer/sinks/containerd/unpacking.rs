//! Layers that become snapshots in the order of their chain, and how many of them need nothing.

use std::sync::Arc;

use tokio::sync::OnceCell;

use super::lease::RunLease;
use super::storing::Storing;
use crate::containerd::labels::{self, Labels};
use crate::containerd::{self, Client, Resource};
use crate::oci::{ChainId, Descriptor, LayerIdentity, MediaKind};
use crate::progress::{self, BlobKind, BlobState, Event};
use crate::transfer::error::Error;
use crate::transfer::once::OnceMap;
use crate::transfer::plan::Layer;
use crate::unpack::{self, Allowance, Inflating, LayerSink, Unpacker};

/// How layers become snapshots.
#[derive(Debug, Clone)]
pub struct UnpackOptions {
    /// The snapshotter.
    pub snapshotter: String,
    /// Who writes the files.
    pub way: unpack::Way,
    /// Most bytes that all layers of the run may be, unpacked; without it, what is free.
    pub max_bytes: Option<u64>,
    /// How many threads inflate a layer.
    pub inflating: Inflating,
    /// Most bytes of small layers that wait in memory for those below them; without it, as many as usual.
    pub held_bytes: Option<u64>,
    /// Another namespace of the same daemon, which may have the layers unpacked.
    pub beside: Option<Client>,
}

/// The snapshots of a run.
pub(super) struct Unpacking {
    client: Client,
    lease: Arc<RunLease>,
    options: UnpackOptions,
    /// Made when it is first needed, since it works under the lease.
    unpacker: OnceCell<Arc<Unpacker>>,
    /// The layers that were handed over, which several images may have.
    handles: OnceMap<ChainId, Arc<unpack::Handle>>,
    /// Blobs that are not stored yet.
    storing: Storing,
    progress: Arc<dyn progress::Sink>,
}

impl Unpacking {
    pub(super) fn new(
        client: Client,
        lease: Arc<RunLease>,
        options: UnpackOptions,
        storing: Storing,
        progress: Arc<dyn progress::Sink>,
    ) -> Self {
        let (unpacker, handles) = (OnceCell::new(), OnceMap::new());
        Self { client, lease, options, unpacker, handles, storing, progress }
    }

    pub(super) fn snapshotter(&self) -> &str {
        &self.options.snapshotter
    }

    async fn unpacker(&self) -> Result<&Arc<Unpacker>, Error> {
        let UnpackOptions { snapshotter, way, max_bytes, inflating, held_bytes, beside } =
            &self.options;
        let make = async || {
            let client = self.lease.client().await?;
            let (allowance, progress) = (Allowance::new(*max_bytes), Arc::clone(&self.progress));
            let unpacker = Unpacker::new(client, snapshotter, *way, allowance, progress)?;
            let unpacker = unpacker.inflated_by(inflating.clone()).holding(*held_bytes);
            let unpacker = unpacker.waiting_for(Arc::new(self.storing.clone()));
            Ok(Arc::new(match beside {
                Some(other) => unpacker.beside(other, snapshotter),
                None => unpacker,
            }))
        };
        self.unpacker.get_or_try_init(make).await
    }

    /// What those of `layers` that this run has unpacked are, in bytes.
    pub(super) fn unpacked_bytes(&self, layers: &[Layer]) -> u64 {
        let Some(unpacker) = self.unpacker.get() else { return 0 };
        let chain_ids = layers.iter().filter_map(|layer| Some(layer.identity()?.chain_id));
        chain_ids.filter_map(|chain_id| unpacker.unpacked_bytes(&chain_id)).sum()
    }

    /// How many layers from the base need neither their blob nor unpacking.
    pub(super) async fn ready_layers(&self, layers: &[Layer]) -> Result<usize, Error> {
        let committed = self.committed_layers(layers).await?;
        if committed < layers.len() && self.options.beside.is_some() {
            let chain: Vec<ChainId> =
                layers.iter().map_while(|layer| Some(layer.identity()?.chain_id)).collect();
            self.unpacker().await?.look_for_twins(&chain).await;
        }
        Ok(committed + self.provided_layers(&layers[committed..]).await?)
    }

    /// How many layers from the base have a committed snapshot.
    async fn committed_layers(&self, layers: &[Layer]) -> Result<usize, Error> {
        let chain_ids: Vec<ChainId> =
            layers.iter().map_while(|layer| Some(layer.identity()?.chain_id)).collect();
        // When nothing is missing the image is named at once, most often for the second time: a
        // lease would only cost.
        let Some((top, below)) = chain_ids.split_last() else { return Ok(0) };
        if self.is_committed(top).await? {
            return Ok(chain_ids.len());
        }
        // The topmost one that exists stands for all below it, so half of them need no question.
        let (mut ready, mut end) = (0, below.len());
        while ready < end {
            let middle = usize::midpoint(ready, end);
            match self.is_committed(&below[middle]).await? {
                true => ready = middle + 1,
                false => end = middle,
            }
        }
        if let Some(chain_id) = ready.checked_sub(1).and_then(|position| below.get(position)) {
            self.keep(chain_id).await?;
        }
        Ok(ready)
    }

    /// How many of `layers`, the lowest of which lies on what is unpacked, the snapshotter provides by
    /// itself, counted from below. As with containerd's own clients, it is not asked for those above
    /// one that it has not; what it has of them anyway it says when they are unpacked.
    async fn provided_layers(&self, layers: &[Layer]) -> Result<usize, Error> {
        // Without a question, no lease is needed.
        if layers.is_empty() || !self.may_provide() {
            return Ok(0);
        }
        for (position, layer) in layers.iter().enumerate() {
            let Some(layer) = self.handle(layer).await? else { return Ok(position) };
            if !layer.ask_for().await? {
                return Ok(position);
            }
        }
        Ok(layers.len())
    }

    /// Whether the snapshotter may have layers that nobody gave it.
    pub(super) fn may_provide(&self) -> bool {
        containerd::may_fetch(self.snapshotter())
    }

    /// The layer, handed over to be unpacked once a run, if it is one of a file system.
    async fn handle(&self, layer: &Layer) -> Result<Option<Arc<unpack::Handle>>, Error> {
        let Some(identity) = layer.identity() else { return Ok(None) };
        let hand_over = async || {
            let unpacker = Arc::clone(self.unpacker().await?);
            Ok(Arc::new(unpack::Handle::new(unpacker, self.unpackable(layer, identity))))
        };
        self.handles.run(identity.chain_id, hand_over).await.map(Some)
    }

    /// The layer as it is unpacked.
    fn unpackable(&self, layer: &Layer, identity: LayerIdentity) -> unpack::Layer {
        // containerd's own snapshotters have no use for it, and get what ctr gives them.
        // They are for who fetches it there, whatever it is to be called here.
        let image = layer.image();
        let labels = match &image.provenance.reference {
            Some(reference) if self.may_provide() => {
                let name = labels::image_name(reference, &image.target);
                labels::layer_origin(&name, &image.manifest.digest, layer.upwards())
            }
            _ => Labels::new(),
        };
        unpack::Layer { descriptor: layer.descriptor().clone(), identity, labels }
    }

    /// Whether the snapshot is there.
    async fn is_committed(&self, chain_id: &ChainId) -> Result<bool, Error> {
        if self.unpacker.get().is_some_and(|unpacker| unpacker.knows(chain_id)) {
            return Ok(true);
        }
        let snapshots = self.client.snapshots(self.snapshotter());
        Ok(snapshots.stat(&chain_id.to_string()).await?.is_some())
    }

    /// Keeps a snapshot, which layers are about to be unpacked on, for as long as the lease.
    async fn keep(&self, chain_id: &ChainId) -> Result<(), Error> {
        let kind = format!("{}{}", Resource::SNAPSHOTS, self.snapshotter());
        self.lease.hold(Resource::new(kind, chain_id.to_string())).await?;
        self.unpacker().await?.know(*chain_id);
        Ok(())
    }

    /// Makes a place for a layer that lies on no other, of which there is no more than `blob` yet.
    pub(super) async fn make_ready(&self, blob: &Descriptor) {
        match self.unpacker().await {
            Ok(unpacker) if matches!(blob.kind(), MediaKind::Layer { .. }) => {
                unpacker.make_ready(blob).await;
            }
            Ok(_) => {}
            // Whoever needs it tells.
            Err(error) => tracing::debug!(%error, "nothing is made ready"),
        }
    }

    /// Begins to unpack a layer whose blob is about to come in.
    pub(super) async fn begin(&self, layer: &Layer) -> Result<Option<LayerSink>, Error> {
        let Some(layer) = self.handle(layer).await? else { return Ok(None) };
        Ok(layer.begin().await?)
    }

    /// Does what does not need the layers below.
    pub(super) async fn stage(&self, layer: &Layer) -> Result<(), Error> {
        let Some(layer) = self.handle(layer).await? else { return Ok(()) };
        Ok(layer.stage().await?)
    }

    /// Makes the snapshot.
    pub(super) async fn unpack(&self, layer: &Layer) -> Result<(), Error> {
        let Some(handle) = self.handle(layer).await? else { return Ok(()) };
        self.tell(layer.descriptor());
        if self.may_provide() {
            handle.ask_for().await?;
        }
        Ok(handle.unpack().await?)
    }

    fn tell(&self, descriptor: &Descriptor) {
        self.progress.event(Event::Blob {
            digest: descriptor.digest,
            kind: BlobKind::Layer,
            size_bytes: descriptor.size,
            state: BlobState::Unpacking,
            resumed_bytes: 0,
        });
    }

    /// Removes what is of no use any more.
    pub(super) async fn close(&self) {
        if let Some(unpacker) = self.unpacker.get() {
            unpacker.close().await;
        }
    }
}
