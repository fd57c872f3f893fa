//! A layout that is open, to be read or to be written to.

use std::path::Path;

use bytes::Bytes;
use futures_util::stream::Stream;
use serde::Deserialize;

use super::Error;
use super::blobs::Blobs;
use super::blocking::run_blocking;
use super::directory::Directory;
use super::index::{self, Entry};
use crate::oci::Descriptor;
use crate::oci::layout::{BLOBS, LAYOUT_FILE, SHA256};

/// Largest `oci-layout` read, in bytes (64 KiB); it has one member.
const MAX_LAYOUT_FILE_BYTES: u64 = 64 * 1024;

/// An image layout directory. Clones share what is known of its blobs.
#[derive(Debug, Clone)]
pub struct Layout {
    root: Directory,
    blobs: Blobs,
}

/// The content of `oci-layout`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

impl Layout {
    /// Opens the layout in `root` to read from it; nothing of it is changed.
    ///
    /// # Errors
    /// [`Error::NotReadable`] when it is no layout, or one of a later version; [`Error::Link`] where a
    /// part of it lies elsewhere; [`Error::Io`].
    pub fn open(root: &Path) -> Result<Self, Error> {
        let directory = Directory::root(root)?;
        let unreadable = || Error::NotReadable(root.to_owned());
        let marker = directory.read(LAYOUT_FILE, MAX_LAYOUT_FILE_BYTES)?;
        let marker: Marker =
            serde_json::from_slice(&marker.ok_or_else(unreadable)?).map_err(|_| unreadable())?;
        if !marker.image_layout_version.starts_with("1.") {
            return Err(unreadable());
        }
        let blobs = directory.directory(BLOBS)?.ok_or_else(unreadable)?;
        let blobs = blobs.directory(SHA256)?.ok_or_else(unreadable)?;
        Ok(Self::of(directory, Blobs::new(blobs)))
    }

    /// The images in `index.json`, in its order.
    ///
    /// # Errors
    /// [`Error::Index`] when it can't be understood, [`Error::TooLarge`], [`Error::Io`].
    pub async fn entries(&self) -> Result<Vec<Entry>, Error> {
        let root = self.root.clone();
        run_blocking(move || index::entries(&root)).await
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Whether the blob is in the layout, whole and with the bytes that its name promises; they are
    /// hashed once a run.
    pub async fn contains(&self, descriptor: &Descriptor) -> bool {
        self.blobs.holds(descriptor).await
    }

    /// Whether there is nothing at all by the blob's name.
    pub async fn lacks(&self, descriptor: &Descriptor) -> bool {
        self.blobs.lacks(descriptor).await
    }

    /// The small blob that `descriptor` names, verified.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond the size of a document, [`Error::Missing`], [`Error::Mismatch`] when
    /// it is damaged, [`Error::Io`].
    pub async fn read(&self, descriptor: &Descriptor) -> Result<Bytes, Error> {
        self.blobs.read(descriptor).await
    }

    /// The bytes of the blob from `offset` on, piece by piece, no more than the descriptor says. They
    /// are unverified.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Io`], from here or from the stream, which also fails where the
    /// file ends before the blob.
    pub async fn reader(
        &self,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + Unpin + use<>, Error> {
        self.blobs.reader(descriptor, offset).await
    }

    pub(super) fn of(root: Directory, blobs: Blobs) -> Self {
        Self { root, blobs }
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.root
    }

    pub(super) fn blobs(&self) -> &Blobs {
        &self.blobs
    }
}
