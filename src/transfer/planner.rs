//! From a resolved descriptor to what has to be fetched: index → manifest → configuration → layers.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::documents::Documents;
use super::error::Error;
use super::plan::{Document, Plan, PlatformImage};
use super::provenance::Provenance;
use super::request::Names;
use crate::failure::Notice;
use crate::images::{self, Candidate, Chosen, Entry, MAX_MANIFESTS, PlatformChoice};
use crate::oci::{
    Artifact, Descriptor, Digest, ImageConfig, Index, LayerIdentity, Manifest, ManifestKind,
};
use crate::platform::{Matcher, Platform};
use crate::progress::{self, BlobKind, Event};

/// Indexes inside indexes that are followed. Real images have one level, rarely two.
const MAX_INDEX_DEPTH: usize = 4;

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
    let provenance = Arc::new(documents.provenance(&target).await);
    let mut planner = Planner {
        documents,
        names,
        provenance: Arc::clone(&provenance),
        target: target.digest,
        kept: Vec::new(),
        candidates: Vec::new(),
        explored: HashSet::new(),
        is_as_it_is: matches!(platforms, PlatformChoice::AsItIs),
    };
    planner.explore(&target, 0).await?;
    let from_index = planner.candidates.first().is_some_and(|only| only.manifest != target);
    let chosen = planner.choose(platforms, from_index, progress).await?;
    let images = planner.images(chosen).await?;
    if !from_index {
        warn_of_platform(&images, platforms, progress);
    }
    // Children first, so that whoever reads a document finds what it points to.
    let mut kept = planner.kept;
    kept.reverse();
    Ok(Plan { target, documents: kept, images, provenance })
}

struct Planner<'a> {
    documents: &'a mut Documents,
    names: &'a Arc<Names>,
    provenance: Arc<Provenance>,
    target: Digest,
    /// Documents read, parents before children.
    kept: Vec<Document>,
    candidates: Vec<Candidate>,
    /// Documents that need not be looked into again.
    explored: HashSet<Digest>,
    /// Whether it need be no image.
    is_as_it_is: bool,
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
            ManifestKind::Manifest(manifest)
                if self.is_as_it_is || depth > 0 && !manifest.is_image() =>
            {
                self.admit(descriptor.clone(), None)
            }
            // A single manifest has no index to say its platform: the configuration does.
            ManifestKind::Manifest(manifest) => {
                if depth == 0 {
                    let document = document_of(descriptor, &manifest, bytes);
                    self.documents.expect(&document, &self.provenance, &manifest.layers);
                }
                let platform = self.platform_of(&manifest).await?;
                self.admit(descriptor.clone(), platform)
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
        let document = Document {
            descriptor: descriptor.clone(),
            kind: BlobKind::Index,
            bytes,
            children: index.manifests.clone(),
        };
        if depth == 0 {
            self.documents.expect(&document, &self.provenance, &[]);
        }
        self.kept.push(document);
        for entry in &index.manifests {
            match Entry::of(entry) {
                Entry::Candidate(platform) => self.admit(entry.clone(), platform)?,
                Entry::Index | Entry::Unnamed if self.documents.lacks(entry).await? => {}
                Entry::Index | Entry::Unnamed => Box::pin(self.explore(entry, depth + 1)).await?,
            }
        }
        Ok(())
    }

    /// The candidates that are wanted. What the source of an index lacks counts as not listed.
    async fn choose(
        &mut self,
        platforms: &PlatformChoice,
        from_index: bool,
        progress: &dyn progress::Sink,
    ) -> Result<Vec<Chosen>, Error> {
        let mut left_out = Vec::new();
        loop {
            let chosen = images::choose(&self.candidates, platforms, from_index);
            // Who is told what there is instead is told what can be had.
            let considered = match &chosen {
                Ok(chosen) => chosen.clone(),
                Err(_) => (0..self.candidates.len())
                    .map(|position| Chosen { position, unpack: true })
                    .collect(),
            };
            match self.first_lacking(&considered, from_index).await? {
                Some(position) => left_out.push(self.candidates.remove(position)),
                None => {
                    let chosen = chosen?;
                    if matches!(platforms, PlatformChoice::All { .. }) {
                        warn_of_left_out(&left_out, progress);
                    }
                    return Ok(chosen);
                }
            }
        }
    }

    /// The first of `chosen` that the source lacks. One that nobody runs here is as good as missing when
    /// none of its layers is there.
    async fn first_lacking(
        &mut self,
        chosen: &[Chosen],
        from_index: bool,
    ) -> Result<Option<usize>, Error> {
        for Chosen { position, unpack } in chosen.iter().filter(|_| from_index) {
            let manifest = self.candidates[*position].manifest.clone();
            if self.documents.lacks(&manifest).await? {
                return Ok(Some(*position));
            }
            if *unpack {
                continue;
            }
            let bytes = match self.documents.manifest(&manifest).await {
                // Whoever reads them all names all of them.
                Err(Error::Incomplete { .. }) => continue,
                read => read?,
            };
            if let ManifestKind::Manifest(image) = parse(&manifest, &bytes)?
                && self.documents.lacks_all(&image.layers).await
            {
                return Ok(Some(*position));
            }
        }
        Ok(None)
    }

    fn admit(&mut self, manifest: Descriptor, platform: Option<Platform>) -> Result<(), Error> {
        if self.candidates.len() >= MAX_MANIFESTS {
            return Err(Error::TooManyManifests(MAX_MANIFESTS));
        }
        self.candidates.push(Candidate { manifest, platform });
        Ok(())
    }

    /// What a single manifest runs on; `None` for something else than an image, where that is kept.
    async fn platform_of(&mut self, manifest: &Manifest) -> Result<Option<Platform>, Error> {
        let bytes = self.documents.config(&manifest.config).await?;
        match identify(manifest, &bytes) {
            Err(Error::NotAnImage(_)) if self.documents.keeps_artifacts() => Ok(None),
            identified => identified.map(|(platform, _)| Some(platform)),
        }
    }

    /// The images chosen. Where documents of some are not in the source, all those are named together.
    async fn images(&mut self, chosen: Vec<Chosen>) -> Result<Vec<Arc<PlatformImage>>, Error> {
        let mut images = Vec::with_capacity(chosen.len());
        let (mut platforms, mut at) = (Vec::new(), None);
        for chosen in chosen {
            match self.image(chosen).await {
                Ok(image) => images.push(Arc::new(image)),
                Err(Error::Incomplete { digest, place }) => {
                    let Candidate { platform, .. } = &self.candidates[chosen.position];
                    platforms.extend(platform.as_ref().map(ToString::to_string));
                    at = Some((digest, place));
                }
                Err(error) => return Err(error),
            }
        }
        let name = self.documents.source_name().unwrap_or_else(|| self.names.reference.to_string());
        match at {
            None => Ok(images),
            Some((digest, place)) if platforms.is_empty() => {
                Err(Error::Incomplete { digest, place })
            }
            Some((_, place)) => {
                let namespace = self.documents.source_namespace();
                Err(Error::NotAllThere { name, namespace, platforms, place })
            }
        }
    }

    /// Reads the candidate's manifest and configuration, and keeps both.
    async fn image(&mut self, chosen: Chosen) -> Result<PlatformImage, Error> {
        let Chosen { position, unpack } = chosen;
        let Candidate { manifest: descriptor, platform } = &self.candidates[position];
        let (descriptor, is_image) = (descriptor.clone(), platform.is_some());
        let bytes = self.documents.manifest(&descriptor).await?;
        let ManifestKind::Manifest(manifest) = parse(&descriptor, &bytes)? else {
            return Err(Error::IndexTooDeep(descriptor.digest));
        };
        let document = document_of(&descriptor, &manifest, bytes);
        if descriptor.digest != self.target {
            self.documents.expect(&document, &self.provenance, &manifest.layers);
        }
        let config_bytes = self.documents.config(&manifest.config).await?;
        let (platform, identities) = match is_image {
            true => identify(&manifest, &config_bytes)?,
            false => (Platform::from_parts("unknown", "unknown", "", ""), Vec::new()),
        };
        self.keep(document);
        self.keep(Document {
            descriptor: manifest.config.clone(),
            kind: BlobKind::Config,
            bytes: config_bytes,
            children: Vec::new(),
        });
        Ok(PlatformImage {
            names: Arc::clone(self.names),
            provenance: Arc::clone(&self.provenance),
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

/// A manifest as it is kept.
fn document_of(descriptor: &Descriptor, manifest: &Manifest, bytes: Bytes) -> Document {
    Document {
        descriptor: descriptor.clone(),
        kind: BlobKind::Manifest,
        bytes,
        children: std::iter::once(&manifest.config).chain(&manifest.layers).cloned().collect(),
    }
}

fn parse(descriptor: &Descriptor, bytes: &[u8]) -> Result<ManifestKind, Error> {
    ManifestKind::parse(&descriptor.media_type, bytes)
        .map_err(|source| Error::Manifest { digest: descriptor.digest, source })
}

/// What the image runs on, and what its layers are, unpacked. A configuration of another type that has
/// diff IDs all the same makes an image too: pods mount such as volumes.
fn identify(manifest: &Manifest, config: &[u8]) -> Result<(Platform, Vec<LayerIdentity>), Error> {
    let parsed = ImageConfig::parse(config, manifest.layers.len());
    let config = match parsed {
        Ok(config) if manifest.is_image() || !config.diff_ids.is_empty() => config,
        Err(source) if manifest.is_image() => {
            return Err(Error::Manifest { digest: manifest.config.digest, source });
        }
        _ => return Err(Error::NotAnImage(Artifact::of(manifest))),
    };
    Ok((config.platform, LayerIdentity::of_layers(&config.diff_ids)))
}

fn warn_of_left_out(left_out: &[Candidate], progress: &dyn progress::Sink) {
    let platforms = left_out.iter().filter_map(|candidate| candidate.platform.as_ref());
    let platforms: Vec<_> = platforms.map(ToString::to_string).collect();
    if !platforms.is_empty() {
        let message = format!("left out, since its content is not there: {}", platforms.join(", "));
        progress.event(Event::Warning(Notice::new("platform-left-out", message)));
    }
}

fn warn_of_platform(
    images: &[Arc<PlatformImage>],
    choice: &PlatformChoice,
    progress: &dyn progress::Sink,
) {
    let [image] = images else { return };
    if !image.is_image() {
        return;
    }
    let (fits, wanted) = match choice {
        PlatformChoice::Host(host) | PlatformChoice::All { host } => {
            (Matcher::default_for(host).best([&image.platform]).is_some(), host.to_string())
        }
        PlatformChoice::AsItIs => return,
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
