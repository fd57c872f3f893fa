//! A layout as a destination: made where it is not there yet, blobs written, images named.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use bytes::Bytes;

use super::Error;
use super::blobs::Blobs;
use super::blocking::run_blocking;
use super::directory::Directory;
use super::index::{self, IndexEntry};
use super::ingest::{self, Ingest};
use super::layout::Layout;
use super::names::INGEST_DIRECTORY;
use crate::oci::Descriptor;
use crate::oci::layout::{BLOBS, LAYOUT_CONTENT, LAYOUT_FILE, SHA256};

/// What [`Layout::ingest`] found.
#[derive(Debug)]
pub enum Opened {
    /// The blob is there.
    Exists,
    /// The blob is to be written from [`Ingest::offset`] on.
    Ingest(Ingest),
}

impl Layout {
    /// Opens the layout in `root` to write to, and makes what is missing of it. Of one that is complete,
    /// nothing is written, so that it may lie on a read-only file system.
    ///
    /// # Errors
    /// [`Error::NotALayout`] when the directory holds other things, [`Error::Link`] where a part of it
    /// lies elsewhere, [`Error::Io`] when it can't be written.
    pub fn create(root: &Path) -> Result<Self, Error> {
        fs::create_dir_all(root).map_err(|source| Error::io("create", root, source))?;
        let directory = Directory::root(root)?;
        let is_marked = directory.file(LAYOUT_FILE)?.is_some();
        if !is_marked && is_populated(root) {
            return Err(Error::NotALayout(root.to_owned()));
        }
        let blobs = directory.made_directory(BLOBS)?.made_directory(SHA256)?;
        if !is_marked && let Some(mut marker) = directory.new_file(LAYOUT_FILE)? {
            marker
                .write_all(LAYOUT_CONTENT.as_bytes())
                .map_err(|source| Error::io("write", &root.join(LAYOUT_FILE), source))?;
        }
        Ok(Self::of(directory, Blobs::new(blobs)))
    }

    /// Begins or continues the blob that `descriptor` names. Waits while another process writes it.
    ///
    /// # Errors
    /// [`Error::Io`] when the partial file can't be opened, locked or read.
    pub async fn ingest(&self, descriptor: &Descriptor) -> Result<Opened, Error> {
        if self.blobs().holds(descriptor).await {
            return Ok(Opened::Exists);
        }
        let (layout, descriptor) = (self.clone(), descriptor.clone());
        run_blocking(move || {
            let (ingests, partial) =
                ingest::lock_partial(layout.directory(), &descriptor.digest.hex())?;
            // The process that held the lock may have completed the blob meanwhile.
            if layout.blobs().prove(&descriptor) {
                return Ok(Opened::Exists);
            }
            Ingest::resume(partial, ingests, layout.blobs().clone(), &descriptor)
                .map(Opened::Ingest)
        })
        .await
    }

    /// Writes a small blob in one go.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub async fn put(&self, descriptor: &Descriptor, bytes: Bytes) -> Result<(), Error> {
        match self.ingest(descriptor).await? {
            Opened::Exists => Ok(()),
            Opened::Ingest(mut ingest) => {
                ingest.restart().await?;
                ingest.write(bytes).await?;
                ingest.commit().await
            }
        }
    }

    /// Names an image in `index.json`; an entry of the same name is replaced. One that is there as it
    /// should be is left as it is.
    ///
    /// # Errors
    /// [`Error::Index`] when the present `index.json` can't be understood, [`Error::Io`].
    pub async fn publish(&self, entry: IndexEntry) -> Result<(), Error> {
        let layout = self.clone();
        run_blocking(move || index::publish(layout.directory(), &entry)).await
    }

    /// Removes the directory of partial downloads if none is left in it.
    pub fn tidy(&self) {
        // It is not empty while a download can be resumed: then it has to stay.
        self.directory().remove_empty(INGEST_DIRECTORY);
    }
}

fn is_populated(directory: &Path) -> bool {
    let Ok(mut entries) = fs::read_dir(directory) else { return false };
    entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != INGEST_DIRECTORY))
}
