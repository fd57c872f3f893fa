//! The blobs that are in a layout: which are whole, reading them. A file is believed to be the blob of
//! its name only after it was hashed.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use tracing::warn;

use super::Error;
use super::blocking::run_blocking;
use super::directory::Directory;
use crate::oci::{Descriptor, Digest, Hasher, MAX_MANIFEST_BYTES};
use crate::sync::lock;

/// Most bytes read at a time (256 KiB): a few of these wait in memory for whoever takes them.
const READ_BYTES: usize = 256 << 10;

/// The directory of the blobs, and which of them are known to be whole. Clones share both.
#[derive(Debug, Clone)]
pub(super) struct Blobs {
    directory: Directory,
    proven: Arc<Mutex<HashSet<Digest>>>,
    /// Blobs of which it was said that they are damaged.
    damaged: Arc<Mutex<HashSet<Digest>>>,
}

impl Blobs {
    pub(super) fn new(directory: Directory) -> Self {
        Self { directory, proven: Arc::default(), damaged: Arc::default() }
    }

    /// The directory.
    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Takes note that the blob `digest` is whole.
    pub(super) fn know(&self, digest: Digest) {
        lock(&self.proven).insert(digest);
    }

    /// Whether the blob is there and whole. It is hashed, once a run: a file that was damaged, or was
    /// never the blob of its name, is as good as none.
    pub(super) async fn holds(&self, descriptor: &Descriptor) -> bool {
        if lock(&self.proven).contains(&descriptor.digest) {
            return true;
        }
        let (blobs, descriptor) = (self.clone(), descriptor.clone());
        run_blocking(move || Ok(blobs.prove(&descriptor))).await.unwrap_or(false)
    }

    /// Whether there is nothing at all by the blob's name.
    pub(super) async fn lacks(&self, descriptor: &Descriptor) -> bool {
        let (directory, name) = (self.directory.clone(), descriptor.digest.hex());
        matches!(run_blocking(move || directory.file(&name)).await, Ok(None))
    }

    /// As [`Blobs::holds`], for whoever may block.
    pub(super) fn prove(&self, descriptor: &Descriptor) -> bool {
        let Ok(Some(mut file)) = self.directory.file(&descriptor.digest.hex()) else {
            return false;
        };
        if file.metadata().map_or(true, |found| found.len() != descriptor.size) {
            return false;
        }
        let mut hasher = Hasher::new();
        let is_whole =
            hasher.update_from(&mut file).is_ok() && hasher.finish() == descriptor.digest;
        if is_whole {
            self.know(descriptor.digest);
        } else if lock(&self.damaged).insert(descriptor.digest) {
            let path = self.path(descriptor);
            warn!(blob = %path.display(), "a damaged blob is not used");
        }
        is_whole
    }

    /// The whole blob, verified, which must not be larger than a document may be.
    pub(super) async fn read(&self, descriptor: &Descriptor) -> Result<Bytes, Error> {
        if descriptor.size > MAX_MANIFEST_BYTES {
            let path = self.path(descriptor);
            return Err(Error::TooLarge { path, limit_bytes: MAX_MANIFEST_BYTES });
        }
        let (blobs, descriptor) = (self.clone(), descriptor.clone());
        run_blocking(move || {
            let mut bytes = Vec::new();
            // One more than there should be tells that there are too many.
            blobs
                .open(&descriptor)?
                .take(descriptor.size + 1)
                .read_to_end(&mut bytes)
                .map_err(|source| Error::io("read", &blobs.path(&descriptor), source))?;
            let (actual, size) = (Digest::of(&bytes), bytes.len() as u64);
            if actual != descriptor.digest || size != descriptor.size {
                return Err(Error::Mismatch { expected: descriptor.digest, actual, size });
            }
            Ok(bytes.into())
        })
        .await
    }

    /// The blob's bytes from `offset` on, piece by piece, unverified.
    pub(super) async fn reader(
        &self,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + Unpin + use<>, Error> {
        let (blobs, wanted) = (self.clone(), descriptor.clone());
        let file = run_blocking(move || {
            let mut file = blobs.open(&wanted)?;
            file.seek(SeekFrom::Start(offset))
                .map_err(|source| Error::io("read", &blobs.path(&wanted), source))?;
            Ok(file)
        })
        .await?;
        let left = descriptor.size.saturating_sub(offset);
        let state = Some((file, self.path(descriptor), left));
        Ok(Box::pin(unfold(state, async |state| {
            let (file, path, left) = state.filter(|(_, _, left)| *left > 0)?;
            match run_blocking(move || next_piece(file, path, left)).await {
                Ok((piece, file, path)) => {
                    let left = left - piece.len() as u64;
                    Some((Ok(piece), Some((file, path, left))))
                }
                Err(error) => Some((Err(error), None)),
            }
        })))
    }

    /// The blob's file, which must be there.
    fn open(&self, descriptor: &Descriptor) -> Result<File, Error> {
        let name = descriptor.digest.hex();
        self.directory
            .file(&name)?
            .ok_or_else(|| Error::Missing { blob: descriptor.digest, path: self.path(descriptor) })
    }

    fn path(&self, descriptor: &Descriptor) -> PathBuf {
        self.directory.path().join(descriptor.digest.hex())
    }
}

/// Reads the next piece, of `left` bytes at the most, and hands back what it was read with. A file that
/// ends before is an error.
fn next_piece(mut file: File, path: PathBuf, left: u64) -> Result<(Bytes, File, PathBuf), Error> {
    let wanted = usize::try_from(left).map_or(READ_BYTES, |left| left.min(READ_BYTES));
    let mut piece = Vec::with_capacity(wanted);
    let read = file.by_ref().take(wanted as u64).read_to_end(&mut piece);
    match read {
        Ok(0) => {
            let source = std::io::ErrorKind::UnexpectedEof.into();
            Err(Error::io("read to its end", &path, source))
        }
        Ok(_) => Ok((piece.into(), file, path)),
        Err(source) => Err(Error::io("read", &path, source)),
    }
}
