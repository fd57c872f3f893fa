//! containerd as a destination: content, snapshots and names, as the kubelet's own pulls leave
//! them.

use async_trait::async_trait;
use bytes::Bytes;

use super::destination::{BlobIngest, Destination, Opened};
use super::plan::{Document, ImagePlan, Layer, PlatformImage};
use super::run_lease::RunLease;
use super::{Error, PullRequest};
use crate::containerd::labels::{self, Labels};
use crate::containerd::{self, Client, ContentStore, Ingest, ingest_reference};
use crate::oci::{Descriptor, MAX_MANIFEST_BYTES};
use crate::progress::BlobKind;
use crate::reference::Reference;
use crate::unpack::{self, DaemonUnpacker};

/// Puts images into a containerd namespace.
#[derive(Debug)]
pub struct ContainerdDestination {
    client: Client,
    lease: RunLease,
    /// Snapshotter to unpack with; `None` leaves snapshots out.
    snapshotter: Option<String>,
}

impl ContainerdDestination {
    /// A destination for one run over the images named; with a `snapshotter` they are unpacked.
    pub fn new(
        client: Client,
        snapshotter: Option<String>,
        images: impl IntoIterator<Item = String>,
    ) -> Self {
        Self { lease: RunLease::new(&client, images), client, snapshotter }
    }

    fn content(&self) -> ContentStore {
        self.client.content()
    }

    /// How many layers from the base have a committed snapshot.
    async fn unpacked_layers(&self, layers: &[Layer], snapshotter: &str) -> Result<usize, Error> {
        let snapshots = self.client.snapshots(snapshotter);
        // The topmost one that exists stands for all below it.
        for (position, layer) in layers.iter().enumerate().rev() {
            let Some(identity) = &layer.identity else { continue };
            let chain_id = identity.chain_id.to_string();
            if snapshots.stat(&chain_id).await?.is_some() {
                self.lease.hold(&format!("snapshots/{snapshotter}"), &chain_id).await?;
                return Ok(position + 1);
            }
        }
        Ok(0)
    }

    async fn present_layers(&self, layers: &[Layer]) -> Result<usize, Error> {
        for (position, layer) in layers.iter().enumerate() {
            if !self.holds(&layer.descriptor).await? {
                return Ok(position);
            }
        }
        Ok(layers.len())
    }

    /// Whether the blob is there, which the lease then keeps.
    async fn holds(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        let found = self.content().info(&descriptor.digest).await?;
        let complete = found.is_some_and(|info| info.size == descriptor.size);
        if complete {
            self.lease.hold("content", &descriptor.digest.to_string()).await?;
        }
        Ok(complete)
    }

    /// Writes a document, or completes the labels of one that is there.
    async fn put_document(&self, document: &Document, labels: Labels) -> Result<(), Error> {
        let descriptor = &document.descriptor;
        if self.content().info(&descriptor.digest).await?.is_some() {
            return Ok(self.content().add_labels(&descriptor.digest, &labels).await?);
        }
        let content = self.lease.client().await?.content();
        let reference = ingest_reference(descriptor);
        Ok(content.put(&reference, descriptor, document.bytes.clone(), labels).await?)
    }

    /// Whether one of the names has the label that keeps the kubelet's garbage collection away. It
    /// then holds for all of them, and stays.
    async fn is_pinned(&self, names: &[String]) -> Result<bool, Error> {
        for name in names {
            let image = self.client.images().get(name).await?;
            let (key, value) = labels::PINNED;
            if image.is_some_and(|i| i.labels.get(key).is_some_and(|found| found == value)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Labels of a document: what it points to, and where it came from.
    fn document_labels(&self, document: &Document, plan: &ImagePlan, image: &Reference) -> Labels {
        let mut labels = labels::gc_references(&document.children);
        labels.extend(labels::distribution_source(image, &Labels::new()));
        if let (BlobKind::Config, Some(snapshotter)) = (document.kind, &self.snapshotter) {
            let digest = document.descriptor.digest;
            let image = plan.images.iter().find(|i| i.unpack && i.config.digest == digest);
            let top = image.and_then(|i| i.layers.last()).and_then(|layer| layer.identity);
            labels.extend(top.map(|top| labels::gc_snapshot(snapshotter, &top.chain_id)));
        }
        labels
    }

    /// Completes the labels of the layers' blobs. Layers whose snapshot was there already may have
    /// no blob at all.
    async fn label_layers(&self, plan: &ImagePlan, image: &Reference) -> Result<(), Error> {
        for platform_image in &plan.images {
            for layer in &platform_image.layers {
                let digest = &layer.descriptor.digest;
                if self.content().info(digest).await?.is_none() {
                    continue;
                }
                let mut wanted = Labels::new();
                wanted.extend(labels::distribution_source(image, &Labels::new()));
                if platform_image.unpack && self.snapshotter.is_some() {
                    let identity = layer.identity.as_ref();
                    wanted.extend(identity.map(|identity| labels::uncompressed(&identity.diff_id)));
                }
                self.content().add_labels(digest, &wanted).await?;
            }
        }
        Ok(())
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
        match &self.snapshotter {
            Some(snapshotter) if image.unpack => {
                self.unpacked_layers(&image.layers, snapshotter).await
            }
            _ => self.present_layers(&image.layers).await,
        }
    }

    async fn open(&self, descriptor: &Descriptor, image: &Reference) -> Result<Opened, Error> {
        let content = self.lease.client().await?.content();
        let reference = ingest_reference(descriptor);
        Ok(match content.ingest(&reference, descriptor).await? {
            containerd::Opened::Exists => Opened::Exists,
            containerd::Opened::Ingest(ingest) => {
                let labels = labels::distribution_source(image, &Labels::new());
                Opened::Ingest(Box::new(LabelledIngest {
                    ingest,
                    labels: labels.into_iter().collect(),
                }))
            }
        })
    }

    async fn unpack(&self, layer: &Layer) -> Result<(), Error> {
        let (Some(snapshotter), Some(identity)) = (&self.snapshotter, &layer.identity) else {
            return Ok(());
        };
        let unpacker = DaemonUnpacker::new(self.lease.client().await?, snapshotter);
        let layer = unpack::Layer {
            descriptor: layer.descriptor.clone(),
            diff_id: identity.diff_id,
            chain_id: identity.chain_id,
            parent: identity.parent,
        };
        unpacker.unpack(&layer, &Labels::new()).await?;
        Ok(())
    }

    fn unpacks(&self) -> bool {
        self.snapshotter.is_some()
    }

    async fn publish(&self, request: &PullRequest, plan: &ImagePlan) -> Result<(), Error> {
        self.label_layers(plan, &request.reference).await?;
        for document in &plan.documents {
            let labels = self.document_labels(document, plan, &request.reference);
            self.put_document(document, labels).await?;
        }
        let Some(config) = plan.images.first().map(|image| image.config.digest) else {
            return Ok(());
        };
        let images = self.client.images();
        let names = labels::image_names(&request.reference, &plan.target.digest, &config);
        let labels =
            labels::image_labels(request.pin || self.is_pinned(&names).await?, &request.labels);
        // The name that people ask for comes last: who finds it finds the others.
        for name in names.iter().rev() {
            images.put(name, &plan.target, &labels).await?;
        }
        Ok(())
    }

    async fn close(&self, requests: &[PullRequest], complete: bool) -> Result<(), Error> {
        if complete {
            self.lease.release(requests).await?;
        }
        Ok(())
    }
}

/// A content ingest with the labels that go with its commit, which saves a transaction.
struct LabelledIngest {
    ingest: Ingest,
    labels: Labels,
}

#[async_trait]
impl BlobIngest for LabelledIngest {
    fn offset(&self) -> u64 {
        self.ingest.offset()
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        Ok(self.ingest.write(bytes).await?)
    }

    async fn restart(&mut self) -> Result<(), Error> {
        Ok(self.ingest.restart().await?)
    }

    async fn commit(self: Box<Self>) -> Result<(), Error> {
        Ok(self.ingest.commit(self.labels).await?)
    }
}
