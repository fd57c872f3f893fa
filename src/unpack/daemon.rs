//! Unpacking by containerd itself: it reads the stored blob back, inflates it and applies it.

use std::time::SystemTime;

use tracing::debug;

use super::{Error, Layer, Unpacked};
use crate::containerd::labels::SNAPSHOT_REFERENCE;
use crate::containerd::{self, Client, Committed, Diff, Labels, Mount, Prepared, Snapshots};
use crate::oci::DiffId;

/// How often a snapshot is prepared when the daemon says that it exists, yet it can't be found: its
/// removal and our asking may cross once, hardly twice.
const PREPARE_TRIES: usize = 3;

/// What of containerd's words says that a blob is no archive, rather than that unpacking it failed
/// for reasons of the machine.
const MALFORMED: [&str; 7] =
    ["gzip:", "archive/tar:", "flate:", "zstd", "unexpected EOF", "magic number", "unrecognized"];

/// Unpacks layers whose blobs are in the content store.
#[derive(Debug, Clone)]
pub struct DaemonUnpacker {
    snapshots: Snapshots,
    diff: Diff,
}

/// An active snapshot that is being filled.
struct Extraction {
    key: String,
    mounts: Vec<Mount>,
}

impl DaemonUnpacker {
    /// An unpacker into the snapshotter called `snapshotter`.
    pub fn new(client: &Client, snapshotter: &str) -> Self {
        Self { snapshots: client.snapshots(snapshotter), diff: client.diff() }
    }

    /// Makes the snapshot of `layer`, whose parent's must be committed, with `labels`. Labels of the
    /// blob are the caller's.
    ///
    /// # Errors
    /// [`Error`]; nothing is left of the attempt then, unless the daemon is gone: what it had begun
    /// goes with the lease.
    pub async fn unpack(&self, layer: &Layer, labels: &Labels) -> Result<Unpacked, Error> {
        let mut labels = labels.clone();
        labels.insert(SNAPSHOT_REFERENCE.to_owned(), layer.chain_id.to_string());
        let Some(extraction) = self.prepare(layer, &labels).await? else {
            return Ok(Unpacked::Exists);
        };
        let outcome = self.fill_and_commit(layer, &extraction, &labels).await;
        if !matches!(outcome, Ok(Unpacked::Done)) {
            self.clean_up(&extraction).await;
        }
        outcome
    }

    /// Prepares the extraction of `layer`; `None` when its snapshot is committed.
    async fn prepare(&self, layer: &Layer, labels: &Labels) -> Result<Option<Extraction>, Error> {
        let chain = layer.chain_id.to_string();
        let parent = layer.parent.map(|parent| parent.to_string());
        for _ in 0..PREPARE_TRIES {
            let key = extraction_key(&chain);
            match self.snapshots.prepare(&key, parent.as_deref(), labels).await? {
                Prepared::Mounts(mounts) => return Ok(Some(Extraction { key, mounts })),
                Prepared::Exists if self.snapshots.stat(&chain).await?.is_some() => {
                    return Ok(None);
                }
                Prepared::Exists => debug!(chain, "the snapshot exists, yet is not found"),
            }
        }
        Err(Error::Undecided { layer: layer.descriptor.digest })
    }

    async fn fill_and_commit(
        &self,
        layer: &Layer,
        extraction: &Extraction,
        labels: &Labels,
    ) -> Result<Unpacked, Error> {
        let applied = self.diff.apply(&layer.descriptor, &extraction.mounts).await;
        let actual = DiffId(applied.map_err(|error| explain(layer, error))?.digest);
        if actual != layer.diff_id {
            return Err(Error::DiffId {
                layer: layer.descriptor.digest,
                expected: layer.diff_id,
                actual,
            });
        }
        let chain = layer.chain_id.to_string();
        match self.snapshots.commit(&chain, &extraction.key, labels).await? {
            Committed::Done => Ok(Unpacked::Done),
            Committed::Exists => Ok(Unpacked::Exists),
        }
    }

    async fn clean_up(&self, extraction: &Extraction) {
        if let Err(error) = self.snapshots.remove(&extraction.key).await {
            debug!(key = extraction.key, %error, "an unfinished snapshot is left to the lease");
        }
    }
}

/// Unique among all clients that unpack `chain` at the same time, in the form that containerd's own
/// clients use.
fn extraction_key(chain: &str) -> String {
    let nanoseconds = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    format!("extract-{nanoseconds}-{:08x} {chain}", fastrand::u32(..))
}

fn explain(layer: &Layer, error: containerd::Error) -> Error {
    match &error {
        containerd::Error::Refused { source, .. }
            if MALFORMED.iter().any(|phrase| source.message.contains(phrase)) =>
        {
            Error::Malformed {
                layer: layer.descriptor.digest,
                media_type: layer.descriptor.media_type.to_string(),
                source: error,
            }
        }
        _ => Error::Containerd(error),
    }
}
