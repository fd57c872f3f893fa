//! What an image consists of, read from any source: the index, what it lists, and the manifests and
//! configurations of the platforms that are wanted. Blobs are not read.

use std::collections::HashSet;

use bytes::Bytes;

use crate::images::{self, Candidate, Chosen, Entry, MAX_MANIFESTS, PlatformChoice};
use crate::oci::{Descriptor, Digest, ImageDetails, Index, LayerIdentity, Manifest, ManifestKind};
use crate::platform::Platform;
use crate::transfer::{DocumentKind, Error, Source};

/// Indexes inside indexes that are followed, as for a pull.
const MAX_INDEX_DEPTH: usize = 4;

/// An image as its documents describe it.
#[derive(Debug, Clone)]
pub struct Anatomy {
    /// The index or manifest that its name stands for.
    pub target: Descriptor,
    /// The host, or another name of the place, that said so.
    pub place: String,
    /// What its index lists, and what indexes within list; empty for a single manifest.
    pub listed: Vec<Listed>,
    /// What is known of the platforms that were wanted, the one for this machine first.
    pub parts: Vec<Part>,
}

/// A manifest that an index lists.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The manifest.
    pub manifest: Descriptor,
    /// What it runs on; `None` where it is no image.
    pub platform: Option<Platform>,
    /// Whether the source has it.
    pub is_there: bool,
}

/// One platform's image.
#[derive(Debug, Clone)]
pub struct Part {
    /// The manifest's descriptor.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// What it runs on; `None` of what is no image.
    pub platform: Option<Platform>,
    /// The configuration; `None` of what is no image.
    pub details: Option<ImageDetails>,
    /// What each layer is, unpacked; empty of what is no image.
    pub identities: Vec<LayerIdentity>,
}

impl Part {
    /// Size of manifest, configuration and layers as they are stored, in bytes.
    pub fn stored_bytes(&self) -> u64 {
        self.blobs().fold(0, |sum: u64, blob| sum.saturating_add(blob.size))
    }

    /// Manifest, configuration and layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        [&self.descriptor, &self.manifest.config].into_iter().chain(&self.manifest.layers)
    }
}

impl Anatomy {
    /// Reads what `source` has, of the platforms of `choice`.
    ///
    /// # Errors
    /// When a document that is needed is not there or is unusable; [`Error::NoPlatform`].
    pub async fn read(source: &dyn Source, choice: &PlatformChoice) -> Result<Self, Error> {
        let resolved = source.resolve_unknown().await?;
        let target = resolved.descriptor;
        let bytes = match resolved.document {
            Some(bytes) => bytes,
            None => source.document(&target, DocumentKind::Manifest).await?,
        };
        let mut anatomy = Self {
            target: target.clone(),
            place: resolved.place,
            listed: Vec::new(),
            parts: Vec::new(),
        };
        match parse(&target, &bytes)? {
            ManifestKind::Manifest(manifest) => {
                let part = read_part(source, target, *manifest, None).await?;
                anatomy.parts.push(part);
            }
            ManifestKind::Index(index) => {
                let mut explorer = Explorer { source, seen: HashSet::new(), listed: Vec::new() };
                explorer.explore(index, 0).await?;
                anatomy.listed = explorer.listed;
                anatomy.parts = anatomy.chosen_parts(source, choice).await?;
            }
        }
        Ok(anatomy)
    }

    async fn chosen_parts(
        &self,
        source: &dyn Source,
        choice: &PlatformChoice,
    ) -> Result<Vec<Part>, Error> {
        let there: Vec<&Listed> = self.listed.iter().filter(|listed| listed.is_there).collect();
        let candidates: Vec<Candidate> = there
            .iter()
            .map(|listed| Candidate {
                manifest: listed.manifest.clone(),
                platform: listed.platform.clone(),
            })
            .collect();
        let mut parts = Vec::new();
        for Chosen { position, .. } in images::choose(&candidates, choice, true)? {
            let Candidate { manifest: descriptor, platform } = &candidates[position];
            let bytes = source.document(descriptor, DocumentKind::Manifest).await?;
            let ManifestKind::Manifest(manifest) = parse(descriptor, &bytes)? else {
                return Err(Error::IndexTooDeep(descriptor.digest));
            };
            let platform = platform.clone();
            parts.push(read_part(source, descriptor.clone(), *manifest, platform).await?);
        }
        Ok(parts)
    }
}

struct Explorer<'a> {
    source: &'a dyn Source,
    seen: HashSet<Digest>,
    listed: Vec<Listed>,
}

impl Explorer<'_> {
    /// Collects what `index`, and those within it, list.
    async fn explore(&mut self, index: Index, depth: usize) -> Result<(), Error> {
        for entry in index.manifests {
            if !self.seen.insert(entry.digest) {
                continue;
            }
            if self.seen.len() > MAX_MANIFESTS {
                return Err(Error::TooManyManifests(MAX_MANIFESTS));
            }
            let is_there = self.source.missing(std::slice::from_ref(&entry)).await?.is_empty();
            let kind = Entry::of(&entry);
            if let (Entry::Index | Entry::Unnamed, true) = (&kind, is_there) {
                self.look_into(entry, depth).await?;
                continue;
            }
            let platform = if let Entry::Candidate(platform) = kind { platform } else { None };
            self.listed.push(Listed { manifest: entry, platform, is_there });
        }
        Ok(())
    }

    /// An entry that only its own content tells what it is.
    async fn look_into(&mut self, entry: Descriptor, depth: usize) -> Result<(), Error> {
        let bytes = self.source.document(&entry, DocumentKind::Manifest).await?;
        match parse(&entry, &bytes)? {
            ManifestKind::Index(_) if depth >= MAX_INDEX_DEPTH => {
                Err(Error::IndexTooDeep(entry.digest))
            }
            ManifestKind::Index(index) => Box::pin(self.explore(index, depth + 1)).await,
            ManifestKind::Manifest(manifest) => {
                let config = config_of(self.source, &manifest).await?;
                let details = config
                    .and_then(|bytes| ImageDetails::parse(&bytes, manifest.layers.len()).ok());
                let platform = details.map(|details| details.image.platform);
                self.listed.push(Listed { manifest: entry, platform, is_there: true });
                Ok(())
            }
        }
    }
}

fn parse(descriptor: &Descriptor, bytes: &Bytes) -> Result<ManifestKind, Error> {
    ManifestKind::parse(&descriptor.media_type, bytes)
        .map_err(|source| Error::Manifest { digest: descriptor.digest, source })
}

/// The configuration's bytes, where the manifest is of an image.
async fn config_of(source: &dyn Source, manifest: &Manifest) -> Result<Option<Bytes>, Error> {
    match manifest.is_image() {
        true => source.document(&manifest.config, DocumentKind::Blob).await.map(Some),
        false => Ok(None),
    }
}

async fn read_part(
    source: &dyn Source,
    descriptor: Descriptor,
    manifest: Manifest,
    platform: Option<Platform>,
) -> Result<Part, Error> {
    // An attestation looks like an image and is none: its index says so.
    let is_image = platform.as_ref().is_none_or(|platform| platform.os != "unknown");
    let config = if is_image { config_of(source, &manifest).await? } else { None };
    let details = config
        .map(|bytes| ImageDetails::parse(&bytes, manifest.layers.len()))
        .transpose()
        .map_err(|source| Error::Manifest { digest: manifest.config.digest, source })?;
    let identities = details
        .as_ref()
        .map(|details| LayerIdentity::of_layers(&details.image.diff_ids))
        .unwrap_or_default();
    let own = details.as_ref().map(|details| details.image.platform.clone());
    Ok(Part { descriptor, manifest, platform: platform.or(own), details, identities })
}
