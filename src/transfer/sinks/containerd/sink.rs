//! A containerd namespace as a sink: what is done there, in which order.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::blobs::LayerBlobs;
use super::ingests::{After, Labelled};
use super::lease::RunLease;
use super::listed::Listed;
use super::naming::Naming;
use super::reclaim;
use super::room::Room;
use super::sources::Sources;
use super::storing::Storing;
use super::unpacking::{UnpackOptions, Unpacking};
use super::witness::Witness;
use crate::config::kubelet::{Threshold, Verification};
use crate::containerd::{self, Client, ContentStore, labels};
use crate::oci::{Descriptor, MAX_MANIFEST_BYTES};
use crate::progress::{self, Seen};
use crate::transfer::error::Error;
use crate::transfer::forecast::Forecast;
use crate::transfer::held::{Held, Lack};
use crate::transfer::plan::{Document, Layer, Plan, PlatformImage};
use crate::transfer::provenance::Provenance;
use crate::transfer::request::Names;
use crate::transfer::sink::{Opened, Outcome, Sink};
use crate::verifiers::Verifiers;

/// Puts images into a containerd namespace.
pub struct ContainerdSink {
    client: Client,
    content: ContentStore,
    lease: Arc<RunLease>,
    blobs: LayerBlobs,
    naming: Naming,
    /// `None` where layers stay what they are.
    unpacking: Option<Unpacking>,
    verifiers: Option<Verifiers>,
    listed: Listed,
    room: Room,
    witness: Witness,
    sources: Sources,
    /// The image of pods' sandboxes.
    sandbox: Option<String>,
}

/// What the node around the daemon wants.
#[derive(Debug, Clone, Default)]
pub struct NodeRules {
    /// What the kubelet wants to see before a pod may use an image.
    pub verification: Option<Verification>,
    /// How little the kubelet lets the file system of images have free.
    pub threshold: Option<Threshold>,
    /// The image of pods' sandboxes, by its name.
    pub sandbox: Option<String>,
}

impl ContainerdSink {
    /// A sink for one run over the images named, on a node with `rules`; without `unpack`, snapshots are
    /// left out.
    pub fn new(
        client: Client,
        unpack: Option<UnpackOptions>,
        images: impl IntoIterator<Item = String>,
        rules: NodeRules,
        progress: Arc<dyn progress::Sink>,
    ) -> Self {
        let NodeRules { verification, threshold, sandbox } = rules;
        let witness = Witness::new(client.clone(), verification, Arc::clone(&progress));
        let lease = Arc::new(RunLease::new(&client, images));
        let after = After { labelled: Labelled::default(), storing: Storing::new() };
        let snapshotter = unpack.as_ref().map(|unpack| unpack.snapshotter.clone());
        let beside = unpack.as_ref().and_then(|unpack| unpack.beside.clone());
        let unpacking = unpack.map(|unpack| {
            let (lease, storing) = (Arc::clone(&lease), after.storing.clone());
            Unpacking::new(client.clone(), lease, unpack, storing, progress)
        });
        let sources = Sources::default();
        let listed = Listed::new(client.clone(), snapshotter.clone());
        let room = Room::new(client.clone(), snapshotter.clone(), beside, threshold);
        Self {
            client: client.clone(),
            content: client.content(),
            blobs: LayerBlobs::new(&client, Arc::clone(&lease), after.clone(), sources.clone()),
            naming: Naming::new(
                client,
                Arc::clone(&lease),
                after.labelled,
                snapshotter,
                sources.clone(),
            ),
            lease,
            unpacking,
            verifiers: None,
            listed,
            room,
            witness,
            sources,
            sandbox,
        }
    }

    /// The same sink, for images with which these agree.
    #[must_use]
    pub fn verified_by(mut self, verifiers: Option<Verifiers>) -> Self {
        self.verifiers = verifiers;
        self
    }

    /// Whether nobody has to agree with an image before something of it may be here.
    fn takes_anything(&self) -> bool {
        self.verifiers.as_ref().is_none_or(Verifiers::are_none)
    }
}

#[async_trait]
impl Sink for ContainerdSink {
    async fn knows(&self, names: &Names) -> Result<bool, Error> {
        self.naming.knows(names).await
    }

    async fn holding(&self, names: &Names) -> Result<Option<Held>, Error> {
        Ok(self.listed.held(names).await?)
    }

    async fn lacking(&self, names: &Names, plan: &Plan) -> Result<Vec<Lack>, Error> {
        Ok(self.listed.lacking(names, plan).await?)
    }

    async fn forecast(&self, plans: &[&Plan]) -> Result<Option<Forecast>, Error> {
        Ok(Some(self.room.forecast(plans).await?))
    }

    async fn is_ample(&self, plans: &[&Plan]) -> Result<bool, Error> {
        Ok(self.room.is_ample(plans).await?)
    }

    fn expect(&self, plans: &[&Plan]) {
        self.sources.expect(plans);
    }

    async fn reclaimable_bytes(&self) -> Option<u64> {
        reclaim::reclaimable_bytes(&self.client, self.sandbox.as_deref()).await
    }

    async fn seen(&self, names: &Names, plan: &Plan) -> Option<Seen> {
        self.witness.seen(names, plan).await
    }

    fn anticipate(&self) {
        self.lease.take_early();
    }

    async fn put_early(&self, document: &Document, provenance: &Provenance) -> Result<(), Error> {
        match self.takes_anything() {
            true => self.naming.put_early(document, provenance).await,
            false => Ok(()),
        }
    }

    async fn is_lacking(&self, layer: &Descriptor) -> bool {
        // What the snapshotter may provide need not be fetched.
        let is_wanted =
            self.takes_anything() && !self.unpacking.as_ref().is_some_and(Unpacking::may_provide);
        is_wanted && self.blobs.is_new(layer).await.unwrap_or(false)
    }

    async fn make_ready(&self, blob: &Descriptor) {
        if let Some(unpacking) = &self.unpacking {
            unpacking.make_ready(blob).await;
        }
    }

    async fn put_beside(&self, plan: &Plan) -> Result<(), Error> {
        self.naming.put_documents(plan).await
    }

    async fn document(&self, descriptor: &Descriptor) -> Result<Option<Bytes>, Error> {
        match self.content.read(&descriptor.digest, MAX_MANIFEST_BYTES).await {
            Ok(bytes) => Ok(Some(bytes).filter(|bytes| bytes.len() as u64 == descriptor.size)),
            Err(containerd::Error::NotFound { .. }) => {
                self.naming.lacks(descriptor.digest);
                Ok(None)
            }
            // Of a descriptor that lies about its size.
            Err(containerd::Error::TooLarge { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn admit(&self, names: &Names, plan: &Plan) -> Result<(), Error> {
        let Some(verifiers) = &self.verifiers else { return Ok(()) };
        let name = labels::image_name(&names.reference, &plan.target.digest);
        Ok(verifiers.judge(&name, &plan.target).await?)
    }

    fn keeps_artifacts(&self) -> bool {
        self.unpacking.is_none()
    }

    async fn prepare(&self, image: &Arc<PlatformImage>) -> Result<usize, Error> {
        match &self.unpacking {
            Some(unpacking) if image.unpack => unpacking.ready_layers(&image.layers()).await,
            _ => self.blobs.present_layers(&image.layers).await,
        }
    }

    async fn open(&self, layer: &Layer) -> Result<Opened, Error> {
        self.blobs.open(layer, self.unpacking.as_ref()).await
    }

    async fn stage(&self, layer: &Layer) -> Result<(), Error> {
        match &self.unpacking {
            Some(unpacking) => unpacking.stage(layer).await,
            None => Ok(()),
        }
    }

    async fn settle(&self, layer: &Layer) -> Result<(), Error> {
        match &self.unpacking {
            Some(unpacking) => unpacking.unpack(layer).await,
            None => Ok(()),
        }
    }

    fn unpacked_bytes(&self, image: &Arc<PlatformImage>) -> u64 {
        self.unpacking.as_ref().map_or(0, |unpacking| unpacking.unpacked_bytes(&image.layers()))
    }

    async fn publish(&self, names: &Names, plan: &Plan) -> Result<(), Error> {
        let naming = &self.naming;
        self.blobs.are_stored(plan).await?;
        tokio::try_join!(naming.label_layers(plan), naming.put_documents(plan))?;
        naming.put_names(names, plan).await
    }

    async fn close(&self, outcomes: &[Outcome]) -> Result<(), Error> {
        self.blobs.close().await;
        if let Some(unpacking) = &self.unpacking {
            unpacking.close().await;
        }
        Ok(self.lease.end(outcomes).await?)
    }
}
