//! The short way out of the content store: a blob's bytes straight from the daemon's own file, on the
//! same host and with the rights to read it, and not over gRPC. Who the bytes are for hashes them: a file
//! of another daemon, whose root lies at the same path elsewhere, has the same bytes or is found out.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::num::NonZero;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tracing::debug;

use super::blob_file::path_below;
use super::cache::let_go;
use crate::oci::Digest;
use crate::sync::Pool;

/// Bytes read at a time (512 KiB): enough that handing them on costs little beside reading them.
const PIECE_BYTES: usize = 512 << 10;

/// Pieces that wait for whoever takes them.
const READ_AHEAD: usize = 2;

/// Opens the daemon's file of the blob `digest` below `root`, to be read from `offset` on; `None` where it
/// is out of reach, or does not have `size` bytes.
pub(super) async fn open(root: &Path, digest: &Digest, size: u64, offset: u64) -> Option<File> {
    let path = path_below(root, digest);
    let opened = spawn_blocking(move || {
        let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
        let mut file =
            OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(&path)?;
        let found = file.metadata()?;
        if !found.is_file() || found.len() != size {
            return Err(io::Error::other("it is not the blob's file"));
        }
        file.seek(SeekFrom::Start(offset))?;
        let whole = NonZero::new(size);
        // Whether the system reads further ahead is all that depends on it.
        let _ = rustix::fs::fadvise(&file, offset, whole, rustix::fs::Advice::Sequential);
        Ok(file)
    });
    match opened.await.map_err(io::Error::other).and_then(|opened| opened) {
        Ok(file) => Some(file),
        Err(error) => {
            debug!(%error, %digest, "content is read over gRPC");
            None
        }
    }
}

/// The next `length` bytes of `file`, piece by piece, read by a thread of their own. With `is_let_go`
/// the page cache keeps none of the file.
pub(super) fn pieces(
    mut file: File,
    length: u64,
    is_let_go: bool,
) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin + use<> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    // It ends with the file, or when nobody takes the pieces any more.
    spawn_blocking(move || {
        read(&mut file, length, &sender);
        if is_let_go {
            let_go(&file);
        }
    });
    Box::pin(unfold(receiver, async |mut receiver| {
        let piece = receiver.recv().await?;
        Some((piece, receiver))
    }))
}

fn read(file: &mut File, mut left: u64, pieces: &mpsc::Sender<io::Result<Bytes>>) {
    let spare = Spare::default();
    while left > 0 {
        let wanted = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        let mut buffer = spare.take();
        let piece = match file.read(&mut buffer.bytes[..wanted]) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                left -= count as u64;
                Ok(Bytes::from_owner(buffer).slice(..count))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let is_last = piece.is_err();
        if pieces.blocking_send(piece).is_err() || is_last {
            return;
        }
    }
}

/// Buffers that were given back. Making them anew, the system would clear their pages each time, which
/// takes half as long as reading them full.
#[derive(Debug, Clone, Default)]
struct Spare(Arc<Pool<Vec<u8>>>);

/// A buffer that is given back when the last of its bytes is let go.
#[derive(Debug)]
struct Buffer {
    bytes: Vec<u8>,
    spare: Spare,
}

impl Spare {
    fn take(&self) -> Buffer {
        let bytes = self.0.take().unwrap_or_else(|| vec![0; PIECE_BYTES]);
        Buffer { bytes, spare: self.clone() }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.spare.0.give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;

    use super::*;

    /// A content root that has `bytes` as a blob, and its digest.
    fn root_with(bytes: &[u8]) -> (tempfile::TempDir, Digest) {
        let root = tempfile::tempdir().unwrap();
        let digest = Digest::of(bytes);
        let path = path_below(root.path(), &digest);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        (root, digest)
    }

    #[tokio::test]
    async fn reads_a_blob_from_any_place_to_its_end() {
        let bytes: Vec<u8> = (0..3 * PIECE_BYTES + 10).map(|index| (index % 251) as u8).collect();
        let (root, digest) = root_with(&bytes);
        let size = bytes.len() as u64;
        for offset in [0, 5, size - 1, size] {
            let file = open(root.path(), &digest, size, offset).await.unwrap();
            let read: Vec<Bytes> = pieces(file, size - offset, false).try_collect().await.unwrap();
            assert!(read.concat() == bytes[usize::try_from(offset).unwrap()..], "{offset}");
        }
    }

    #[tokio::test]
    async fn what_is_not_the_blobs_file_is_left_alone() {
        let (root, digest) = root_with(b"pullctl");
        assert!(open(root.path(), &digest, 6, 0).await.is_none());
        assert!(open(Path::new("/nowhere"), &digest, 7, 0).await.is_none());
        let path = path_below(root.path(), &digest);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        let size = std::fs::metadata("/etc/hostname").unwrap().len();
        assert!(open(root.path(), &digest, size, 0).await.is_none());
    }

    #[tokio::test]
    async fn a_file_that_ends_early_is_an_error() {
        let (root, digest) = root_with(b"pullctl");
        let file = open(root.path(), &digest, 7, 0).await.unwrap();
        let read = pieces(file, 8, false).try_collect::<Vec<_>>().await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
