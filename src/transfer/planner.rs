//! From a resolved descriptor to what has to be fetched: index → manifest → configuration → layers.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::documents::Documents;
use super::error::Error;
use super::plan::{Document, Plan, PlatformImage};
use super::request::{Names, PlatformChoice};
use crate::failure::Notice;
use crate::oci::{
    Descriptor, Digest, ImageConfig, Index, LayerIdentity, Manifest, ManifestKind, MediaKind,
};
use crate::platform::{Matcher, Platform};
use crate::progress::{self, BlobKind, Event};

/// Indexes inside indexes that are followed. Real images have one level, rarely two.
const MAX_INDEX_DEPTH: usize = 4;

/// Manifests that an index, with all below it, may list, and documents that are opened to find them.
/// Each may cost a request.
const MAX_MANIFESTS: usize = 512;

/// The annotation by which BuildKit tells what an index entry is that is no image.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// Reads what `target` is and chooses what is wanted of it.
///
/// # Errors
/// [`Error::NoPlatform`] with what there is; [`Error::Manifest`] when a document is unusable.
pub(super) async fn build(
    documents: &mut Documents,
    target: Descriptor,
    names: &Arc<Names>,
    platforms: &PlatformChoice,
    progress: &dyn progress::Sink,
) -> Result<Plan, Error> {
    let mut planner = Planner {
        documents,
        names,
        target: target.digest,
        kept: Vec::new(),
        candidates: Vec::new(),
        explored: HashSet::new(),
    };
    planner.explore(&target, 0).await?;
    let from_index = planner.candidates.first().is_some_and(|only| only.manifest != target);
    let chosen = choose(&planner.candidates, platforms, from_index)?;
    let mut images = Vec::with_capacity(chosen.len());
    for (position, unpack) in chosen {
        images.push(Arc::new(planner.image(position, unpack).await?));
    }
    if !from_index {
        warn_of_platform(&images, platforms, progress);
    }
    // Children first, so that whoever reads a document finds what it points to.
    let mut kept = planner.kept;
    kept.reverse();
    Ok(Plan { target, documents: kept, images })
}

struct Planner<'a> {
    documents: &'a mut Documents,
    names: &'a Arc<Names>,
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
            // SBOMs and signatures stand in an index without a platform as images may.
            ManifestKind::Manifest(manifest) if depth > 0 && !manifest.is_image() => {
                self.admit(descriptor.clone(), None)
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
        let (platform, identities) = match is_image {
            true => identify(&manifest, &config_bytes)?,
            false => (Platform::from_parts("unknown", "unknown", "", ""), Vec::new()),
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
            names: Arc::clone(self.names),
            target: self.target,
            platform,
            manifest: descriptor,
            config: manifest.config,
            layers: manifest.layers,
            identities,
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

/// What the image runs on, and what its layers are, unpacked.
fn identify(manifest: &Manifest, config: &[u8]) -> Result<(Platform, Vec<LayerIdentity>), Error> {
    let config = ImageConfig::parse(config, manifest.layers.len())
        .map_err(|source| Error::Manifest { digest: manifest.config.digest, source })?;
    Ok((config.platform, LayerIdentity::of_layers(&config.diff_ids)))
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

fn warn_of_platform(
    images: &[Arc<PlatformImage>],
    choice: &PlatformChoice,
    progress: &dyn progress::Sink,
) {
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
        let message = format!("the image is for {}, not for {wanted}", image.platform);
        let notice = Notice::new("platform-mismatch", message)
            .with_hint("its containers may not start here: look for a tag with your platform");
        progress.event(Event::Warning(notice));
    }
}
