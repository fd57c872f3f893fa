//! Images for tests, as their documents and blobs.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::oci::{Descriptor, Digest, MediaType};
use crate::platform::Platform;

pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A document or a blob, and what is below it, itself last.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub(super) descriptor: Descriptor,
    pub(super) blobs: Vec<Bytes>,
}

impl Tree {
    pub(super) fn of(media_type: &str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        let descriptor = Descriptor::new(MediaType::new(media_type), digest, size);
        Self { descriptor, blobs: vec![bytes] }
    }

    fn above(media_type: &str, document: &Value, children: &[Self]) -> Self {
        let mut tree = Self::of(media_type, document.to_string());
        let below = children.iter().flat_map(|child| child.blobs.clone());
        tree.blobs = below.chain(tree.blobs).collect();
        tree
    }

    /// An index of these.
    pub(super) fn index(entries: &[Self]) -> Self {
        let manifests: Vec<_> = entries.iter().map(Self::json).collect();
        let document = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        Self::above(INDEX, &document, entries)
    }

    /// As an entry of an index for `platform`.
    pub(super) fn on(mut self, os: &str, architecture: &str) -> Self {
        self.descriptor.platform = Some(Platform::from_parts(os, architecture, "", ""));
        self
    }

    /// As an entry of an index with an annotation.
    pub(super) fn annotated(mut self, key: &str, value: &str) -> Self {
        self.descriptor.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    fn json(&self) -> Value {
        let Descriptor { media_type, digest, size, platform, annotations, .. } = &self.descriptor;
        let mut json = json!({
            "mediaType": media_type, "digest": digest, "size": size, "annotations": annotations,
        });
        if let Some(platform) = platform {
            json["platform"] = json!({ "os": platform.os, "architecture": platform.architecture });
        }
        if let Some(data) = self.descriptor.data() {
            use base64::Engine as _;
            json["data"] = json!(base64::engine::general_purpose::STANDARD.encode(data));
        }
        json
    }

    /// Itself, its bytes in its own descriptor.
    pub(super) fn embedded(mut self) -> Self {
        let bytes = self.blobs.pop().unwrap();
        self.descriptor = self.descriptor.with_data(&bytes);
        self
    }
}

/// A layer, whose tar need be none.
pub(super) fn layer(content: &str) -> Tree {
    Tree::of(LAYER, content.to_owned())
}

/// A configuration for these layers.
pub(super) fn config(architecture: &str, layers: &[Tree]) -> Tree {
    let diff_ids: Vec<_> = layers.iter().map(|layer| layer.descriptor.digest).collect();
    let rootfs = json!({ "type": "layers", "diff_ids": diff_ids });
    let config = json!({ "os": "linux", "architecture": architecture, "rootfs": rootfs });
    Tree::of(CONFIG, config.to_string())
}

/// A manifest.
pub(super) fn manifest(config: &Tree, layers: &[Tree]) -> Tree {
    let list: Vec<_> = layers.iter().map(Tree::json).collect();
    let document = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config.json(), "layers": list,
    });
    let mut below = vec![config.clone()];
    below.extend_from_slice(layers);
    Tree::above(MANIFEST, &document, &below)
}

/// An image for `linux/amd64` with layers of this content.
pub(super) fn image(layers: &[&str]) -> Tree {
    image_for("amd64", layers)
}

/// An image for another architecture.
pub(super) fn image_for(architecture: &str, layers: &[&str]) -> Tree {
    let layers: Vec<_> = layers.iter().map(|content| layer(content)).collect();
    manifest(&config(architecture, &layers), &layers)
}
