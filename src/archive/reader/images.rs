//! What the forms of archives have in common: images with their names, and files to make sense of.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;

use super::error::Problem;
use crate::oci::{Descriptor, Digest};
use crate::reference::Reference;

/// Largest `index.json` and `manifest.json` that are read, in bytes (16 MiB): tens of thousands of
/// images.
pub(super) const MAX_INDEX_BYTES: u64 = 16 << 20;

/// What a docker that knew no name wrote for one.
const NO_NAME: &str = "<none>";

/// An image of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveImage {
    /// What the archive calls it; nothing, often enough.
    pub names: Vec<GivenName>,
    /// Its index or manifest.
    pub target: Descriptor,
    /// Whether that was made of docker's list: no registry has it so, whatever the names.
    pub is_remade: bool,
}

/// A name in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GivenName {
    /// Meant to be a whole reference.
    Full(String),
    /// A tag, whose repository is anybody's guess.
    Tag(String),
}

/// What was found out about an archive from its documents.
#[derive(Debug, Default)]
pub(super) struct Understood {
    pub(super) images: Vec<ArchiveImage>,
    /// Documents that are in the archive under other names than their digests, or made by us.
    pub(super) documents: HashMap<Digest, Bytes>,
    /// Blobs that are in the archive under other names than their digests.
    pub(super) blobs: HashMap<Digest, String>,
}

/// The files of an archive, for whoever makes sense of them.
pub(super) trait Files {
    /// The whole file `name`, which must not be larger than `limit_bytes`.
    fn read(&self, name: &str, limit_bytes: u64) -> Result<Option<Bytes>, Problem>;

    /// The layers in files that a document calls so, in the same order.
    fn layers(&self, named: &[NamedLayer]) -> Result<Vec<FoundLayer>, Problem>;
}

/// A layer as docker's archives name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamedLayer {
    /// The file, as it is written.
    pub(super) name: String,
    /// What it hashes to, uncompressed, by the image's configuration.
    pub(super) diff_id: Digest,
}

/// A layer that is in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundLayer {
    /// What it hashes to, as it is.
    pub digest: Digest,
    /// Its size, as it is.
    pub size: u64,
    /// How it is packed.
    pub packing: super::Packing,
}

impl ArchiveImage {
    /// The whole name that a registry has it by, as far as the archive tells one.
    pub fn origin(&self) -> Option<Reference> {
        let full = |name: &GivenName| match name {
            GivenName::Full(name) => name.parse().ok(),
            GivenName::Tag(_) => None,
        };
        self.names.iter().find_map(full).filter(|_| !self.is_remade)
    }
}

impl GivenName {
    /// What `org.opencontainers.image.ref.name` says.
    pub(super) fn of_reference_name(text: &str) -> Self {
        // A word alone may be a repository as well, but tags are what the annotation is for.
        match text.contains(['/', ':', '@']) {
            true => Self::Full(text.to_owned()),
            false => Self::Tag(text.to_owned()),
        }
    }

    /// What `RepoTags` of `manifest.json` says.
    pub(super) fn of_repo_tag(text: &str) -> Option<Self> {
        (!text.is_empty() && !text.contains(NO_NAME)).then(|| Self::Full(text.to_owned()))
    }
}

impl fmt::Display for GivenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Full(text) | Self::Tag(text)) = self;
        f.write_str(text)
    }
}
