//! The images of a namespace: which names stand for the same image, and what it weighs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use super::choose::{MAX_MANIFESTS, by_preference};
use super::names::NameKind;
use crate::containerd::{Client, ContentStore, Error, Image, labels};
use crate::oci::{Descriptor, Digest, MAX_MANIFEST_BYTES, Manifest, ManifestKind};
use crate::platform::Platform;

/// Images looked at side by side: each costs the daemon two or three short reads.
pub(super) const CONCURRENT_LOOKS: usize = 16;

/// One image under all its names.
#[derive(Debug, Clone)]
pub struct StoredImage {
    /// Digest of the configuration, which the kubelet calls the image ID; `None` when the content
    /// is not there.
    pub id: Option<Digest>,
    /// The store's entries, by name.
    pub names: Vec<Image>,
    /// Size of manifest, configuration and layers as stored, for the platform that runs here.
    pub size_bytes: Option<u64>,
    /// Its manifest, configuration and layers, there or not, for the platform that runs here.
    pub blobs: Vec<Digest>,
    /// When the image itself was made, as far as [`conditions`](super::conditions) was told by its
    /// configuration.
    pub made: Option<Timestamp>,
    /// Whether the daemon's CRI tells the kubelet of pins.
    pub tells_pins: bool,
}

impl StoredImage {
    /// The ID, or what stands for it when the content is not there: the first target.
    pub fn identity(&self) -> Option<Digest> {
        self.id.or_else(|| self.names.first().map(|name| name.target.digest))
    }

    /// The indexes and manifests that its names point to.
    pub fn digests(&self) -> BTreeSet<Digest> {
        self.names.iter().map(|name| name.target.digest).collect()
    }

    /// Whether the kubelet takes the image for pinned: when one of its names is, and its CRI says so.
    pub fn is_pinned(&self) -> bool {
        self.tells_pins && self.has_pin()
    }

    /// Whether one of its names has the label of a pin, obeyed or not.
    pub fn has_pin(&self) -> bool {
        self.names.iter().any(|name| labels::is_pinned(&name.labels))
    }
}

/// Every image of the client's namespace, by its first name.
///
/// # Errors
/// When the daemon refuses. Content that is missing or unreadable is no error.
pub async fn load(client: &Client) -> Result<Vec<StoredImage>, Error> {
    let names = client.images().list().await?;
    let targets: BTreeMap<Digest, Descriptor> =
        names.iter().map(|name| (name.target.digest, name.target.clone())).collect();
    let content = client.content();
    let looks = targets.into_values().map(|target| {
        let content = &content;
        async move { Ok::<_, Error>((target.digest, look(content, target).await?)) }
    });
    let found: BTreeMap<Digest, Option<Found>> =
        stream::iter(looks).buffer_unordered(CONCURRENT_LOOKS).try_collect().await?;
    Ok(group(names, &found, client.cri().reports_pins()))
}

/// What a target's content tells.
#[derive(Debug, Clone)]
struct Found {
    id: Digest,
    size_bytes: u64,
    blobs: Vec<Digest>,
}

/// Two targets with one configuration are one image: an index that was pushed again, for instance.
fn group(
    names: Vec<Image>,
    found: &BTreeMap<Digest, Option<Found>>,
    tells_pins: bool,
) -> Vec<StoredImage> {
    let mut images: BTreeMap<Digest, StoredImage> = BTreeMap::new();
    for name in names {
        let found = found.get(&name.target.digest).and_then(Option::as_ref);
        let key = found.map_or(name.target.digest, |found| found.id);
        let image = images.entry(key).or_insert_with(|| StoredImage {
            id: found.map(|found| found.id),
            names: Vec::new(),
            size_bytes: found.map(|found| found.size_bytes),
            blobs: found.map(|found| found.blobs.clone()).unwrap_or_default(),
            made: None,
            tells_pins,
        });
        image.names.push(name);
    }
    let mut images: Vec<StoredImage> = images.into_values().collect();
    for image in &mut images {
        image.names.sort_by_cached_key(|name| (NameKind::of(&name.name), name.name.clone()));
    }
    images.sort_by_cached_key(|image| image.names.first().map(|name| name.name.clone()));
    images
}

/// Finds the manifest behind `target` that a container here would use: the best of those whose
/// content is there.
async fn look(content: &ContentStore, target: Descriptor) -> Result<Option<Found>, Error> {
    let host = Platform::host();
    let mut candidates = VecDeque::from([target]);
    for _ in 0..MAX_MANIFESTS {
        let Some(candidate) = candidates.pop_front() else { break };
        let bytes = match content.read(&candidate.digest, MAX_MANIFEST_BYTES).await {
            Ok(bytes) => bytes,
            Err(Error::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        match ManifestKind::parse(&candidate.media_type, &bytes) {
            Ok(ManifestKind::Manifest(manifest)) => {
                return Ok(Some(Found {
                    id: manifest.config.digest,
                    size_bytes: size(&candidate, &manifest),
                    blobs: parts(&candidate, &manifest).map(|part| part.digest).collect(),
                }));
            }
            Ok(ManifestKind::Index(index)) => {
                let entries = by_preference(index.manifests, &host);
                candidates.extend(entries.into_iter().take(MAX_MANIFESTS));
            }
            Err(error) => tracing::debug!(digest = %candidate.digest, %error, "no manifest"),
        }
    }
    Ok(None)
}

fn size(manifest: &Descriptor, content: &Manifest) -> u64 {
    parts(manifest, content).fold(0, |sum: u64, part| sum.saturating_add(part.size))
}

fn parts<'a>(
    manifest: &'a Descriptor,
    content: &'a Manifest,
) -> impl Iterator<Item = &'a Descriptor> {
    [manifest, &content.config].into_iter().chain(&content.layers)
}
