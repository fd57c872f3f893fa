//! What is known of an archive that comes by, as far as it has come.

use std::collections::HashMap;

use bytes::Bytes;

use super::entries::Entries;
use super::error::{Error, Problem};
use super::forms::understand;
use super::images::{ArchiveImage, Files, FoundLayer, NamedLayer};
use crate::oci::{Digest, layout};
use crate::tar::{Entry, EntryName};

/// An archive of which some has come by.
#[derive(Debug)]
pub struct PassedArchive {
    place: String,
    entries: Entries<Passed>,
    documents: HashMap<Digest, Bytes>,
}

/// What is known of a file.
#[derive(Debug)]
enum Passed {
    Document(Bytes),
    Blob(FoundLayer),
    /// Not all of it has come by, or it is no part of an image.
    Other,
}

impl PassedArchive {
    /// An archive called `place` of which nothing has come by yet.
    pub fn new(place: &str) -> Self {
        Self { place: place.to_owned(), entries: Entries::default(), documents: HashMap::new() }
    }

    /// What the archive is called.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// An entry has come by, or a file begins.
    ///
    /// # Errors
    /// [`Error`] about its name.
    pub fn entry(&mut self, entry: &Entry) -> Result<(), Error> {
        self.add(entry, Passed::Other)
    }

    /// A document has come by. Tells whether the table of contents of a layout has.
    ///
    /// # Errors
    /// [`Error`] about its name.
    pub fn document(&mut self, entry: &Entry, bytes: Bytes) -> Result<bool, Error> {
        self.add(entry, Passed::Document(bytes.clone()))?;
        self.documents.insert(Digest::of(&bytes), bytes);
        Ok(matches!(self.entries.file(layout::INDEX_FILE), Ok(Some(_))))
    }

    /// The blob that began with `entry` has come by.
    pub fn blob(&mut self, entry: &Entry, blob: FoundLayer) {
        self.entries.replace(entry, Passed::Blob(blob));
    }

    fn add(&mut self, entry: &Entry, passed: Passed) -> Result<(), Error> {
        let added = self.entries.add(entry, |_| Ok(passed));
        added.map_err(|problem| problem.at(&self.place))
    }

    /// The document `digest`, if it has come by or was made.
    pub fn find(&self, digest: &Digest) -> Option<Bytes> {
        self.documents.get(digest).cloned()
    }

    /// The images, as far as the archive has come by. Of docker's form, all of it must have.
    ///
    /// # Errors
    /// [`Error`], when the archive is none of images or its parts do not fit together.
    pub fn images(&mut self) -> Result<Vec<ArchiveImage>, Error> {
        let understood = understand(&*self).map_err(|problem| problem.at(&self.place))?;
        self.documents.extend(understood.documents);
        Ok(understood.images)
    }
}

impl Files for PassedArchive {
    fn read(&self, name: &str, limit_bytes: u64) -> Result<Option<Bytes>, Problem> {
        match self.entries.named(name) {
            Ok(Passed::Document(bytes)) => Ok(Some(bytes.clone())),
            Ok(Passed::Blob(blob)) => {
                let name = EntryName::new(name.as_bytes());
                Err(Problem::TooLarge { name, size_bytes: blob.size, limit_bytes })
            }
            Ok(Passed::Other) | Err(Problem::Missing(_)) => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    fn layers(&self, named: &[NamedLayer]) -> Result<Vec<FoundLayer>, Problem> {
        let layer = |layer: &NamedLayer| match self.entries.named(&layer.name)? {
            Passed::Blob(blob) => Ok(blob.clone()),
            Passed::Document(_) | Passed::Other => {
                Err(Problem::Missing(EntryName::new(layer.name.as_bytes())))
            }
        };
        named.iter().map(layer).collect()
    }
}
