//! The OCI image layout as a destination: a directory that skopeo, umoci and `ctr images import`
//! read, for machines without containerd.
//!
//! Owns the files and their atomicity. Knows neither registries nor what an image is made of.
//! See <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>.

mod error;
mod index;
mod ingest;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

pub use error::Error;
pub use index::IndexEntry;
pub use ingest::Ingest;

use crate::oci::{Descriptor, Digest};

const LAYOUT_FILE: &str = "oci-layout";
const LAYOUT_CONTENT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// Holds downloads that are not complete yet, beside `blobs` so that a rename completes them.
/// Begins with a dot since the specification leaves other names to other tools.
const INGEST_DIRECTORY: &str = ".pullctl-ingest";

/// An image layout directory.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

/// What [`Layout::ingest`] found.
#[derive(Debug)]
pub enum Opened {
    /// The blob is there.
    Exists,
    /// The blob is to be written from [`Ingest::offset`] on.
    Ingest(Ingest),
}

impl Layout {
    /// Opens the layout in `root` and creates what is missing of it.
    ///
    /// # Errors
    /// [`Error::NotALayout`] when the directory holds other things, [`Error::Io`] when it can't be
    /// written.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let layout = Self { root: root.to_owned() };
        let marker = root.join(LAYOUT_FILE);
        if !marker.exists() && is_populated(root) {
            return Err(Error::NotALayout(root.to_owned()));
        }
        for directory in [layout.blobs(), layout.ingests()] {
            fs::create_dir_all(&directory).map_err(|e| Error::io("create", &directory, e))?;
        }
        if !marker.exists() {
            fs::write(&marker, LAYOUT_CONTENT).map_err(|e| Error::io("write", &marker, e))?;
        }
        Ok(layout)
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the blob is complete in the layout, with the size that `descriptor` says.
    pub fn contains(&self, descriptor: &Descriptor) -> bool {
        fs::metadata(self.blob(&descriptor.digest))
            .is_ok_and(|found| found.len() == descriptor.size)
    }

    /// Reads a small blob, at most `descriptor.size` bytes.
    ///
    /// # Errors
    /// [`Error::Io`] when it is not there or can't be read.
    pub fn read(&self, descriptor: &Descriptor) -> Result<Bytes, Error> {
        let path = self.blob(&descriptor.digest);
        fs::read(&path).map(Bytes::from).map_err(|e| Error::io("read", &path, e))
    }

    /// Begins or continues the blob that `descriptor` names. Waits while another process writes it.
    ///
    /// # Errors
    /// [`Error::Io`] when the partial file can't be opened, locked or read.
    pub async fn ingest(&self, descriptor: &Descriptor) -> Result<Opened, Error> {
        let (layout, descriptor) = (self.clone(), descriptor.clone());
        run_blocking(move || {
            if layout.contains(&descriptor) {
                return Ok(Opened::Exists);
            }
            let path = layout.ingests().join(descriptor.digest.hex());
            let partial = ingest::lock_partial(&path)?;
            // The process that held the lock may have completed the blob meanwhile.
            if layout.contains(&descriptor) {
                return Ok(Opened::Exists);
            }
            Ingest::resume(partial, path, layout.blob(&descriptor.digest), &descriptor)
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

    /// Names an image in `index.json`; an entry of the same name is replaced.
    ///
    /// # Errors
    /// [`Error::Index`] when the present `index.json` can't be understood, [`Error::Io`].
    pub async fn publish(&self, entry: IndexEntry) -> Result<(), Error> {
        let layout = self.clone();
        run_blocking(move || index::publish(&layout.root, &entry)).await
    }

    /// Removes the directory of partial downloads if none is left in it.
    pub fn tidy(&self) {
        // It is not empty while a download can be resumed: then it has to stay.
        let _ = fs::remove_dir(self.ingests());
    }

    fn blobs(&self) -> PathBuf {
        self.root.join("blobs").join("sha256")
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    fn ingests(&self) -> PathBuf {
        self.root.join(INGEST_DIRECTORY)
    }
}

fn is_populated(directory: &Path) -> bool {
    let Ok(mut entries) = fs::read_dir(directory) else { return false };
    entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != INGEST_DIRECTORY))
}

/// Runs file work where it may block.
async fn run_blocking<T, F>(work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Error> + Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|stopped| Err(Error::Stopped(io::Error::other(stopped))))
}

#[cfg(test)]
mod tests;
