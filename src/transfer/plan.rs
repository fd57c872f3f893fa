//! From a resolved descriptor to what has to be fetched: index → manifest → configuration → layers.

use std::collections::HashSet;
use std::iter;
use std::sync::Arc;

use bytes::Bytes;

use super::documents::Documents;
use super::{Error, PlatformChoice, PullRequest};
use crate::failure::Notice;
use crate::oci::{
    Descriptor, Digest, ImageConfig, Index, LayerIdentity, Manifest, ManifestKind, MediaKind,
};
use crate::platform::{Matcher, Platform};
use crate::progress::{BlobKind, Event, Sink};
use crate::reference::Reference;

/// Indexes inside indexes that are followed. Real images have one level, rarely two.
const MAX_INDEX_DEPTH: usize = 4;

/// Manifests that an index, with all below it, may list, and documents that are opened to find them.
/// Each may cost a request.
const MAX_MANIFESTS: usize = 512;

/// The annotation by which BuildKit tells what an index entry is that is no image.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// Everything that belongs to one image.
#[derive(Debug)]
pub struct ImagePlan {
    /// What the reference points to: an index or a manifest.
    pub target: Descriptor,
    /// Indexes, manifests and configurations, children before parents.
    pub documents: Vec<Document>,
    /// The images chosen, the one for the host first.
    pub images: Vec<PlatformImage>,
}

/// A small blob that is held in memory.
#[derive(Debug)]
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
    /// What it runs on.
    pub platform: Platform,
    /// Its manifest.
    pub manifest: Descriptor,
    /// Its configuration.
    pub config: Descriptor,
    /// Its layers, base first.
    pub layers: Vec<Layer>,
    /// Whether it becomes a file system; not for other platforms of `--all-platforms`, nor for
    /// attestations.
    pub unpack: bool,
}

/// One layer of an image.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The blob.
    pub descriptor: Descriptor,
    /// Digest of the uncompressed tar and the chain with the layers below; absent where the
    /// manifest is no file system image.
    pub identity: Option<LayerIdentity>,
    /// The image that it is pulled for; others may have it too.
    pub origin: Arc<Origin>,
    /// How many layers of that are below it.
    pub position: usize,
}

/// What the layers of an image have in common.
#[derive(Debug)]
pub struct Origin {
    /// The image as it was asked for.
    pub image: Reference,
    /// What that points to: an index or a manifest.
    pub target: Digest,
    /// The manifest.
    pub manifest: Digest,
    /// The blobs of all layers, base first.
    pub layers: Vec<Descriptor>,
}

impl ImagePlan {
    /// Size of the image's blobs and documents together, each counted once.
    pub fn total_bytes(&self) -> u64 {
        let documents = self.documents.iter().map(|document| document.descriptor.size);
        documents.sum::<u64>().saturating_add(self.layer_sizes().map(|(_, size)| size).sum())
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
            .map(|layer| (layer.descriptor.digest, layer.descriptor.size))
            .filter(move |(digest, _)| seen.insert(*digest))
    }
}

/// Reads what `target` is and chooses what `request` wants of it.
///
/// # Errors
/// [`Error::NoPlatform`] with what there is; [`Error::Manifest`] when a document is unusable.
pub(super) async fn build(
    documents: &mut Documents,
    target: Descriptor,
    request: &PullRequest,
    sink: &dyn Sink,
) -> Result<ImagePlan, Error> {
    let mut planner = Planner {
        documents,
        image: &request.reference,
        target: target.digest,
        kept: Vec::new(),
        candidates: Vec::new(),
        explored: HashSet::new(),
    };
    planner.explore(&target, 0).await?;
    let from_index = planner.candidates.first().is_some_and(|only| only.manifest != target);
    let chosen = choose(&planner.candidates, &request.platforms, from_index)?;
    let mut images = Vec::with_capacity(chosen.len());
    for (position, unpack) in chosen {
        images.push(planner.image(position, unpack).await?);
    }
    if !from_index {
        warn_of_platform(&images, &request.platforms, sink);
    }
    // Children first, so that whoever reads a document finds what it points to.
    let mut kept = planner.kept;
    kept.reverse();
    Ok(ImagePlan { target, documents: kept, images })
}

struct Planner<'a> {
    documents: &'a mut Documents,
    image: &'a Reference,
    target: Digest,
    /// Documents read, parents before children.
    kept: Vec<Document>,
    candidates: Vec<Candidate>,
    /// Documents that need not be looked into again.
    explored: HashSet<Digest>,
}

/// A manifest that may be chosen.
struct Candidate {
    manifest: Descriptor,
    /// `None` for an entry that says it is no image, such as an attestation.
    platform: Option<Platform>,
}

impl Planner<'_> {
    /// Collects the manifests beneath `descriptor`.
    async fn explore(&mut self, descriptor: &Descriptor, depth: usize) -> Result<(), Error> {
        if !self.explored.insert(descriptor.digest) {
            return Ok(());
        }
        if self.explored.len() > MAX_MANIFESTS {
            return Err(Error::TooManyManifests(MAX_MANIFESTS));
        }
        let bytes = self.documents.manifest(descriptor).await?;
        match parse(descriptor, &bytes)? {
            ManifestKind::Index(index) => {
                if depth >= MAX_INDEX_DEPTH {
                    return Err(Error::IndexTooDeep(descriptor.digest));
                }
                self.explore_index(descriptor, bytes, index, depth).await
            }
            // A single manifest has no index to say its platform: the configuration does.
            ManifestKind::Manifest(manifest) => {
                let platform = self.platform_of(&manifest).await?;
                self.admit(descriptor.clone(), Some(platform))
            }
        }
    }

    async fn explore_index(
        &mut self,
        descriptor: &Descriptor,
        bytes: Bytes,
        index: Index,
        depth: usize,
    ) -> Result<(), Error> {
        self.kept.push(Document {
            descriptor: descriptor.clone(),
            kind: BlobKind::Index,
            bytes,
            children: index.manifests.clone(),
        });
        for entry in &index.manifests {
            match (entry.kind(), &entry.platform) {
                (MediaKind::Index, _) => Box::pin(self.explore(entry, depth + 1)).await?,
                _ if entry.annotations.contains_key(REFERENCE_TYPE) => {
                    self.admit(entry.clone(), None)?;
                }
                (MediaKind::Manifest, Some(platform)) => {
                    self.admit(entry.clone(), Some(platform.clone()))?;
                }
                (MediaKind::Manifest, None) => Box::pin(self.explore(entry, depth + 1)).await?,
                // Charts and signatures may sit beside images; they are nobody's platform.
                _ => self.admit(entry.clone(), None)?,
            }
        }
        Ok(())
    }

    fn admit(&mut self, manifest: Descriptor, platform: Option<Platform>) -> Result<(), Error> {
        if self.candidates.len() >= MAX_MANIFESTS {
            return Err(Error::TooManyManifests(MAX_MANIFESTS));
        }
        self.candidates.push(Candidate { manifest, platform });
        Ok(())
    }

    async fn platform_of(&mut self, manifest: &Manifest) -> Result<Platform, Error> {
        let bytes = self.config_of(manifest).await?;
        let config = ImageConfig::parse(&bytes, manifest.layers.len())
            .map_err(|source| Error::Manifest { digest: manifest.config.digest, source })?;
        Ok(config.platform)
    }

    async fn config_of(&mut self, manifest: &Manifest) -> Result<Bytes, Error> {
        if !manifest.is_image() {
            return Err(Error::NotAnImage(manifest.config.media_type.clone()));
        }
        self.documents.config(&manifest.config).await
    }

    /// Reads the candidate's manifest and configuration, and keeps both.
    async fn image(&mut self, position: usize, unpack: bool) -> Result<PlatformImage, Error> {
        let Candidate { manifest: descriptor, platform } = &self.candidates[position];
        let (descriptor, is_image) = (descriptor.clone(), platform.is_some());
        let bytes = self.documents.manifest(&descriptor).await?;
        let ManifestKind::Manifest(manifest) = parse(&descriptor, &bytes)? else {
            return Err(Error::IndexTooDeep(descriptor.digest));
        };
        let config_bytes = if is_image {
            self.config_of(&manifest).await?
        } else {
            self.documents.config(&manifest.config).await?
        };
        let origin = Arc::new(Origin {
            image: self.image.clone(),
            target: self.target,
            manifest: descriptor.digest,
            layers: manifest.layers.clone(),
        });
        let (platform, layers) = if is_image {
            identified_layers(&manifest, &config_bytes, &origin)?
        } else {
            let unknown = Platform::from_parts("unknown", "unknown", "", "");
            (unknown, layers(&origin, iter::repeat(None)))
        };
        let children = std::iter::once(&manifest.config).chain(&manifest.layers).cloned().collect();
        self.keep(Document {
            descriptor: descriptor.clone(),
            kind: BlobKind::Manifest,
            bytes,
            children,
        });
        self.keep(Document {
            descriptor: manifest.config.clone(),
            kind: BlobKind::Config,
            bytes: config_bytes,
            children: Vec::new(),
        });
        Ok(PlatformImage {
            platform,
            manifest: descriptor,
            config: manifest.config,
            layers,
            unpack,
        })
    }

    /// Two manifests may share a configuration; it is written once.
    fn keep(&mut self, document: Document) {
        if !self.kept.iter().any(|kept| kept.descriptor.digest == document.descriptor.digest) {
            self.kept.push(document);
        }
    }
}

fn parse(descriptor: &Descriptor, bytes: &[u8]) -> Result<ManifestKind, Error> {
    ManifestKind::parse(&descriptor.media_type, bytes)
        .map_err(|source| Error::Manifest { digest: descriptor.digest, source })
}

fn identified_layers(
    manifest: &Manifest,
    config: &[u8],
    origin: &Arc<Origin>,
) -> Result<(Platform, Vec<Layer>), Error> {
    let config = ImageConfig::parse(config, manifest.layers.len())
        .map_err(|source| Error::Manifest { digest: manifest.config.digest, source })?;
    let identities = LayerIdentity::of_layers(&config.diff_ids);
    Ok((config.platform, layers(origin, identities.into_iter().map(Some))))
}

fn layers(
    origin: &Arc<Origin>,
    identities: impl Iterator<Item = Option<LayerIdentity>>,
) -> Vec<Layer> {
    let layers = origin.layers.iter().zip(identities).enumerate();
    layers
        .map(|(position, (descriptor, identity))| Layer {
            descriptor: descriptor.clone(),
            identity,
            origin: Arc::clone(origin),
            position,
        })
        .collect()
}

/// Positions of the candidates wanted, each with whether it is unpacked.
fn choose(
    candidates: &[Candidate],
    choice: &PlatformChoice,
    from_index: bool,
) -> Result<Vec<(usize, bool)>, Error> {
    // Someone who names a single manifest means that one; a mismatch is a warning.
    if !from_index && candidates.len() == 1 {
        return Ok(vec![(0, true)]);
    }
    match choice {
        PlatformChoice::Host(host) => {
            Ok(vec![(best(candidates, &Matcher::default_for(host), host)?, true)])
        }
        PlatformChoice::Strict(wanted) => {
            let mut chosen = Vec::new();
            for platform in wanted {
                let position = best(candidates, &Matcher::strict(platform), platform)?;
                if !chosen.contains(&(position, true)) {
                    chosen.push((position, true));
                }
            }
            Ok(chosen)
        }
        PlatformChoice::All { host } => {
            let unpacked = best(candidates, &Matcher::default_for(host), host).ok();
            let others = (0..candidates.len()).filter(|position| Some(*position) != unpacked);
            let all: Vec<_> = unpacked
                .map(|position| (position, true))
                .into_iter()
                .chain(others.map(|position| (position, false)))
                .filter(|(position, _)| is_manifest(&candidates[*position]))
                .collect();
            if all.is_empty() { Err(no_platform(candidates, host)) } else { Ok(all) }
        }
    }
}

fn is_manifest(candidate: &Candidate) -> bool {
    candidate.manifest.kind() == MediaKind::Manifest
}

fn best(candidates: &[Candidate], matcher: &Matcher, wanted: &Platform) -> Result<usize, Error> {
    let (positions, platforms): (Vec<_>, Vec<_>) = candidates
        .iter()
        .enumerate()
        .filter_map(|(position, candidate)| Some((position, candidate.platform.as_ref()?)))
        .unzip();
    matcher
        .best(platforms)
        .and_then(|found| positions.get(found).copied())
        .ok_or_else(|| no_platform(candidates, wanted))
}

fn no_platform(candidates: &[Candidate], wanted: &Platform) -> Error {
    let mut available: Vec<_> = candidates
        .iter()
        .filter_map(|candidate| candidate.platform.as_ref())
        .filter(|platform| platform.os != "unknown")
        .map(ToString::to_string)
        .collect();
    available.dedup();
    Error::NoPlatform { wanted: wanted.to_string(), available }
}

fn warn_of_platform(images: &[PlatformImage], choice: &PlatformChoice, sink: &dyn Sink) {
    let [image] = images else { return };
    let (fits, wanted) = match choice {
        PlatformChoice::Host(host) | PlatformChoice::All { host } => {
            (Matcher::default_for(host).best([&image.platform]).is_some(), host.to_string())
        }
        PlatformChoice::Strict(wanted) => {
            let fits = |platform| Matcher::strict(platform).best([&image.platform]).is_some();
            let names: Vec<_> = wanted.iter().map(ToString::to_string).collect();
            (wanted.iter().any(fits), names.join(", "))
        }
    };
    if !fits {
        sink.event(Event::Warning(Notice {
            code: "platform-mismatch",
            message: format!("the image is for {}, not for {wanted}", image.platform),
            hint: Some(
                "its containers may not start here: look for a tag with your platform".into(),
            ),
        }));
    }
}
