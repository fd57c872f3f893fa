//! Labels and names: what makes the pieces of an image one that garbage collection keeps and that the
//! kubelet finds.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::absent::Absent;
use super::ingests::Labelled;
use super::lease::RunLease;
use super::sources::{Sources, source_labels};
use crate::containerd::labels::{self, Labels};
use crate::containerd::{self, Client, ContentStore, ingest_reference};
use crate::oci::{Descriptor, Digest};
use crate::progress::BlobKind;
use crate::sync::lock;
use crate::transfer::error::Error;
use crate::transfer::plan::{Document, Plan};
use crate::transfer::provenance::Provenance;
use crate::transfer::request::Names;

/// Calls to the daemon that wait for their answers at the same time. It does what changes its
/// database one after the other anyway.
const CALLS_AT_ONCE: usize = 8;

/// Writes the documents, labels and names of the images of a run.
pub(super) struct Naming {
    client: Client,
    lease: Arc<RunLease>,
    labelled: Labelled,
    /// Documents that were not there.
    absent: Absent,
    /// Names that nothing had, by which people ask for images.
    new: Mutex<HashSet<String>>,
    sources: Sources,
    /// Where layers become snapshots.
    snapshotter: Option<String>,
}

impl Naming {
    pub(super) fn new(
        client: Client,
        lease: Arc<RunLease>,
        labelled: Labelled,
        snapshotter: Option<String>,
        sources: Sources,
    ) -> Self {
        let (absent, new) = (Absent::default(), Mutex::default());
        Self { client, lease, labelled, absent, new, sources, snapshotter }
    }

    fn content(&self) -> ContentStore {
        self.client.content()
    }

    /// Whether there is an image of the name that people ask for.
    pub(super) async fn knows(&self, names: &Names) -> Result<bool, Error> {
        let name = asked_for(names);
        let is_known = self.client.images().get(&name).await?.is_some();
        if !is_known {
            lock(&self.new).insert(name);
        }
        Ok(is_known)
    }

    /// Whether nothing had the name when somebody looked.
    fn is_new(&self, names: &Names) -> bool {
        lock(&self.new).contains(&asked_for(names))
    }

    /// Takes note that the document is not there.
    pub(super) fn lacks(&self, digest: Digest) {
        self.absent.note(digest);
    }

    /// Writes a document that has no labels but those of every image that it is part of. It belongs to an
    /// image whose name is new, so that nobody asks first whether it is there.
    pub(super) async fn put_early(
        &self,
        document: &Document,
        provenance: &Provenance,
    ) -> Result<(), Error> {
        self.store(document, common_labels(document, provenance)).await
    }

    /// Writes all documents of the image.
    pub(super) async fn put_documents(&self, plan: &Plan) -> Result<(), Error> {
        let is_new = plan.images.first().is_some_and(|image| self.is_new(&image.names));
        let mut calls = Vec::new();
        for document in &plan.documents {
            let labels = self.document_labels(document, plan);
            calls.push(self.put_document(document, labels, is_new));
        }
        stream::iter(calls).buffer_unordered(CALLS_AT_ONCE).try_collect().await
    }

    /// Writes a document, or completes the labels of one that is there: with an image that is new, none is
    /// as a rule, and nobody asks.
    async fn put_document(
        &self,
        document: &Document,
        labels: Labels,
        is_new: bool,
    ) -> Result<(), Error> {
        let descriptor = &document.descriptor;
        if self.labelled.has(&descriptor.digest, &labels) {
            return Ok(());
        }
        if self.absent.take(&descriptor.digest) || is_new {
            return self.store(document, labels).await;
        }
        match self.content().add_labels(&descriptor.digest, &labels).await {
            Err(containerd::Error::NotFound { .. }) => self.store(document, labels).await,
            Err(error) => Err(error.into()),
            Ok(()) => {
                self.labelled.note(descriptor.digest, labels);
                Ok(())
            }
        }
    }

    /// Writes a document. Where it is there all the same, its labels are completed.
    async fn store(&self, document: &Document, labels: Labels) -> Result<(), Error> {
        let content = self.lease.client().await?.content();
        let (descriptor, bytes) = (&document.descriptor, document.bytes.clone());
        content.put(&ingest_reference(descriptor), descriptor, bytes, labels.clone()).await?;
        self.labelled.note(descriptor.digest, labels);
        Ok(())
    }

    /// Labels of a document: a configuration also keeps its image's snapshots.
    fn document_labels(&self, document: &Document, plan: &Plan) -> Labels {
        let mut labels = common_labels(document, &plan.provenance);
        if let (BlobKind::Config, Some(snapshotter)) = (document.kind, &self.snapshotter) {
            let digest = document.descriptor.digest;
            let image = plan.images.iter().find(|i| i.unpack && i.config.digest == digest);
            let top = image.and_then(|image| image.identities.last());
            labels.extend(top.map(|top| labels::gc_snapshot(snapshotter, &top.chain_id)));
        }
        labels
    }

    /// Completes the labels of the layers' blobs.
    pub(super) async fn label_layers(&self, plan: &Plan) -> Result<(), Error> {
        let mut calls = Vec::new();
        for image in &plan.images {
            for layer in image.layers() {
                let mut wanted = self.sources.of(&layer);
                let identity = layer.identity().filter(|_| self.snapshotter.is_some());
                wanted.extend(identity.map(|identity| labels::uncompressed(&identity.diff_id)));
                // Most had them from the beginning; each call that waits here takes 7 KiB.
                if !self.labelled.has(&layer.descriptor().digest, &wanted) {
                    calls.push(self.label_layer(layer.descriptor().clone(), wanted));
                }
            }
        }
        stream::iter(calls).buffer_unordered(CALLS_AT_ONCE).try_collect().await
    }

    async fn label_layer(&self, layer: Descriptor, wanted: Labels) -> Result<(), Error> {
        match self.content().add_labels(&layer.digest, &wanted).await {
            // Layers whose snapshot was there, or came without us, may have no blob at all.
            Err(containerd::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(()) => {
                self.labelled.note(layer.digest, wanted);
                Ok(())
            }
        }
    }

    /// Lets the names stand for the image. The first is the one that people ask for, and comes last:
    /// who finds it finds the others.
    pub(super) async fn put_names(&self, names: &Names, plan: &Plan) -> Result<(), Error> {
        let Some(image) = plan.images.first() else { return Ok(()) };
        let (reference, target) = (&names.reference, &plan.target.digest);
        let stored = match image.is_image() {
            true => labels::image_names(reference, target, &image.config.digest),
            // The kubelet has no use for it: many have the same empty configuration.
            false => labels::digest_names(reference, target),
        };
        let other_name = plan.provenance.other_name(reference).and_then(labels::source_name);
        let with_labels = |pin| {
            let mut labels = labels::image_labels(pin, &names.labels);
            if !image.is_image() {
                labels.remove(labels::CRI_IMAGE.0);
            }
            labels.extend(other_name.clone());
            labels
        };
        let images = self.client.images();
        if self.is_new(names) {
            let labels = with_labels(names.pin);
            if self.create_names(&stored, &plan.target, &labels).await? {
                return Ok(());
            }
        }
        let known = try_join_all(stored.iter().map(|name| images.get(name))).await?;
        // One that is pinned holds for all of them, and stays.
        let pin = names.pin || known.iter().flatten().any(|image| labels::is_pinned(&image.labels));
        let labels = with_labels(pin);
        let mut puts = stored
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

    /// Lets names stand for an image that nothing stands for yet, in the order of
    /// [`put_names`](Self::put_names); whether they all do now.
    async fn create_names(
        &self,
        names: &[String],
        target: &Descriptor,
        labels: &Labels,
    ) -> Result<bool, Error> {
        let Some((asked_for, others)) = names.split_first() else { return Ok(true) };
        let images = self.client.images();
        let others = try_join_all(others.iter().map(|name| images.create(name, target, labels)));
        let are_new = others.await?.into_iter().all(|is_new| is_new);
        Ok(are_new && images.create(asked_for, target, labels).await?)
    }
}

/// The name by which people ask for the image. One with a digest is known by that.
pub(super) fn asked_for(names: &Names) -> String {
    let reference = &names.reference;
    match reference.digest() {
        Some(digest) => labels::image_name(reference, &digest),
        None => reference.to_string(),
    }
}

/// Labels of a document: what it points to, and where it came from.
fn common_labels(document: &Document, provenance: &Provenance) -> Labels {
    let mut labels = labels::gc_references(&document.children);
    labels.extend(source_labels(provenance));
    labels
}
