//! What can go wrong before a subcommand's own work begins.

use std::io;
use std::path::PathBuf;

use crate::failure::{Diagnose, Failure};
use crate::reference::ReferenceError;

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine has no threads or file descriptors left.
    #[error("cannot start")]
    Runtime(#[source] io::Error),
    /// A list of references can't be read.
    #[error("cannot read the list of images {}", path.display())]
    List {
        /// The file, `-` for standard input.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A line of a list is no reference.
    #[error("{}:{line}: not an image reference", path.display())]
    ListLine {
        /// The file, `-` for standard input.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The rule that it breaks.
        source: ReferenceError,
    },
    /// The lists named on the command line hold nothing.
    #[error("no image to pull: the lists are empty")]
    NoImages,
    /// `-u` with images of several registries: a password must go to one of them only.
    #[error("-u is for the images of one registry, but there are images of {0} and {1}")]
    SeveralRegistries(String, String),
    /// `-u :PASSWORD`.
    #[error("-u names no user")]
    NoUser,
    /// The password can't be asked for.
    #[error("cannot read the password for {username}")]
    Password {
        /// Whose password.
        username: String,
        /// The system's reason.
        source: io::Error,
    },
    /// Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

impl Diagnose for Error {
    fn failure(&self) -> Failure {
        match self {
            Self::Runtime(_) | Self::Password { .. } => Failure::Other,
            Self::List { .. }
            | Self::ListLine { .. }
            | Self::NoImages
            | Self::SeveralRegistries(..)
            | Self::NoUser => Failure::Usage,
            Self::Interrupted => Failure::Interrupted,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::ListLine { source, .. } => source.hint(),
            Self::NoImages => Some("put one reference on each line".into()),
            Self::SeveralRegistries(..) => {
                Some("pull the images of each registry by a command of its own".into())
            }
            Self::NoUser => Some("write -u USER, or -u USER:PASSWORD".into()),
            Self::Password { .. } => Some("where no terminal is, write -u USER:PASSWORD".into()),
            Self::Interrupted => {
                Some("run the same command again: the pull goes on where it stopped".into())
            }
            Self::Runtime(_) | Self::List { .. } => None,
        }
    }
}
