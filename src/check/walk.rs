//! An image's documents as the store has them: read, hashed, and followed as far as they lead.

use bytes::Bytes;

use super::finding::{Finding, Remedy};
use crate::containerd::{ContentStore, Error, Info};
use crate::images::{Entry, MAX_MANIFESTS};
use crate::oci::{
    Descriptor, Digest, ImageDetails, LayerIdentity, MAX_MANIFEST_BYTES, Manifest, ManifestKind,
};
use crate::platform::{Matcher, Platform};
use crate::transfer::DocumentKind;

const LOST: &str = "the image can't be started, pushed or saved without it";

/// What was found of the documents below one target.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Those that are there and right.
    pub(super) documents: Vec<Document>,
    /// The image that has to be whole.
    pub(super) part: Option<StoredPart>,
    /// Images for other platforms of which some is there.
    pub(super) others: Vec<StoredPart>,
    pub(super) findings: Vec<Finding>,
}

/// A document that is there and right.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) digest: Digest,
    /// What it is, for people.
    pub(super) role: &'static str,
    pub(super) info: Info,
    pub(super) children: Vec<Descriptor>,
}

/// One platform's image, as the store has it.
#[derive(Debug)]
pub(super) struct StoredPart {
    pub(super) manifest: Manifest,
    pub(super) platform: Option<Platform>,
    /// Empty where the configuration is not there, or of what is no image.
    pub(super) identities: Vec<LayerIdentity>,
    /// The configuration's labels, where it is there and right.
    pub(super) config: Option<Info>,
}

/// What the store has under a digest.
enum Held {
    Right(Bytes, Info),
    Missing,
    Damaged(String),
}

/// A manifest that may be the image's.
struct Candidate {
    descriptor: Descriptor,
    rank: usize,
    platform: Option<Platform>,
}

impl Walk {
    /// Reads what lies below `target`. Of an index, the image that has to be whole is the one that runs
    /// here best of those of which some layer is there.
    pub(super) async fn of(content: &ContentStore, target: &Descriptor) -> Result<Self, Error> {
        let mut walk = Self::default();
        let host = Platform::host();
        let mut candidates = Vec::new();
        let Some(root) = walk.document(content, target, "index or manifest").await? else {
            return Ok(walk);
        };
        match root {
            ManifestKind::Manifest(manifest) => {
                let part = walk.part_of(content, *manifest, None, true).await?;
                walk.part = Some(part);
                return Ok(walk);
            }
            ManifestKind::Index(index) => {
                let mut pending = index.manifests;
                pending.reverse();
                let mut seen = 0;
                while let Some(entry) = pending.pop().filter(|_| seen < MAX_MANIFESTS) {
                    seen += 1;
                    let kind = Entry::of(&entry);
                    if !matches!(kind, Entry::Index) {
                        candidates.push(Candidate::of(entry, kind, &host));
                        continue;
                    }
                    if content.info(&entry.digest).await?.is_none() {
                        continue;
                    }
                    if let Some(ManifestKind::Index(nested)) =
                        walk.document(content, &entry, "index").await?
                    {
                        pending.extend(nested.manifests.into_iter().rev());
                    }
                }
            }
        }
        walk.choose(content, candidates).await?;
        Ok(walk)
    }

    /// Finds the image that has to be whole, and reads all that are there.
    async fn choose(
        &mut self,
        content: &ContentStore,
        mut candidates: Vec<Candidate>,
    ) -> Result<(), Error> {
        candidates.sort_by_key(|candidate| candidate.rank);
        let mut chosen: Option<usize> = None;
        let mut there = Vec::new();
        for (position, candidate) in candidates.iter().enumerate() {
            if content.info(&candidate.descriptor.digest).await?.is_none() {
                continue;
            }
            there.push(position);
            if chosen.is_none() && candidate.may_run() && has_layer(content, candidate).await? {
                chosen = Some(position);
            }
        }
        let of_some = there.iter().find(|position| candidates[**position].may_run()).copied();
        let chosen = chosen.or(of_some).or_else(|| {
            // Nothing is there: what a pull would have brought is missing.
            candidates.iter().position(Candidate::may_run)
        });
        for (position, candidate) in candidates.into_iter().enumerate() {
            let is_chosen = Some(position) == chosen;
            if !is_chosen && !there.contains(&position) {
                continue;
            }
            let Candidate { descriptor, platform, .. } = candidate;
            let read = self.document(content, &descriptor, "manifest").await?;
            let Some(ManifestKind::Manifest(manifest)) = read else { continue };
            let part = self.part_of(content, *manifest, platform, is_chosen).await?;
            match is_chosen {
                true => self.part = Some(part),
                false => self.others.push(part),
            }
        }
        Ok(())
    }

    /// Reads the configuration of `manifest`, which has to be there if it `is_needed`.
    async fn part_of(
        &mut self,
        content: &ContentStore,
        manifest: Manifest,
        platform: Option<Platform>,
        is_needed: bool,
    ) -> Result<StoredPart, Error> {
        let is_image = manifest.is_image()
            && platform.as_ref().is_none_or(|platform| platform.os != "unknown");
        let descriptor = manifest.config.clone();
        let mut part = StoredPart { manifest, platform, identities: Vec::new(), config: None };
        let held = hold(content, &descriptor).await?;
        let remedy = || Remedy::Fetch(descriptor.clone(), DocumentKind::Blob);
        let digest = descriptor.digest;
        match held {
            Held::Right(bytes, info) => {
                if is_image
                    && let Ok(details) = ImageDetails::parse(&bytes, part.manifest.layers.len())
                {
                    part.identities = LayerIdentity::of_layers(&details.image.diff_ids);
                    part.platform = part.platform.or(Some(details.image.platform));
                }
                let (role, children) = ("configuration", Vec::new());
                self.documents.push(Document { digest, role, info: info.clone(), children });
                part.config = Some(info);
            }
            Held::Missing if !is_needed => {}
            Held::Missing => {
                let what = format!("configuration {digest} is missing");
                self.findings.push(Finding::new("document-missing", digest, what, LOST, remedy()));
            }
            Held::Damaged(how) => {
                let what = format!("configuration {digest} {how}");
                self.findings.push(Finding::new("document-damaged", digest, what, LOST, remedy()));
            }
        }
        Ok(part)
    }

    /// Reads an index or a manifest that has to be there.
    async fn document(
        &mut self,
        content: &ContentStore,
        descriptor: &Descriptor,
        role: &'static str,
    ) -> Result<Option<ManifestKind>, Error> {
        let digest = descriptor.digest;
        let remedy = || Remedy::Fetch(descriptor.clone(), DocumentKind::Manifest);
        match hold(content, descriptor).await? {
            Held::Missing => {
                let what = format!("{role} {digest} is missing");
                self.findings.push(Finding::new("document-missing", digest, what, LOST, remedy()));
            }
            Held::Damaged(how) => {
                let what = format!("{role} {digest} {how}");
                self.findings.push(Finding::new("document-damaged", digest, what, LOST, remedy()));
            }
            Held::Right(bytes, info) => {
                let Ok(kind) = ManifestKind::parse(&descriptor.media_type, &bytes) else {
                    // As its author made it.
                    return Ok(None);
                };
                let (role, children) = match &kind {
                    ManifestKind::Index(index) => ("index", index.manifests.clone()),
                    ManifestKind::Manifest(manifest) => {
                        let all = std::iter::once(&manifest.config).chain(&manifest.layers);
                        ("manifest", all.cloned().collect())
                    }
                };
                self.documents.push(Document { digest, role, info, children });
                return Ok(Some(kind));
            }
        }
        Ok(None)
    }
}

impl Candidate {
    fn of(descriptor: Descriptor, kind: Entry, host: &Platform) -> Self {
        let platform = match kind {
            Entry::Candidate(platform) => platform,
            Entry::Unnamed => Some(host.clone()),
            Entry::Index => None,
        };
        let matcher = Matcher::default_for(host);
        let rank = platform.as_ref().and_then(|platform| matcher.rank(platform));
        let rank = rank.unwrap_or(usize::MAX);
        Self { descriptor, rank, platform }
    }

    fn may_run(&self) -> bool {
        self.platform.as_ref().is_some_and(|platform| platform.os != "unknown")
    }
}

/// Whether one of the layers is there; of an image without any, that is so.
async fn has_layer(content: &ContentStore, candidate: &Candidate) -> Result<bool, Error> {
    let Held::Right(bytes, _) = hold(content, &candidate.descriptor).await? else {
        // What is damaged was wanted.
        return Ok(true);
    };
    let Ok(ManifestKind::Manifest(manifest)) =
        ManifestKind::parse(&candidate.descriptor.media_type, &bytes)
    else {
        return Ok(false);
    };
    for layer in &manifest.layers {
        if content.info(&layer.digest).await?.is_some() {
            return Ok(true);
        }
    }
    // What was let go of once it was unpacked leaves its configuration.
    let kept = content.info(&manifest.config.digest).await?;
    let is_unpacked = kept
        .is_some_and(|info| crate::containerd::labels::snapshotters(&info.labels).next().is_some());
    Ok(manifest.layers.is_empty() || is_unpacked)
}

/// What the store has of a small document.
async fn hold(content: &ContentStore, descriptor: &Descriptor) -> Result<Held, Error> {
    let Some(info) = content.info(&descriptor.digest).await? else { return Ok(Held::Missing) };
    let bytes = match content.read(&descriptor.digest, MAX_MANIFEST_BYTES).await {
        Ok(bytes) => bytes,
        Err(Error::NotFound { .. }) => return Ok(Held::Damaged("has lost its file".to_owned())),
        Err(Error::TooLarge { .. }) => {
            return Ok(Held::Damaged("is larger than a document may be".to_owned()));
        }
        Err(Error::Refused { source, .. }) => {
            return Ok(Held::Damaged(format!("can't be read: {source}")));
        }
        Err(error) => return Err(error),
    };
    let actual = Digest::of(&bytes);
    if actual == descriptor.digest {
        return Ok(Held::Right(bytes, info));
    }
    Ok(Held::Damaged(format!("is damaged: its {} bytes are {actual}", bytes.len())))
}
