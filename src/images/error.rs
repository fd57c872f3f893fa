//! Why images could not be listed or removed.

use crate::containerd;
use crate::failure::{Diagnose, Failure};
use crate::oci::Digest;

/// Why images could not be listed or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such name, digest or ID.
    #[error("no such image in containerd's namespace {namespace}: {}", missing.join(", "))]
    NotFound {
        /// Where it was looked for.
        namespace: String,
        /// What was asked for.
        missing: Vec<String>,
        /// Other namespaces that have it, as far as they were looked at.
        elsewhere: Vec<String>,
        /// Names that are there and may have been meant.
        near: Vec<String>,
    },
    /// A name with a digest for an image that has another one.
    #[error("the image's digest is {digest}, which {reference} is no name for")]
    OtherDigest {
        /// The name.
        reference: String,
        /// Of the image.
        digest: Digest,
    },
    /// Images that somebody wants to keep.
    #[error("{} {} pinned: nothing was removed", .0.join(", "), if .0.len() == 1 { "is" } else { "are" })]
    Pinned(Vec<String>),
    /// The beginning of several IDs.
    #[error("{0} is the beginning of several images' IDs")]
    Ambiguous(String),
    /// The daemon refused.
    #[error(transparent)]
    Containerd(#[from] containerd::Error),
}

impl Diagnose for Error {
    fn failure(&self) -> Failure {
        match self {
            Self::NotFound { .. } => Failure::NotFound,
            Self::Ambiguous(_) | Self::OtherDigest { .. } | Self::Pinned(_) => Failure::Usage,
            Self::Containerd(error) => error.failure(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { namespace, missing, elsewhere, near } => {
                Some(match elsewhere.first() {
                    None if !near.is_empty() => {
                        format!(
                            "there is {}; pullctl -n {namespace} images lists all",
                            near.join(", ")
                        )
                    }
                    Some(other) => {
                        let (image, all) = (missing.join(" "), elsewhere.join(", "));
                        format!(
                            "there is one in {all}: pullctl -n {namespace} copy \
                         containerd://{other}/{image} containerd:{image}"
                        )
                    }
                    None => format!("pullctl -n {namespace} images lists what is there"),
                })
            }
            Self::OtherDigest { .. } => {
                Some("give it a tag, or a name without a digest".to_owned())
            }
            Self::Pinned(names) => {
                Some(format!("pullctl unpin {}, or rm --force", names.join(" ")))
            }
            Self::Ambiguous(_) => Some("write more of its digits".to_owned()),
            Self::Containerd(error) => error.hint(),
        }
    }
}
