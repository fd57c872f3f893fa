//! The right bytes in the place of a blob that the daemon has and that is wrong, or that it has lost.
//! The API knows no such thing: of what is stored already, nothing is taken. So the file itself is
//! replaced, in one step, on the same host and with the rights to do so; labels, leases and other
//! namespaces that have the blob stay as they are.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use containerd_client::services::v1 as api;
use tokio::task::spawn_blocking;

use super::blob_file::{name_complete, unnamed_in};
use super::content::{ContentStore, signed};
use super::open::ingest_reference;
use super::put::Placed;
use crate::containerd::{Error, Labels};
use crate::oci::{Descriptor, Digest, Hasher, MediaType};

/// Times that a blob is put in its place.
const PLACINGS: usize = 3;

/// A blob on its way to the place of another. Its file has no name until it is complete.
#[derive(Debug)]
pub struct Replacement {
    content: ContentStore,
    directory: PathBuf,
    expected: Descriptor,
    file: File,
    hasher: Hasher,
    size: u64,
}

impl ContentStore {
    /// Begins to replace the blob `expected`; `None` where the daemon's files are out of reach. The
    /// client needs a lease.
    ///
    /// # Errors
    /// When the file can't be made, or the daemon refuses.
    pub async fn replacement(&self, expected: &Descriptor) -> Result<Option<Replacement>, Error> {
        if self.client().blobs().is_none() {
            self.find_blobs().await?;
        }
        let Some(blobs) = self.client().blobs() else { return Ok(None) };
        let directory = blobs.path().to_owned();
        let unwritten = |error| {
            let operation = format!("replace blob {}", expected.digest);
            Error::from_io_at(Some(&directory), operation, &error)
        };
        let file = unnamed_in(&directory).map_err(unwritten)?;
        Ok(Some(Replacement {
            content: self.clone(),
            directory,
            expected: expected.clone(),
            file,
            hasher: Hasher::new(),
            size: 0,
        }))
    }

    /// Has the daemon store a few bytes, by which its directory is recognised. They go with the lease.
    async fn find_blobs(&self) -> Result<(), Error> {
        let bytes: Bytes = format!("pullctl {:016x}", fastrand::u64(..)).into();
        let media_type = MediaType::new("application/octet-stream");
        let blob = Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64);
        let reference = ingest_reference(&blob);
        self.put_placed(&reference, &blob, bytes, Labels::new(), Placed::NOWHERE).await
    }
}

fn failed(digest: &Digest, error: &io::Error) -> Error {
    Error::from_io(format!("replace blob {digest}"), error)
}

/// What `work` on the file that is to be `digest` comes to, on a thread where it may block.
async fn blocking<T: Send + 'static>(
    digest: &Digest,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let done = spawn_blocking(work).await.map_err(io::Error::other).and_then(|done| done);
    done.map_err(|error| failed(digest, &error))
}

impl Replacement {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// When the file can't grow.
    pub async fn write(mut self, bytes: Bytes) -> Result<Self, Error> {
        let digest = self.expected.digest;
        let write = move || {
            self.hasher.update(&bytes);
            self.size += bytes.len() as u64;
            self.file.write_all(&bytes).map(|()| self)
        };
        blocking(&digest, write).await
    }

    /// Puts the file in place, if it is the blob, and lets the daemon know of it.
    ///
    /// # Errors
    /// [`Error::Size`] or [`Error::BadAnswer`] when it is not: nothing is changed then.
    pub async fn commit(self, labels: &Labels) -> Result<(), Error> {
        let Self { content, directory, expected, file, hasher, size } = self;
        let digest = expected.digest;
        if size != expected.size {
            return Err(Error::Size { digest, expected: expected.size, actual: size });
        }
        let actual = hasher.finish();
        if actual != digest {
            let operation = format!("replace blob {digest}");
            return Err(Error::bad_answer(operation, format!("the bytes are {actual}")));
        }
        // One that the daemon has lost is new to it; of any other it hears nothing new.
        let reference = ingest_reference(&expected);
        let request = api::WriteContentRequest {
            action: api::WriteAction::Commit.into(),
            r#ref: reference.clone(),
            total: signed(expected.size),
            expected: digest.to_string(),
            offset: signed(expected.size),
            data: Vec::new(),
            labels: labels.clone().into_iter().collect(),
        };
        let mut file = file;
        let mut placings = 1;
        loop {
            let (into, name) = (directory.clone(), digest.hex());
            let placing = move || place(&into, &name, &file).map(|()| file);
            let placed = blocking(&digest, placing).await?;
            let committed = content.commit(&reference, &expected, request.clone(), labels).await;
            match committed {
                // Garbage collection takes what the daemon does not know yet, if it comes in between.
                Err(Error::Refused { .. }) if placings < PLACINGS && is_nameless(&placed) => {
                    placings += 1;
                    content.abort(&reference).await?;
                }
                committed => return committed,
            }
            let into = directory.clone();
            file = blocking(&digest, move || copy(&placed, &into)).await?;
        }
    }
}

/// Whether the file has lost its name.
fn is_nameless(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
}

/// The same bytes in a file without a name: one that has lost its name gets none again.
fn copy(file: &File, directory: &Path) -> io::Result<File> {
    let mut bytes = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let mut copy = unnamed_in(directory)?;
    io::copy(&mut bytes, &mut copy)?;
    Ok(copy)
}

/// Gives the file its name; what had it goes.
fn place(directory: &Path, name: &str, file: &File) -> io::Result<()> {
    let beside = directory.join(format!(".{name}-{}", std::process::id()));
    name_complete(file, &beside)?;
    fs::rename(&beside, directory.join(name)).inspect_err(|_| {
        // A name that nobody looks for must not stay.
        let _ = fs::remove_file(&beside);
    })?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_has_lost_its_name_is_copied_and_named_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = unnamed_in(folder.path()).unwrap();
        file.write_all(b"bytes").unwrap();
        place(folder.path(), "blob", &file).unwrap();
        assert!(!is_nameless(&file));
        fs::remove_file(folder.path().join("blob")).unwrap();
        assert!(is_nameless(&file) && place(folder.path(), "blob", &file).is_err());
        place(folder.path(), "blob", &copy(&file, folder.path()).unwrap()).unwrap();
        assert_eq!(fs::read(folder.path().join("blob")).unwrap(), b"bytes");
    }
}
