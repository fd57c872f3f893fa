//! What happens while images are moved, as events, and the sink that takes them. Knows no terminal.

use std::time::Duration;

use serde::Serialize;

use crate::failure::{Diagnostic, Notice};
use crate::oci::Digest;

/// One thing that happened. Serialised as it stands, it is the JSON progress format of README.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The transfer of one image begins.
    Started {
        /// The reference as normalised, `docker.io/library/busybox:latest`.
        image: String,
    },
    /// The reference's descriptor is known.
    Resolved {
        /// The reference.
        image: String,
        /// Digest of the index or manifest it points to.
        digest: Digest,
        /// Registry host that answered.
        host: String,
    },
    /// The layers are known.
    Planned {
        /// The reference.
        image: String,
        /// Platforms chosen, `linux/amd64`.
        platforms: Vec<String>,
        /// Blobs of the image (configurations and layers), each counted once.
        blobs: usize,
        /// Their total size.
        total_bytes: u64,
    },
    /// A blob enters a state.
    Blob {
        /// Which blob.
        digest: Digest,
        /// What it is in its image.
        kind: BlobKind,
        /// Its size.
        size_bytes: u64,
        /// The state that begins.
        state: BlobState,
        /// With `Downloading` and `Uploading`: where that begins, because an earlier run left that
        /// much. A blob that is moved afresh enters the state again, and its count starts over.
        resumed_bytes: u64,
    },
    /// More bytes of a blob arrived from the network. Frequent: a sink must only count.
    Received {
        /// Which blob.
        digest: Digest,
        /// How many since the last event.
        delta_bytes: u64,
    },
    /// More bytes of a blob went out to where the image is brought. As frequent as `Received`.
    Sent {
        /// Which blob.
        digest: Digest,
        /// How many since the last event.
        delta_bytes: u64,
    },
    /// One request to a registry host ended.
    Attempt(HostAttempt),
    /// A host has not answered a request yet.
    Waiting {
        /// `host[:port]` asked.
        host: String,
        /// What was asked, as in [`HostAttempt::request`].
        request: String,
        /// For how long, in milliseconds.
        #[serde(rename = "waited_ms", serialize_with = "milliseconds")]
        waited: Duration,
    },
    /// Something the user should know that fails nothing.
    Warning(#[serde(serialize_with = "Notice::as_event")] Notice),
    /// An image is in place under all its names.
    Finished(TransferReport),
    /// An image failed.
    Failed {
        /// The reference.
        image: String,
        /// Why: as JSON, the members `error`, `failure`, `exit_code` and `hint`.
        #[serde(flatten)]
        diagnostic: Diagnostic,
    },
}

/// A blob's part in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlobKind {
    /// Image index.
    Index,
    /// Image manifest.
    Manifest,
    /// Image configuration.
    Config,
    /// File system layer.
    Layer,
}

/// What is being done with a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlobState {
    /// Known, not begun.
    Waiting,
    /// Bytes are coming in.
    Downloading,
    /// Bytes are going out.
    Uploading,
    /// It is there, and is read to be compared.
    Reading,
    /// All bytes are there; the store checks and commits.
    Verifying,
    /// All is there; the layers below have to be in place first.
    AwaitingLowerLayers,
    /// The layer is being made a snapshot.
    Unpacking,
    /// Finished by this run.
    Done,
    /// Was there already.
    Exists,
}

/// One request to one host, for errors, `-v`, `explain` and JSON alike.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HostAttempt {
    /// `host[:port]` contacted; never user info.
    pub host: String,
    /// What was asked, `HEAD manifests/3.6`, `GET blobs/sha256:… bytes 0-8388607`.
    pub request: String,
    /// `200 OK`, `connection refused`, …
    pub outcome: String,
    /// How long it took, in milliseconds.
    #[serde(rename = "duration_ms", serialize_with = "milliseconds")]
    pub duration: Duration,
}

fn milliseconds<S: serde::Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// What is done with images: the word for it in what is told of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verb {
    /// From registries into a store or a layout.
    #[default]
    Pull,
    /// Into registries.
    Push,
    /// Into archives and layouts.
    Save,
    /// Out of archives and layouts.
    Load,
    /// From anywhere to anywhere.
    Copy,
}

impl Verb {
    /// `pulled`: what can be said of an image when it is done.
    pub fn participle(self) -> &'static str {
        match self {
            Self::Pull => "pulled",
            Self::Push => "pushed",
            Self::Save => "saved",
            Self::Load => "loaded",
            Self::Copy => "copied",
        }
    }
}

/// Whether whom an image is for finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Whether it does.
    pub seen: bool,
    /// Why not; or what becomes of pods all the same.
    pub reason: Option<String>,
}

/// What a finished transfer of one image did.
#[derive(Debug, Clone, Serialize)]
pub struct TransferReport {
    /// The reference.
    pub image: String,
    /// Digest of the index or manifest it points to.
    pub digest: Digest,
    /// Bytes that came over the network for this image.
    pub fetched_bytes: u64,
    /// Bytes of the image that were there already.
    pub reused_bytes: u64,
    /// Bytes that went out over the network for this image.
    pub sent_bytes: u64,
    /// What the layers that were unpacked for this image are, unpacked, in bytes.
    pub unpacked_bytes: u64,
    /// Wall-clock time, in milliseconds.
    #[serde(rename = "duration_ms", serialize_with = "milliseconds")]
    pub duration: Duration,
    /// Whether the kubelet finds it; `None` where there is none to ask.
    pub kubelet: Option<Seen>,
}

/// Takes events, from any thread. Must not block.
pub trait Sink: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);
}
