//! What one image consists of, as it was found out.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::provenance::Provenance;
use super::request::Names;
use crate::oci::{Descriptor, Digest, LayerIdentity};
use crate::platform::Platform;
use crate::progress::{BlobKind, Event};

/// Everything that belongs to one image.
#[derive(Debug)]
pub struct Plan {
    /// What its name stands for: an index or a manifest.
    pub target: Descriptor,
    /// Indexes, manifests and configurations, children before parents.
    pub documents: Vec<Document>,
    /// The images chosen, the one for the host first.
    pub images: Vec<Arc<PlatformImage>>,
    /// Where all of it can be had again.
    pub provenance: Arc<Provenance>,
}

/// A small blob that is held in memory.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its digest, size and media type.
    pub descriptor: Descriptor,
    /// Its part in the image.
    pub kind: BlobKind,
    /// Its bytes.
    pub bytes: Bytes,
    /// What it points to, in its own order: the children that garbage collection must keep.
    pub children: Vec<Descriptor>,
}

/// One platform's image.
#[derive(Debug)]
pub struct PlatformImage {
    /// What the image is called that it belongs to.
    pub names: Arc<Names>,
    /// Where what it consists of can be had again.
    pub provenance: Arc<Provenance>,
    /// What those names stand for: an index, or its own manifest.
    pub target: Digest,
    /// What it runs on.
    pub platform: Platform,
    /// Its manifest.
    pub manifest: Descriptor,
    /// Its configuration.
    pub config: Descriptor,
    /// The blobs of its layers, base first.
    pub layers: Vec<Descriptor>,
    /// What each layer is, unpacked; empty where the manifest is no file system image.
    pub identities: Vec<LayerIdentity>,
    /// Whether it becomes a file system where the sink has such; not for other platforms of
    /// `--all-platforms`, nor for attestations.
    pub unpack: bool,
}

/// One layer of an image: a blob, and its place among the others.
#[derive(Debug, Clone)]
pub struct Layer {
    image: Arc<PlatformImage>,
    /// How many layers are below it.
    position: usize,
}

impl Plan {
    /// Size of the image's blobs and documents together, each counted once.
    pub fn total_bytes(&self) -> u64 {
        let documents = self.documents.iter().map(|document| document.descriptor.size);
        documents.sum::<u64>().saturating_add(self.layer_sizes().map(|(_, size)| size).sum())
    }

    /// All that it consists of.
    pub(super) fn blobs(&self) -> BTreeSet<Digest> {
        let documents = self.documents.iter().map(|document| document.descriptor.digest);
        documents.chain(self.layer_sizes().map(|(digest, _)| digest)).collect()
    }

    /// The images in the order in which the indexes list them, the same on every machine.
    pub(super) fn images_as_listed(&self) -> Vec<Arc<PlatformImage>> {
        let indexes = self.documents.iter().rev().filter(|it| it.kind == BlobKind::Index);
        let listed: Vec<Digest> =
            indexes.flat_map(|index| &index.children).map(|entry| entry.digest).collect();
        let mut images = self.images.clone();
        images
            .sort_by_key(|image| listed.iter().position(|digest| *digest == image.manifest.digest));
        images
    }

    /// The event that tells what will be done for `image`.
    pub(super) fn event(&self, image: &str) -> Event {
        Event::Planned {
            image: image.to_owned(),
            platforms: self.images.iter().map(|image| image.platform.to_string()).collect(),
            blobs: self.layer_sizes().count(),
            total_bytes: self.layer_sizes().map(|(_, size)| size).sum(),
        }
    }

    fn layer_sizes(&self) -> impl Iterator<Item = (Digest, u64)> {
        let mut seen = HashSet::new();
        self.images
            .iter()
            .flat_map(|image| &image.layers)
            .map(|layer| (layer.digest, layer.size))
            .filter(move |(digest, _)| seen.insert(*digest))
    }
}

impl PlatformImage {
    /// Whether it becomes a file system anywhere; attestations do not.
    pub fn is_image(&self) -> bool {
        self.platform.os != "unknown"
    }

    /// Its layers, base first.
    pub fn layers(self: &Arc<Self>) -> Vec<Layer> {
        let layer = |position| Layer { image: Arc::clone(self), position };
        (0..self.layers.len()).map(layer).collect()
    }
}

impl Layer {
    /// The image that it is wanted for; others may have it too.
    pub fn image(&self) -> &PlatformImage {
        &self.image
    }

    /// The blob.
    pub fn descriptor(&self) -> &Descriptor {
        &self.image.layers[self.position]
    }

    /// The blobs of the image's layers from this one up.
    pub fn upwards(&self) -> &[Descriptor] {
        &self.image.layers[self.position..]
    }

    /// What it becomes, with the layers below, where the sink has file systems; `None` for one that
    /// is only kept.
    pub fn identity(&self) -> Option<LayerIdentity> {
        self.image.identities.get(self.position).copied().filter(|_| self.image.unpack)
    }
}
