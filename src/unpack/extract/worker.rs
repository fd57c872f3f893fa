//! The extractor: one layer's threads, and the handle by which a download feeds them.

use std::io::BufRead;
use std::os::fd::OwnedFd;
use std::thread;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::apply::Applier;
use super::chunks::{ChunkSender, queue};
use super::error::ExtractError;
use super::implied::ImpliedDirectory;
use super::rehearsal::Rehearsal;
use super::stream::Stream;
use super::whiteout::Whiteouts;
use crate::gzip::Threads;
use crate::oci::{Compression, DiffId};
use crate::tar::{Archive, EntryName};
use crate::unpack::room::Allowance;

/// How a layer is to be extracted.
#[derive(Debug, Clone)]
pub struct ExtractOptions {
    /// How the layer is packed, by its media type. A layer declared gzip or zstd is looked at, and
    /// unpacked as what it is; one declared uncompressed is taken at its word.
    pub compression: Compression,
    /// How many threads inflate it, if it is gzip.
    pub threads: Threads,
    /// What to make of whiteouts.
    pub whiteouts: Whiteouts,
    /// How much may be written.
    pub allowance: Allowance,
    /// Whether the page cache lets go of the files once they are on the disk.
    pub is_sparing: bool,
}

/// A layer that was extracted in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extracted {
    /// Digest of the uncompressed stream, all of it; the caller compares it.
    pub diff_id: DiffId,
    /// Length of the uncompressed stream, in bytes.
    pub uncompressed_bytes: u64,
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes written to files, those of holes included.
    pub written_bytes: u64,
    /// The first sparse file in old GNU tar's way, which containerd would have refused.
    pub old_sparse: Option<EntryName>,
    /// Directories that [`inherit`](super::inherit) has to complete when there are layers below.
    pub implied: Vec<ImpliedDirectory>,
}

/// Extracts the layer that `source` holds beneath `root`, an overlayfs upper directory or the
/// directory of a snapshot without parent.
///
/// Blocks until the layer's end; large compressed layers are inflated and hashed on threads of their
/// own. Nothing outside `root` is touched, whatever the archive says. After an error, `root` holds
/// what was extracted so far.
///
/// # Errors
/// [`ExtractError`]: a damaged stream, an unusable archive, a file system that refuses.
pub fn extract(
    source: impl BufRead + Send + 'static,
    root: OwnedFd,
    options: ExtractOptions,
) -> Result<Extracted, ExtractError> {
    let applier = Applier::new(root, options.whiteouts, options.allowance);
    let applier = applier.sparing(options.is_sparing);
    run(source, (options.compression, &options.threads), applier).map(|(extracted, _)| extracted)
}

/// As [`extract`], but files stay empty beneath `root`, and what they would hold is compared with what
/// lies beneath `real`.
///
/// # Errors
/// As [`extract`].
pub(crate) fn rehearse(
    source: impl BufRead + Send + 'static,
    root: OwnedFd,
    real: OwnedFd,
    options: ExtractOptions,
) -> Result<(Extracted, Rehearsal), ExtractError> {
    let applier = Applier::new(root, options.whiteouts, options.allowance);
    let applier = applier.rehearsing(Rehearsal::with(real));
    let (extracted, rehearsal) = run(source, (options.compression, &options.threads), applier)?;
    let lost = || ExtractError::Thread(std::io::Error::other("the rehearsal has no result"));
    Ok((extracted, rehearsal.ok_or_else(lost)?))
}

fn run(
    source: impl BufRead + Send + 'static,
    (compression, threads): (Compression, &Threads),
    mut applier: Applier,
) -> Result<(Extracted, Option<Rehearsal>), ExtractError> {
    let mut archive = Archive::new(Stream::open(source, compression, threads)?);
    let mut entries = 0;
    let mut written_bytes = 0;
    let mut old_sparse = None;
    while let Some(entry) = archive.next_entry()? {
        applier.apply(&entry, &mut archive)?;
        entries += 1;
        written_bytes += entry.size;
        if entry.is_old_sparse {
            old_sparse.get_or_insert_with(|| EntryName::new(&entry.name));
        }
    }
    // What follows the archive's end belongs to the diff ID too.
    let (stream, uncompressed_bytes) = archive.finish()?;
    let diff_id = stream.digest()?;
    let (implied, rehearsal) = applier.finish()?;
    let extracted =
        Extracted { diff_id, uncompressed_bytes, entries, written_bytes, old_sparse, implied };
    Ok((extracted, rehearsal))
}

/// A layer being extracted on threads of its own while its bytes come in.
#[derive(Debug)]
pub struct Extractor {
    chunks: ChunkSender,
    result: oneshot::Receiver<Result<Extracted, ExtractError>>,
}

/// The extraction has ended already; [`Extractor::finish`] says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the extraction has ended")]
pub struct ExtractionEnded;

impl Extractor {
    /// Starts to extract beneath `root`. At most `capacity` chunks wait in memory.
    ///
    /// # Errors
    /// [`ExtractError::Thread`].
    pub fn spawn(
        root: OwnedFd,
        options: ExtractOptions,
        capacity: usize,
    ) -> Result<Self, ExtractError> {
        let (chunks, reader) = queue(capacity);
        let (sender, result) = oneshot::channel();
        thread::Builder::new()
            .name("extract".to_owned())
            .spawn(move || {
                // Whoever dropped the handle does not want the result.
                let _ = sender.send(extract(reader, root, options));
            })
            .map_err(ExtractError::Thread)?;
        Ok(Self { chunks, result })
    }

    /// Hands over the layer's next bytes, waiting until there is room for them.
    ///
    /// # Errors
    /// [`ExtractionEnded`] when nothing more is wanted, because of an error.
    pub async fn send(&self, chunk: Bytes) -> Result<(), ExtractionEnded> {
        self.chunks.send(chunk).await.map_err(|_| ExtractionEnded)
    }

    /// Says that the layer is complete and waits until it is extracted.
    ///
    /// Dropping the extractor instead abandons the layer: its threads end by themselves, soon.
    ///
    /// # Errors
    /// What [`extract`] fails with.
    pub async fn finish(self) -> Result<Extracted, ExtractError> {
        // An extraction that has ended already left its result.
        let _ = self.chunks.finish().await;
        self.result.await.unwrap_or_else(|_| {
            Err(ExtractError::Thread(std::io::Error::other("the thread stopped without a result")))
        })
    }
    /// Gives the layer up and waits until nothing is written beneath the root any more.
    pub async fn abandon(self) {
        drop(self.chunks);
        // Whatever came of it is not wanted.
        let _ = self.result.await;
    }
}
