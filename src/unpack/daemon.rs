//! Unpacking by containerd itself: it reads the stored blob back, inflates it and applies it.

use super::active::{ActiveSnapshot, ActiveSnapshots};
use super::{Error, Layer, Unpacked};
use crate::containerd::{self, Client, Diff};
use crate::oci::DiffId;

/// What of containerd's words says that a blob is no archive, rather than that unpacking it failed
/// for reasons of the machine.
const MALFORMED: [&str; 7] =
    ["gzip:", "archive/tar:", "flate:", "zstd:", "unexpected EOF", "magic number", "unrecognized"];

/// Unpacks layers whose blobs are in the content store.
#[derive(Debug, Clone)]
pub(super) struct DaemonUnpacker {
    active: ActiveSnapshots,
    diff: Diff,
}

impl DaemonUnpacker {
    /// An unpacker that fills `active` snapshots.
    pub(super) fn new(client: &Client, active: ActiveSnapshots) -> Self {
        Self { active, diff: client.diff() }
    }

    /// Makes the snapshot of `layer`, whose parent's must be committed, out of what is `prepared` for
    /// it, if that is so already. Labels of the blob are the caller's.
    ///
    /// # Errors
    /// [`Error`]; nothing is left of the attempt then, unless the daemon is gone: what it had begun
    /// goes with the lease.
    pub(super) async fn unpack(
        &self,
        layer: &Layer,
        prepared: Option<ActiveSnapshot>,
    ) -> Result<Unpacked, Error> {
        let active = match prepared {
            None => self.active.on_parent(layer).await?,
            prepared => prepared,
        };
        let Some(active) = active else { return Ok(Unpacked::Exists) };
        match self.fill(layer, &active).await {
            Ok(()) => active.commit(layer).await,
            Err(error) => {
                active.remove().await;
                Err(error)
            }
        }
    }

    async fn fill(&self, layer: &Layer, active: &ActiveSnapshot) -> Result<(), Error> {
        let applied = self.diff.apply(&layer.descriptor, &active.mounts).await;
        let actual = DiffId(applied.map_err(|error| explain(layer, error))?.digest);
        layer.check(actual)
    }
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
