//! Why images could not be listed or removed.

use crate::containerd;
use crate::failure::{Diagnose, Failure};

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
    },
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
            Self::Ambiguous(_) => Failure::Usage,
            Self::Containerd(error) => error.failure(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { namespace, .. } => {
                Some(format!("pullctl -n {namespace} images lists what is there"))
            }
            Self::Ambiguous(_) => Some("write more of its digits".to_owned()),
            Self::Containerd(error) => error.hint(),
        }
    }
}
