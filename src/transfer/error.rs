//! Why an image could not be pulled.

use std::sync::Arc;

use indicatif::BinaryBytes;

use super::forecast::FileSystem;
use super::held::Lack;
use crate::failure::{Diagnose, Failure};
use crate::images::{self, NoPlatform};
use crate::oci::{Artifact, Digest, ManifestError};
use crate::{archive, containerd, layout, registry, unpack, verifiers};

/// What to do about an image that is not all there.
const BRING_IT: &str = "pullctl pull --policy missing brings what is missing";

/// What to do about an image that was not finished.
const GO_ON: &str = "run the same command again: it goes on where it stopped";

/// Why an image could not be pulled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry side.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The daemon's side.
    #[error(transparent)]
    Containerd(#[from] containerd::Error),
    /// Making a layer a snapshot.
    #[error(transparent)]
    Unpack(#[from] unpack::Error),
    /// The layout directory's side.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// What images a namespace has.
    #[error(transparent)]
    Images(#[from] images::Error),
    /// An archive that is written.
    #[error(transparent)]
    Written(#[from] archive::WriteError),
    /// An archive that is read.
    #[error(transparent)]
    Archive(#[from] archive::ReadError),
    /// A document is not what it should be.
    #[error("cannot use {digest}")]
    Manifest {
        /// The document.
        digest: Digest,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// The manifest describes something else.
    #[error("{0} is no container image")]
    NotAnImage(Artifact),
    /// The node's owner does not want it.
    #[error(transparent)]
    Verifier(#[from] verifiers::Error),
    /// Nothing for the platform.
    #[error("no image for {wanted}; there is {}", list(available))]
    NoPlatform {
        /// What was asked for.
        wanted: String,
        /// What the index has.
        available: Vec<String>,
    },
    /// Indexes nested beyond reason.
    #[error("index {0} is nested too deeply")]
    IndexTooDeep(Digest),
    /// An index of unreasonable length.
    #[error("the index lists more than {0} manifests")]
    TooManyManifests(usize),
    /// A manifest or configuration beyond reason.
    #[error("document {digest} has {size_bytes} bytes, more than is accepted")]
    DocumentTooLarge {
        /// Which one.
        digest: Digest,
        /// Its size by its descriptor.
        size_bytes: u64,
    },
    /// Bytes that do not hash to the blob's digest, from every host.
    #[error("blob {digest} arrives damaged from {}", list(hosts))]
    WrongBlob {
        /// The blob.
        digest: Digest,
        /// The hosts that gave the last bytes.
        hosts: Vec<String>,
    },
    /// Bytes in a store that do not hash to the blob's digest.
    #[error("blob {digest} is damaged in {place}")]
    Damaged {
        /// The blob.
        digest: Digest,
        /// The store.
        place: String,
    },
    /// No image of that name.
    #[error("there is no image {name} in {place}")]
    NoImage {
        /// The name asked for.
        name: String,
        /// The store.
        place: String,
    },
    /// An image of which a part is not there, as is usual for platforms other than the node's.
    #[error("{digest} of the image is not in {place}")]
    Incomplete {
        /// The document or blob.
        digest: Digest,
        /// The store.
        place: String,
    },
    /// Platforms of an image of which a part is not there.
    #[error("{place} has not all of {name}: parts for {} are missing", list(platforms))]
    NotAllThere {
        /// The image.
        name: String,
        /// The namespace that it is in, where it is in one.
        namespace: Option<String>,
        /// Those platforms.
        platforms: Vec<String>,
        /// The store.
        place: String,
    },
    /// The destination is named by a digest, and the image has another.
    #[error("the image is {digest}, and is to be called {wanted}")]
    OtherTarget {
        /// What the name says.
        wanted: Digest,
        /// What the image is.
        digest: Digest,
    },
    /// A tag that stands for something else than when it was locked.
    #[error("the tag was locked to {locked}, and has moved on to {now}")]
    Moved {
        /// What the lock says.
        locked: Digest,
        /// What the registry says.
        now: Digest,
    },
    /// Bytes that do not hash to the blob's digest, before they are sent.
    #[error("the bytes of the blob are not {0}")]
    Mismatch(Digest),
    /// The tag that stands for a list of referrers stands for something else.
    #[error("{0} is no list of what refers to an image")]
    NoList(String),
    /// A document could not be made.
    #[error("cannot write an index: {0}")]
    Unwritable(String),
    /// An image of which several blobs are not there.
    #[error("{} blobs of the image are not in {place}\n{}", digests.len(), lines(digests))]
    Lacking {
        /// The blobs.
        digests: Vec<Digest>,
        /// The store.
        place: String,
    },
    /// The sink has not all bytes that it was given: an upload's session ended, or its process came
    /// anew. Opening the blob again shows how many it has.
    #[error("bytes of the blob were lost on their way")]
    Lost(#[source] Box<Error>),
    /// What several images failed for.
    #[error(transparent)]
    Shared(Arc<Error>),
    /// A task ended without a result.
    #[error("a download task stopped")]
    Task(#[source] tokio::task::JoinError),
    /// An image that is not all there, where none may be brought.
    #[error("{name} is not all there\n{}", lines(lacks))]
    NotPresent {
        /// What was asked for.
        name: String,
        /// What is missing.
        lacks: Vec<Lack>,
    },
    /// The images are more than there is room for.
    #[error("the images do not fit: nothing was written\n{}", lines(&told(short)))]
    NoRoom {
        /// The file systems that are too small.
        short: Vec<FileSystem>,
        /// Room that could be had by removing what nobody uses.
        reclaimable_bytes: Option<u64>,
    },
    /// Another image failed, and that was to end the run.
    #[error("not finished, since another image failed")]
    Stopped,
    /// The run is over.
    #[error("the pull was ended")]
    Closed,
}

impl From<NoPlatform> for Error {
    fn from(NoPlatform { wanted, available }: NoPlatform) -> Self {
        Self::NoPlatform { wanted, available }
    }
}

fn list(items: &[String]) -> String {
    if items.is_empty() { "nothing".to_owned() } else { items.join(", ") }
}

fn lines(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// `/var/lib/containerd: 1.20 GiB are to come, 3.00 GiB are free, and 2.50 GiB of them stay so (5 % of it)`.
fn told(short: &[FileSystem]) -> Vec<String> {
    let bytes = |count| BinaryBytes(count).to_string();
    short
        .iter()
        .map(|found| {
            format!(
                "{}: {} are to come, {} are free, and {} stay so ({})",
                found.path.display(),
                bytes(found.needed_bytes),
                bytes(found.free_bytes),
                bytes(found.reserved_bytes),
                found.reserved_for
            )
        })
        .collect()
}

/// How to bring the platforms of an image that are not all there, with what names the `namespace`.
fn all_of(name: &str, namespace: &str, platforms: &[String]) -> String {
    let wanted: Vec<_> =
        platforms.iter().map(|platform| format!("--platform {platform}")).collect();
    let wanted = wanted.join(" ");
    format!(
        "pullctl {namespace}pull --no-unpack {wanted} {name} brings them; or name a --platform that is there"
    )
}

/// How to get the room that is missing, where removing what nobody uses gives as much.
fn room_from(reclaimable_bytes: Option<u64>) -> String {
    match reclaimable_bytes {
        Some(bytes) if bytes > 0 => format!(
            "pullctl rm --unused would free {}; or try all the same with --no-space-check",
            BinaryBytes(bytes)
        ),
        _ => "free some room, or try all the same with --no-space-check".to_owned(),
    }
}

impl Diagnose for Error {
    fn failure(&self) -> Failure {
        match self {
            Self::Registry(error) => error.failure(),
            Self::Containerd(error) => error.failure(),
            Self::Unpack(error) => error.failure(),
            Self::Layout(error) => error.failure(),
            Self::Images(error) => error.failure(),
            Self::Written(error) => error.failure(),
            Self::Archive(error) => error.failure(),
            Self::Verifier(error) => error.failure(),
            Self::Lost(error) => error.failure(),
            Self::Shared(error) => error.failure(),
            Self::NoPlatform { .. } => Failure::NoPlatform,
            Self::NoImage { .. }
            | Self::NotAllThere { .. }
            | Self::Incomplete { .. }
            | Self::Lacking { .. }
            | Self::NotPresent { .. } => Failure::NotFound,
            Self::NoRoom { .. } => Failure::DiskFull,
            Self::OtherTarget { .. } => Failure::Usage,
            Self::Manifest { .. }
            | Self::NotAnImage(_)
            | Self::IndexTooDeep(_)
            | Self::TooManyManifests(_)
            | Self::DocumentTooLarge { .. }
            | Self::WrongBlob { .. }
            | Self::Mismatch(_)
            | Self::Moved { .. }
            | Self::NoList(_)
            | Self::Damaged { .. } => Failure::Verification,
            Self::Unwritable(_) | Self::Task(_) | Self::Stopped | Self::Closed => Failure::Other,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.hint(),
            Self::Containerd(error) => error.hint(),
            Self::Unpack(error) => error.hint(),
            Self::Layout(error) => error.hint(),
            Self::Images(error) => error.hint(),
            Self::Written(error) => error.hint(),
            Self::Archive(error) => error.hint(),
            Self::Verifier(error) => error.hint(),
            Self::Lost(error) => error.hint(),
            Self::Shared(error) => error.hint(),
            Self::NoPlatform { available, .. } => available
                .first()
                .map(|first| format!("choose one of them, for instance --platform {first}")),
            Self::Manifest { source: ManifestError::Html { .. }, .. } => Some(
                "a proxy or login page answers in the registry's place: check HTTPS_PROXY and the host name".into(),
            ),
            Self::Manifest { source: ManifestError::Schema1, .. } => {
                Some("push the image again with a current docker, or copy it with skopeo --format oci".into())
            }
            Self::Manifest { .. } | Self::DocumentTooLarge { .. } => {
                Some("the image was pushed broken: ask its publisher to push it again".into())
            }
            Self::WrongBlob { .. } => Some(
                "a proxy or mirror between here and the registry alters or truncates data: try another mirror or network".into(),
            ),
            Self::Damaged { .. } => {
                Some("the disk or a program has altered it: remove the image there, and pull or copy it again".into())
            }
            Self::NoImage { .. } => {
                Some("look for its name among those that are there, for instance with pullctl images".into())
            }
            Self::Incomplete { .. } | Self::Lacking { .. } => Some(
                "pull or save the image again for the platforms that are wanted: what was unpacked or is for another machine may have no content".into(),
            ),
            Self::NotAllThere { name, namespace, platforms, .. } => {
                let namespace = namespace.iter().map(|it| format!("-n {it} ")).collect::<String>();
                Some(all_of(name, &namespace, platforms))
            }
            Self::NotPresent { .. } => Some(BRING_IT.to_owned()),
            Self::NoRoom { reclaimable_bytes, .. } => Some(room_from(*reclaimable_bytes)),
            Self::Stopped => Some(GO_ON.to_owned()),
            Self::OtherTarget { .. } => {
                Some("name the destination by a tag, or leave the digest out".into())
            }
            Self::NotAnImage(artifact) => Some(format!(
                "it is for another tool: {}…; --to oci:DIR stores it as it is, --no-unpack keeps it in containerd",
                artifact.tool()
            )),
            Self::IndexTooDeep(_) | Self::TooManyManifests(_) => {
                Some("pull the image that is wanted by its digest".into())
            }
            Self::Moved { .. } => Some(
                "pull --locked takes what was locked; pullctl lock writes down what is there now"
                    .to_owned(),
            ),
            Self::Mismatch(_) | Self::NoList(_) | Self::Unwritable(_) | Self::Task(_) | Self::Closed => None,
        }
    }
}
