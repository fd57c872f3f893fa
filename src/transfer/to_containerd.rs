//! containerd as a destination: content, snapshots and names, as the kubelet's own pulls leave
//! them.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::OnceCell;

use super::blob_ingests::{ContainerdIngest, Labelled, SmallBlob, Unpacked};
use super::destination::{Destination, Opened};
use super::once::OnceMap;
use super::plan::{Document, ImagePlan, Layer, PlatformImage};
use super::run_lease::RunLease;
use super::{Error, PullRequest};
use crate::containerd::labels::{self, Labels};
use crate::containerd::{self, Client, ContentStore, ingest_reference};
use crate::oci::{ChainId, Descriptor, MAX_MANIFEST_BYTES};
use crate::progress::{BlobKind, Sink};
use crate::reference::Reference;
use crate::unpack::{self, Unpacker};

/// Up to what size, in bytes, a blob is kept in memory until it is complete (2 MiB): that many at a
/// time as blobs are fetched at once. Larger ones go into the daemon's file as they come in.
const MAX_SMALL_BLOB: u64 = 2 << 20;

/// Up to what size, in bytes, nobody asks what an earlier run has left of a blob (256 KiB): fetching
/// it again costs no more.
const MAX_REFETCHED: u64 = 256 << 10;

/// Calls to the daemon that wait for their answers at the same time. It does what changes its
/// database one after the other anyway.
const CALLS_AT_ONCE: usize = 8;

/// Puts images into a containerd namespace.
pub struct ContainerdDestination {
    client: Client,
    lease: RunLease,
    unpack: Option<UnpackOptions>,
    /// Made when it is first needed, since it works under the lease.
    unpacker: OnceCell<Arc<Unpacker>>,
    /// Layers that the snapshotter was asked for.
    asked_for: OnceMap<ChainId>,
    labelled: Labelled,
    sink: Arc<dyn Sink>,
}

/// How layers become snapshots.
#[derive(Debug, Clone)]
pub struct UnpackOptions {
    /// The snapshotter.
    pub snapshotter: String,
    /// Who writes the files.
    pub way: unpack::Way,
}

impl ContainerdDestination {
    /// A destination for one run over the images named; without `unpack`, snapshots are left out.
    pub fn new(
        client: Client,
        unpack: Option<UnpackOptions>,
        images: impl IntoIterator<Item = String>,
        sink: Arc<dyn Sink>,
    ) -> Self {
        let lease = RunLease::new(&client, images);
        Self {
            client,
            lease,
            unpack,
            unpacker: OnceCell::new(),
            asked_for: OnceMap::new(),
            labelled: Labelled::default(),
            sink,
        }
    }

    fn snapshotter(&self) -> Option<&str> {
        self.unpack.as_ref().map(|unpack| unpack.snapshotter.as_str())
    }

    async fn unpacker(&self) -> Result<Option<Arc<Unpacker>>, Error> {
        let Some(UnpackOptions { snapshotter, way }) = &self.unpack else { return Ok(None) };
        let unpacker = self.unpacker.get_or_try_init(async || {
            let client = self.lease.client().await?;
            let unpacker = Unpacker::new(client, snapshotter, *way, Arc::clone(&self.sink))?;
            Ok::<_, Error>(Arc::new(unpacker))
        });
        Ok(Some(Arc::clone(unpacker.await?)))
    }

    fn content(&self) -> ContentStore {
        self.client.content()
    }

    /// How many layers from the base have a committed snapshot.
    async fn unpacked_layers(&self, layers: &[Layer], snapshotter: &str) -> Result<usize, Error> {
        let chain_ids: Vec<ChainId> =
            layers.iter().map_while(|layer| Some(layer.identity?.chain_id)).collect();
        // When nothing is missing the image is named at once, most often for the second time: a
        // lease would only cost.
        let Some((top, below)) = chain_ids.split_last() else { return Ok(0) };
        if self.is_unpacked(top, snapshotter).await? {
            return Ok(chain_ids.len());
        }
        // The topmost one that exists stands for all below it, so half of them need no question.
        let (mut ready, mut end) = (0, below.len());
        while ready < end {
            let middle = usize::midpoint(ready, end);
            match self.is_unpacked(&below[middle], snapshotter).await? {
                true => ready = middle + 1,
                false => end = middle,
            }
        }
        if let Some(chain_id) = ready.checked_sub(1).and_then(|position| below.get(position)) {
            self.keep_unpacked(chain_id, snapshotter).await?;
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
        let Some(unpacker) = self.unpacker().await? else { return Ok(0) };
        for (position, layer) in layers.iter().enumerate() {
            let Some(layer) = self.unpackable(layer) else { return Ok(position) };
            self.ask_for(&layer, &unpacker).await?;
            if !unpacker.knows(&layer.identity.chain_id) {
                return Ok(position);
            }
        }
        Ok(layers.len())
    }

    /// Has the snapshotter provide the layer, once a run: several images may have it.
    async fn ask_for(&self, layer: &unpack::Layer, unpacker: &Unpacker) -> Result<(), Error> {
        if !self.may_provide() {
            return Ok(());
        }
        let ask = async || Ok(unpacker.ask_for(layer).await?);
        self.asked_for.run(layer.identity.chain_id, ask).await
    }

    /// Whether the snapshotter may have layers that nobody gave it.
    fn may_provide(&self) -> bool {
        self.snapshotter().is_some_and(containerd::may_fetch)
    }

    /// The layer as it is unpacked, if it is one of a file system.
    fn unpackable(&self, layer: &Layer) -> Option<unpack::Layer> {
        let Layer { descriptor, identity, origin, position } = layer;
        // containerd's own snapshotters have no use for it, and get what ctr gives them.
        let labels = match self.may_provide() {
            true => {
                let image = labels::image_name(&origin.image, &origin.target);
                labels::layer_origin(&image, &origin.manifest, &origin.layers[*position..])
            }
            false => Labels::new(),
        };
        Some(unpack::Layer { descriptor: descriptor.clone(), identity: (*identity)?, labels })
    }

    /// Whether the snapshot is there.
    async fn is_unpacked(&self, chain_id: &ChainId, snapshotter: &str) -> Result<bool, Error> {
        if self.unpacker.get().is_some_and(|unpacker| unpacker.knows(chain_id)) {
            return Ok(true);
        }
        let found = self.client.snapshots(snapshotter).stat(&chain_id.to_string()).await?;
        Ok(found.is_some())
    }

    /// Keeps a snapshot, which layers are about to be unpacked on, for as long as the lease.
    async fn keep_unpacked(&self, chain_id: &ChainId, snapshotter: &str) -> Result<(), Error> {
        self.lease.hold(&format!("snapshots/{snapshotter}"), &chain_id.to_string()).await?;
        if let Some(unpacker) = self.unpacker().await? {
            unpacker.know(*chain_id);
        }
        Ok(())
    }

    /// How many layers from the base have their blob.
    async fn present_layers(&self, layers: &[Layer]) -> Result<usize, Error> {
        for (position, layer) in layers.iter().enumerate() {
            if self.holds(&layer.descriptor).await? {
                continue;
            }
            for present in &layers[..position] {
                self.lease.hold("content", &present.descriptor.digest.to_string()).await?;
            }
            return Ok(position);
        }
        Ok(layers.len())
    }

    /// Whether the blob is there.
    async fn holds(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        let found = self.content().info(&descriptor.digest).await?;
        Ok(found.is_some_and(|info| info.size == descriptor.size))
    }

    /// Writes all documents of the image.
    async fn put_documents(&self, plan: &ImagePlan, image: &Reference) -> Result<(), Error> {
        let mut calls = Vec::new();
        for document in &plan.documents {
            let labels = self.document_labels(document, plan, image);
            calls.push(self.put_document(document, labels));
        }
        stream::iter(calls).buffer_unordered(CALLS_AT_ONCE).try_collect().await
    }

    /// Writes a document, or completes the labels of one that is there.
    async fn put_document(&self, document: &Document, labels: Labels) -> Result<(), Error> {
        let descriptor = &document.descriptor;
        match self.content().add_labels(&descriptor.digest, &labels).await {
            Err(containerd::Error::NotFound { .. }) => {}
            labelled => return Ok(labelled?),
        }
        let content = self.lease.client().await?.content();
        let reference = ingest_reference(descriptor);
        Ok(content.put(&reference, descriptor, document.bytes.clone(), labels).await?)
    }

    /// Lets the names stand for the image. The first is the one that people ask for, and comes last:
    /// who finds it finds the others.
    async fn put_names(
        &self,
        names: &[String],
        request: &PullRequest,
        plan: &ImagePlan,
    ) -> Result<(), Error> {
        let images = self.client.images();
        let known = try_join_all(names.iter().map(|name| images.get(name))).await?;
        // One that is pinned holds for all of them, and stays.
        let pin =
            request.pin || known.iter().flatten().any(|image| labels::is_pinned(&image.labels));
        let labels = labels::image_labels(pin, &request.labels);
        let mut puts = names
            .iter()
            .zip(&known)
            .map(|(name, known)| images.put(name, &plan.target, &labels, known.as_ref()));
        let asked_for = puts.next();
        try_join_all(puts).await?;
        if let Some(last) = asked_for {
            last.await?;
        }
        Ok(())
    }

    /// Opens a small blob, which is stored in one message when it is complete: the daemon then makes
    /// no file of what is unfinished, and remembers none.
    async fn open_small(
        &self,
        layer: &Layer,
        is_unpacked: bool,
        image: &Reference,
    ) -> Result<Opened, Error> {
        if self.holds(&layer.descriptor).await? {
            self.lease.hold("content", &layer.descriptor.digest.to_string()).await?;
            return Ok(Opened::Exists);
        }
        Ok(Opened::Ingest(Box::new(SmallBlob::new(
            self.lease.client().await?.content(),
            layer.descriptor.clone(),
            source_labels(image),
            self.labelled.clone(),
            self.begin(layer, is_unpacked).await?,
        ))))
    }

    /// Whether an earlier run has left a part of the blob that is worth going on with.
    async fn is_begun(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        if descriptor.size <= MAX_REFETCHED {
            return Ok(false);
        }
        let status = self.content().status(&ingest_reference(descriptor)).await?;
        Ok(status.is_some_and(|status| status.offset > 0))
    }

    /// Begins to unpack a layer whose blob is about to come in.
    async fn begin(&self, layer: &Layer, is_unpacked: bool) -> Result<Option<Unpacked>, Error> {
        let unpacker = self.unpacker().await?.filter(|_| is_unpacked);
        let Some((unpacker, layer)) = unpacker.zip(self.unpackable(layer)) else { return Ok(None) };
        let sink = unpacker.begin(&layer).await?;
        Ok(sink.map(|sink| Unpacked { unpacker, layer, sink }))
    }

    /// Labels of a document: what it points to, and where it came from.
    fn document_labels(&self, document: &Document, plan: &ImagePlan, image: &Reference) -> Labels {
        let mut labels = labels::gc_references(&document.children);
        labels.extend(source_labels(image));
        if let (BlobKind::Config, Some(snapshotter)) = (document.kind, self.snapshotter()) {
            let digest = document.descriptor.digest;
            let image = plan.images.iter().find(|i| i.unpack && i.config.digest == digest);
            let top = image.and_then(|i| i.layers.last()).and_then(|layer| layer.identity);
            labels.extend(top.map(|top| labels::gc_snapshot(snapshotter, &top.chain_id)));
        }
        labels
    }

    /// Completes the labels of the layers' blobs.
    async fn label_layers(&self, plan: &ImagePlan, image: &Reference) -> Result<(), Error> {
        let mut calls = Vec::new();
        for platform_image in &plan.images {
            let is_unpacked = platform_image.unpack && self.unpack.is_some();
            for layer in &platform_image.layers {
                calls.push(self.label_layer(layer, is_unpacked, image));
            }
        }
        stream::iter(calls).buffer_unordered(CALLS_AT_ONCE).try_collect().await
    }

    async fn label_layer(
        &self,
        layer: &Layer,
        is_unpacked: bool,
        image: &Reference,
    ) -> Result<(), Error> {
        let mut wanted = source_labels(image);
        let identity = layer.identity.filter(|_| is_unpacked);
        wanted.extend(identity.map(|identity| labels::uncompressed(&identity.diff_id)));
        if self.labelled.has(&layer.descriptor.digest, &wanted) {
            return Ok(());
        }
        match self.content().add_labels(&layer.descriptor.digest, &wanted).await {
            // Layers whose snapshot was there, or came without us, may have no blob at all.
            Err(containerd::Error::NotFound { .. }) => Ok(()),
            labelled => Ok(labelled?),
        }
    }
}

#[async_trait]
impl Destination for ContainerdDestination {
    async fn read(&self, descriptor: &Descriptor) -> Result<Option<Bytes>, Error> {
        match self.content().info(&descriptor.digest).await? {
            Some(info) if info.size == descriptor.size => {
                let bytes = self.content().read(&descriptor.digest, MAX_MANIFEST_BYTES).await?;
                Ok(Some(bytes))
            }
            _ => Ok(None),
        }
    }

    async fn ready_layers(&self, image: &PlatformImage) -> Result<usize, Error> {
        match self.snapshotter() {
            Some(snapshotter) if image.unpack => {
                let unpacked = self.unpacked_layers(&image.layers, snapshotter).await?;
                let above = &image.layers[unpacked..];
                Ok(unpacked + self.provided_layers(above).await?)
            }
            _ => self.present_layers(&image.layers).await,
        }
    }

    async fn open(
        &self,
        layer: &Layer,
        is_unpacked: bool,
        image: &Reference,
    ) -> Result<Opened, Error> {
        let descriptor = &layer.descriptor;
        if descriptor.size <= MAX_SMALL_BLOB && !self.is_begun(descriptor).await? {
            return self.open_small(layer, is_unpacked, image).await;
        }
        let content = self.lease.client().await?.content();
        let ingest = match content.ingest(&ingest_reference(descriptor), descriptor).await? {
            containerd::Opened::Exists => return Ok(Opened::Exists),
            containerd::Opened::Ingest(ingest) => ingest,
        };
        // What an earlier run has left is unpacked first, from where it lies. Where it can't be read,
        // the layer is read back from the store when it is whole.
        let is_unpacked = is_unpacked && (ingest.offset() == 0 || ingest.is_readable());
        let unpacked = match self.begin(layer, is_unpacked).await? {
            Some(unpacked) => Some(unpacked.catch_up(&ingest).await?),
            None => None,
        };
        let labels = source_labels(image);
        Ok(Opened::Ingest(Box::new(ContainerdIngest { ingest, labels, unpacked })))
    }

    async fn stage(&self, layer: &Layer) -> Result<(), Error> {
        match (self.unpacker().await?, self.unpackable(layer)) {
            (Some(unpacker), Some(layer)) => Ok(unpacker.stage(&layer).await?),
            _ => Ok(()),
        }
    }

    async fn unpack(&self, layer: &Layer) -> Result<(), Error> {
        match (self.unpacker().await?, self.unpackable(layer)) {
            (Some(unpacker), Some(layer)) => {
                self.ask_for(&layer, &unpacker).await?;
                Ok(unpacker.unpack(&layer).await?)
            }
            _ => Ok(()),
        }
    }

    fn unpacks(&self) -> bool {
        self.unpack.is_some()
    }

    async fn publish(&self, request: &PullRequest, plan: &ImagePlan) -> Result<(), Error> {
        let image = &request.reference;
        tokio::try_join!(self.label_layers(plan, image), self.put_documents(plan, image))?;
        let Some(config) = plan.images.first().map(|image| image.config.digest) else {
            return Ok(());
        };
        let names = labels::image_names(image, &plan.target.digest, &config);
        self.put_names(&names, request, plan).await
    }

    async fn close(&self, requests: &[PullRequest], complete: bool) -> Result<(), Error> {
        if let Some(unpacker) = self.unpacker.get() {
            unpacker.close().await;
        }
        if complete {
            self.lease.release(requests).await?;
        }
        Ok(())
    }
}

/// Where a blob can be had again.
fn source_labels(image: &Reference) -> Labels {
    labels::distribution_source(image, &Labels::new()).into_iter().collect()
}
