//! `pullctl load --list`: what is inside, without a daemon.

use std::fmt;
use std::sync::Arc;

use clap::ValueEnum;
use serde::Serialize;

use super::inputs::{Inputs, Store, Stream};
use crate::archive::{ArchiveImage, GivenName};
use crate::cli::{Error, Session};
use crate::images::{Entry, MAX_MANIFESTS};
use crate::oci::{Descriptor, Digest, ImageConfig, Manifest, ManifestKind};
use crate::output::{Form, document, table, units};
use crate::platform::Platform;
use crate::progress;
use crate::reference::Reference;
use crate::transfer::{self, DocumentKind, Intake, Provenance, Source};

/// Indexes inside indexes that are looked into, as with a pull.
const MAX_INDEX_DEPTH: usize = 4;

/// Forms of what `--list` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ContentsForm {
    /// Columns for people.
    #[default]
    Table,
    /// One JSON array.
    Json,
}

/// The list.
#[derive(Serialize)]
#[serde(transparent)]
struct Contents(Vec<Listed>);

/// An image of an archive.
#[derive(Serialize)]
struct Listed {
    /// The archive.
    archive: String,
    /// The names that it gets, as the kubelet asks for them.
    names: Vec<String>,
    /// Tags whose repository has to be told.
    tags: Vec<String>,
    digest: Digest,
    platforms: Vec<PlatformContents>,
}

/// What there is for one platform.
#[derive(Serialize)]
struct PlatformContents {
    platform: String,
    /// Of the configuration and the layers.
    size_bytes: u64,
    /// Whether all of it is in the archive.
    complete: bool,
}

struct Nobody;

impl progress::Sink for Nobody {
    fn event(&self, _: progress::Event) {}
}

fn nobody() -> Arc<dyn progress::Sink> {
    Arc::new(Nobody)
}

/// Prints what is inside of `inputs`.
///
/// # Errors
/// The first archive that can't be understood.
pub(super) async fn print(
    inputs: Inputs,
    form: ContentsForm,
    session: &Session<'_>,
) -> Result<(), Error> {
    let mut contents = Contents(Vec::new());
    for store in &inputs.stores {
        contents.add_store(store).await?;
    }
    for stream in inputs.streams {
        contents.add_stream(stream).await?;
    }
    let form = match form {
        ContentsForm::Table => Form::Text,
        ContentsForm::Json => Form::Json,
    };
    Ok(session.printer.out(&document(&contents, form))?)
}

impl Contents {
    async fn add_store(&mut self, store: &Store) -> Result<(), transfer::Error> {
        for image in store.images().await? {
            let source = store.source(image.target.clone(), Provenance::default(), nobody());
            self.0.push(Listed::of(store.place(), &image, &*source).await?);
        }
        Ok(())
    }

    async fn add_stream(&mut self, stream: Stream) -> Result<(), transfer::Error> {
        let Stream { tar, place } = stream;
        let intake = Intake::look(tar, &place, nobody());
        for image in intake.images().await? {
            let source = intake.source(image.target.clone());
            self.0.push(Listed::of(place.clone(), &image, &source).await?);
        }
        Ok(())
    }

    fn rows(&self) -> impl Iterator<Item = [String; 4]> {
        self.0.iter().flat_map(Listed::rows)
    }
}

impl Listed {
    async fn of(
        archive: String,
        image: &ArchiveImage,
        source: &dyn Source,
    ) -> Result<Self, transfer::Error> {
        let (mut names, mut tags) = (Vec::new(), Vec::new());
        for name in &image.names {
            match name {
                GivenName::Tag(tag) => tags.push(tag.clone()),
                GivenName::Full(name) => names.push(
                    name.parse::<Reference>().map_or(name.clone(), |found| found.to_string()),
                ),
            }
        }
        let mut platforms = Vec::new();
        look(source, &image.target, None, 0, &mut platforms).await?;
        Ok(Self { archive, names, tags, digest: image.target.digest, platforms })
    }

    fn rows(&self) -> Vec<[String; 4]> {
        let mut names = self.names.clone();
        names.extend(self.tags.iter().map(|tag| format!(":{tag} !")));
        if names.is_empty() {
            names.push("-".to_owned());
        }
        let there = || self.platforms.iter().filter(|platform| platform.complete);
        let platforms: Vec<_> = there().map(|platform| platform.platform.as_str()).collect();
        let size = units::bytes(there().map(|platform| platform.size_bytes).sum());
        let (platforms, digest) = (platforms.join(", "), self.digest.to_string());
        let row = |name| [name, platforms.clone(), size.clone(), digest.clone()];
        names.into_iter().map(row).collect()
    }
}

/// Adds to `found` what there is below `target`, which an index may have named a `platform` for.
async fn look(
    source: &dyn Source,
    target: &Descriptor,
    platform: Option<Platform>,
    depth: usize,
    found: &mut Vec<PlatformContents>,
) -> Result<(), transfer::Error> {
    if found.len() > MAX_MANIFESTS {
        return Err(transfer::Error::TooManyManifests(MAX_MANIFESTS));
    }
    if depth > 0 && source.lacks(target).await {
        let lacking = |platform: Platform| PlatformContents {
            platform: platform.to_string(),
            size_bytes: 0,
            complete: false,
        };
        found.extend(platform.map(lacking));
        return Ok(());
    }
    let bytes = source.document(target, DocumentKind::Manifest).await?;
    let digest = target.digest;
    match ManifestKind::parse(&target.media_type, &bytes)
        .map_err(|source| transfer::Error::Manifest { digest, source })?
    {
        ManifestKind::Index(_) if depth >= MAX_INDEX_DEPTH => {
            Err(transfer::Error::IndexTooDeep(digest))
        }
        ManifestKind::Index(index) => {
            for entry in &index.manifests {
                let platform = match Entry::of(entry) {
                    Entry::Candidate(None) => continue,
                    Entry::Candidate(platform) => platform,
                    Entry::Index | Entry::Unnamed => None,
                };
                Box::pin(look(source, entry, platform, depth + 1, found)).await?;
            }
            Ok(())
        }
        ManifestKind::Manifest(manifest) if manifest.is_image() => {
            found.push(contents_of(source, &manifest, platform).await?);
            Ok(())
        }
        ManifestKind::Manifest(_) => Ok(()),
    }
}

async fn contents_of(
    source: &dyn Source,
    manifest: &Manifest,
    platform: Option<Platform>,
) -> Result<PlatformContents, transfer::Error> {
    let Manifest { config, layers, .. } = manifest;
    let mut complete = !source.lacks(config).await;
    let platform = match platform {
        Some(platform) => platform.to_string(),
        None => {
            let bytes = source.document(config, DocumentKind::Blob).await?;
            let digest = config.digest;
            let read = ImageConfig::parse(&bytes, layers.len());
            let read = read.map_err(|source| transfer::Error::Manifest { digest, source });
            read?.platform.to_string()
        }
    };
    let mut size_bytes = config.size;
    for layer in layers {
        size_bytes = size_bytes.saturating_add(layer.size);
        complete = complete && !source.lacks(layer).await;
    }
    Ok(PlatformContents { platform, size_bytes, complete })
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&table(["IMAGE", "PLATFORM", "SIZE", "DIGEST"], self.rows()))?;
        if self.0.iter().any(|image| !image.tags.is_empty()) {
            f.write_str("\nmarked with !: load it with --base-name REPOSITORY or --as NAME")?;
        }
        if self.0.iter().any(|image| image.names.is_empty() && image.tags.is_empty()) {
            f.write_str("\nwithout a name: load it with --as NAME")?;
        }
        Ok(())
    }
}
