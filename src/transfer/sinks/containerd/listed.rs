//! What a namespace has, listed as a whole: for whoever looks at many images, of which most are there.

use std::collections::{HashMap, HashSet};

use tokio::sync::OnceCell;

use super::naming::asked_for;
use crate::containerd::{self, Client, Image, Info, SnapshotKind, labels};
use crate::oci::Digest;
use crate::transfer::held::{Held, Lack};
use crate::transfer::plan::{Plan, PlatformImage};
use crate::transfer::request::Names;

/// The names, blobs and snapshots of a namespace, each listed when it is first needed.
pub(super) struct Listed {
    client: Client,
    /// Where layers become snapshots.
    snapshotter: Option<String>,
    names: OnceCell<HashMap<String, Image>>,
    blobs: OnceCell<HashMap<Digest, Info>>,
    snapshots: OnceCell<HashSet<String>>,
}

impl Listed {
    pub(super) fn new(client: Client, snapshotter: Option<String>) -> Self {
        let (names, blobs, snapshots) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Self { client, snapshotter, names, blobs, snapshots }
    }

    async fn names(&self) -> Result<&HashMap<String, Image>, containerd::Error> {
        let list = async || {
            let images = self.client.images().list().await?;
            Ok(images.into_iter().map(|image| (image.name.clone(), image)).collect())
        };
        self.names.get_or_try_init(list).await
    }

    /// The blobs.
    pub(super) async fn blobs(&self) -> Result<&HashMap<Digest, Info>, containerd::Error> {
        let list = async || Ok(self.client.content().list().await?.into_iter().collect());
        self.blobs.get_or_try_init(list).await
    }

    /// The keys of the committed snapshots.
    pub(super) async fn snapshots(&self) -> Result<&HashSet<String>, containerd::Error> {
        let list = async || {
            let Some(snapshotter) = &self.snapshotter else { return Ok(HashSet::new()) };
            let found = self.client.snapshots(snapshotter).list().await?;
            let committed = found.into_iter().filter(|info| info.kind == SnapshotKind::Committed);
            Ok(committed.map(|info| info.name).collect())
        };
        self.snapshots.get_or_try_init(list).await
    }

    /// What the name stands for that people ask for.
    pub(super) async fn held(&self, names: &Names) -> Result<Option<Held>, containerd::Error> {
        let name = asked_for(names);
        let place = format!("containerd's namespace {}", self.client.namespace());
        let image = self.names().await?.get(&name);
        Ok(image.map(|image| Held { descriptor: image.target.clone(), place }))
    }

    /// What is missing of an image whose documents are there.
    pub(super) async fn lacking(
        &self,
        names: &Names,
        plan: &Plan,
    ) -> Result<Vec<Lack>, containerd::Error> {
        let mut lacks = Vec::new();
        for image in &plan.images {
            lacks.extend(self.lacking_of(image).await?);
        }
        let Some(image) = plan.images.first() else { return Ok(lacks) };
        let target = &plan.target.digest;
        let stored = self.names().await?;
        let wanted = labels::image_labels(names.pin, &names.labels);
        for name in labels::image_names(&names.reference, target, &image.config.digest) {
            match stored.get(&name).filter(|image| image.target.digest == *target) {
                None => lacks.push(Lack::Name(name)),
                Some(image) => {
                    let missing =
                        wanted.iter().find(|(key, value)| image.labels.get(*key) != Some(value));
                    lacks.extend(missing.map(|(key, value)| match labels::PINNED.0 == key {
                        true => Lack::Pin(name.clone()),
                        false => Lack::Label(name.clone(), format!("{key}={value}")),
                    }));
                }
            }
        }
        Ok(lacks)
    }

    async fn lacking_of(&self, image: &PlatformImage) -> Result<Vec<Lack>, containerd::Error> {
        // The topmost stands for all below it, and for the blobs that they were made of.
        let top = image.identities.last().filter(|_| image.unpack && self.snapshotter.is_some());
        if let Some(top) = top {
            return Ok(match self.snapshots().await?.contains(&top.chain_id.to_string()) {
                true => Vec::new(),
                false => vec![Lack::Unpacked(image.platform.to_string())],
            });
        }
        let blobs = self.blobs().await?;
        let is_missing = |digest: &&Digest| !blobs.contains_key(*digest);
        let layers = image.layers.iter().map(|layer| &layer.digest);
        Ok(layers.filter(is_missing).map(|digest| Lack::Blob(*digest)).collect())
    }
}
