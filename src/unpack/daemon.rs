//! Unpacking by containerd itself: it reads the stored blob back, inflates it and applies it.

use super::active::{ActiveSnapshot, ActiveSnapshots};
use super::ground::Ground;
use super::known::Unpacked;
use super::measure;
use super::remarks::Remarks;
use super::room::{Allowance, has_room_at};
use super::{Error, Layer};
use crate::containerd::{self, Client, Committed, ContentStore, Diff, Mount};
use crate::oci::DiffId;

/// What of containerd's words says that a blob is no archive, rather than that unpacking it failed
/// for reasons of the machine.
const MALFORMED: [&str; 7] =
    ["gzip:", "archive/tar:", "flate:", "zstd:", "unexpected EOF", "magic number", "unrecognized"];

/// What of its words says that an archive holds what no containerd makes files of: entries of other
/// types, and whiteouts of what the layer itself has brought.
const IMPOSSIBLE: [&str; 2] = ["unhandled tar header type", "failed to convert whiteout file"];

/// Its words for the type `S`, a sparse file in old GNU tar's way.
const OLD_SPARSE: &str = "unhandled tar header type 83";

/// Unpacks layers whose blobs are in the content store.
#[derive(Debug, Clone)]
pub(super) struct DaemonUnpacker {
    active: ActiveSnapshots,
    remarks: Remarks,
    allowance: Allowance,
    content: ContentStore,
    diff: Diff,
}

impl DaemonUnpacker {
    /// An unpacker that fills `active` snapshots, with as much as `allowance` has where it is limited.
    pub(super) fn new(
        client: &Client,
        active: ActiveSnapshots,
        remarks: Remarks,
        allowance: Allowance,
    ) -> Self {
        let (content, diff) = (client.content(), client.diff());
        Self { active, remarks, allowance, content, diff }
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
        let Some(active) = active else { return Ok(Unpacked::default()) };
        match self.fill(layer, &active).await {
            Ok(bytes) => Ok(match active.commit(layer).await? {
                Committed::Done => Unpacked { ground: None, bytes: Some(bytes) },
                Committed::Exists => Unpacked::default(),
            }),
            Err(error) => {
                active.remove().await;
                Err(error)
            }
        }
    }

    /// Has it filled, and returns how many bytes the layer's archive is.
    async fn fill(&self, layer: &Layer, active: &ActiveSnapshot) -> Result<u64, Error> {
        if self.allowance.is_limited() {
            measure::take_of_limit(layer, &self.content, &self.allowance).await?;
        }
        let applied = self.diff.apply(&layer.descriptor, &active.mounts).await;
        let applied = applied.map_err(|error| explain(layer, &active.mounts, error))?;
        layer.check(DiffId(applied.digest))?;
        self.remarks.unpacked(layer);
        Ok(applied.size)
    }
}

/// What the daemon's refusal to unpack `layer` into `mounts` means.
fn explain(layer: &Layer, mounts: &[Mount], error: containerd::Error) -> Error {
    let Some(reply) = error.reply() else { return Error::Containerd(error) };
    let said = |phrase: &str| reply.message.contains(phrase);
    let layer_digest = layer.descriptor.digest;
    if said("setxattr") && (said("argument list too long") || is_misnamed(&error, mounts)) {
        return Error::Attribute { layer: layer_digest, source: error };
    }
    let containerd::Error::Refused { .. } = error else { return Error::Containerd(error) };
    if said(OLD_SPARSE) {
        Error::OldSparse { layer: layer_digest, source: error }
    } else if IMPOSSIBLE.iter().any(|phrase| said(phrase)) || is_missing_target(&reply.message) {
        Error::Impossible { layer: layer_digest, source: error }
    } else if MALFORMED.iter().any(|phrase| said(phrase)) {
        Error::Malformed {
            layer: layer_digest,
            media_type: layer.descriptor.media_type.to_string(),
            source: error,
        }
    } else {
        Error::Containerd(error)
    }
}

/// Whether a disk that is said to be full is not.
fn is_misnamed(error: &containerd::Error, mounts: &[Mount]) -> bool {
    matches!(error, containerd::Error::DiskFull { .. })
        && Ground::of(mounts).is_ok_and(|ground| has_room_at(&ground.upper))
}

/// Go's words for a hard link to what is not there, `link OLD NEW: no such file or directory`.
fn is_missing_target(message: &str) -> bool {
    message.ends_with("no such file or directory")
        && message.split(": ").any(|part| part.starts_with("link "))
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;
    use crate::containerd::Labels;
    use crate::failure::{Diagnose as _, Failure};
    use crate::oci::{Descriptor, Digest, LayerIdentity, MediaType};

    fn failure_of(message: &str) -> (Error, Failure) {
        let layer = Layer {
            descriptor: Descriptor::new(MediaType::new("x"), Digest::of(b""), 0),
            identity: LayerIdentity::of_layers(&[DiffId(Digest::of(b""))])[0],
            labels: Labels::new(),
        };
        let error = containerd::Error::from_status("unpack", &Status::unknown(message));
        let explained = explain(&layer, &[], error);
        let failure = explained.failure();
        (explained, failure)
    }

    #[test]
    fn blames_the_image_for_what_no_daemon_unpacks_and_for_nothing_else() {
        for (message, failure) in [
            ("unhandled tar header type 55", Failure::Verification),
            ("unhandled tar header type 83", Failure::Containerd),
            ("failed to convert whiteout file \".wh.a\": file exists", Failure::Verification),
            ("link /s/fs/a /s/fs/b: no such file or directory", Failure::Verification),
            ("mount callback failed on /t: archive/tar: invalid tar header", Failure::Verification),
            ("open /s/fs/a: no such file or directory", Failure::Containerd),
            ("failed to setxattr \"/s/x\" for key \"k\": argument list too long", Failure::Other),
            // Where the file system can't be asked, the daemon is believed.
            (
                "failed to setxattr \"/s/x\" for key \"k\": no space left on device",
                Failure::DiskFull,
            ),
            ("write /s/fs/a: no space left on device", Failure::DiskFull),
        ] {
            let (explained, kind) = failure_of(message);
            assert_eq!(kind, failure, "{message}");
            assert!(explained.hint().is_some() || kind == Failure::Containerd, "{message}");
        }
    }
}
