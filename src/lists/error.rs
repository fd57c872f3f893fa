//! Why a list can't be read. No message quotes more of it than an image's name: a stream of manifests
//! may hold secrets.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::{Diagnose, Failure};
use crate::platform::PlatformError;
use crate::reference::ReferenceError;

/// Where something stands: `file:line`, `-` for standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Counted from 1.
    pub line: usize,
}

impl Place {
    /// A line of a file.
    pub fn new(path: &Path, line: usize) -> Self {
        Self { path: path.to_owned(), line }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}

/// Why a list can't be read. Nothing of it is to be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No bytes came.
    #[error("cannot read the list of images {}", path.display())]
    Unreadable {
        /// The file, `-` for standard input.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Longer than any list.
    #[error("cannot read the list of images {}: longer than {max_mib} MiB", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The bound.
        max_mib: u64,
    },
    /// An archive or the like.
    #[error("{} is no list of images but {what}", path.display())]
    NoText {
        /// The file.
        path: PathBuf,
        /// `a gzip file`.
        what: &'static str,
    },
    /// What stands where an image is named is no reference.
    #[error("{place}: not an image reference")]
    Reference {
        /// Where.
        place: Place,
        /// As it was written.
        written: String,
        /// The rule that it breaks.
        source: ReferenceError,
    },
    /// A word behind a reference.
    #[error("{place}: {word:?} is no option of a line")]
    Option {
        /// Where.
        place: Place,
        /// The word.
        word: String,
    },
    /// `platform=` of none.
    #[error("{place}: not a platform")]
    Platform {
        /// Where.
        place: Place,
        /// Why.
        source: PlatformError,
    },
    /// The file does not parse.
    #[error("{place}:{column}: not valid YAML: {problem}")]
    Yaml {
        /// Where it breaks.
        place: Place,
        /// Counted from 1.
        column: usize,
        /// The parser's word.
        problem: String,
    },
    /// `{{ .Values.image }}`.
    #[error("{place}: a template that was not rendered")]
    Template {
        /// Where.
        place: Place,
    },
    /// A container without an image.
    #[error("{place}: {field} of {object} has no image")]
    NoImage {
        /// Where.
        place: Place,
        /// `container app`.
        field: String,
        /// `Deployment/web`.
        object: String,
    },
    /// More than anybody writes.
    #[error("{place}: {problem}")]
    TooMuch {
        /// Where the bound was met.
        place: Place,
        /// What is too much.
        problem: String,
    },
    /// kubeadm's configuration, which says where images are and not which.
    #[error(
        "{place}: a ClusterConfiguration (imageRepository {repository}, kubernetesVersion {version}) \
         does not name images itself"
    )]
    Cluster {
        /// Where.
        place: Place,
        /// `imageRepository`, or kubeadm's own.
        repository: String,
        /// `kubernetesVersion`, or kubeadm's own.
        version: String,
    },
    /// kubeadm, which was asked, names none.
    #[error("{place}: {} {problem}", program.display())]
    Kubeadm {
        /// Where the configuration stands.
        place: Place,
        /// The program.
        program: PathBuf,
        /// How it went.
        problem: String,
    },
    /// A lock that no `lock` wrote.
    #[error("{place}: {problem}")]
    Lock {
        /// Where.
        place: Place,
        /// What is wrong.
        problem: String,
    },
    /// A Secret of logins that holds none.
    #[error("{place}: the Secret {name} {problem}")]
    Secret {
        /// Where.
        place: Place,
        /// Its name.
        name: String,
        /// What is wrong; nothing of its content.
        problem: &'static str,
    },
}

impl Error {
    /// The file, or its line, that the error is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Unreadable { path, .. }
            | Self::TooLong { path, .. }
            | Self::NoText { path, .. } => path,
            Self::Reference { place, .. }
            | Self::Option { place, .. }
            | Self::Platform { place, .. }
            | Self::Yaml { place, .. }
            | Self::Template { place }
            | Self::NoImage { place, .. }
            | Self::TooMuch { place, .. }
            | Self::Cluster { place, .. }
            | Self::Kubeadm { place, .. }
            | Self::Lock { place, .. }
            | Self::Secret { place, .. } => &place.path,
        }
    }
}

impl Diagnose for Error {
    fn failure(&self) -> Failure {
        Failure::Usage
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unreadable { source, .. } => match source.kind() {
                io::ErrorKind::IsADirectory => {
                    "-f takes files: name each of those in it, or cat DIR/*.yaml | pullctl pull -f -"
                }
                io::ErrorKind::NotFound => "check its path; -f - reads standard input",
                io::ErrorKind::PermissionDenied => "run pullctl as somebody who may read it",
                _ => return None,
            },
            Self::TooLong { .. } | Self::TooMuch { .. } => "split it into several files",
            Self::NoText { what, .. } if what.ends_with("F-16") => "save it as UTF-8",
            Self::NoText { .. } => "images in an archive are brought in with pullctl load -i FILE",
            Self::Reference { written, .. } if written.contains("${") || written.contains("$(") => {
                "fill the variables in first, with envsubst for instance"
            }
            Self::Reference { source, .. } => return source.hint(),
            Self::Option { .. } => "a line is REF [platform=PLATFORM] [pin] [as=NAME]",
            Self::Platform { source, .. } => return source.hint(),
            Self::Yaml { .. } => "nothing of the list was started: correct the file first",
            Self::Template { .. } => "render it first: helm template CHART | pullctl pull -f -",
            Self::NoImage { .. } => "name its image there, or take the object out of the list",
            Self::Cluster { place, .. } | Self::Kubeadm { place, .. } => {
                let file = place.path.display();
                return Some(format!(
                    "kubeadm names them: kubeadm config images list --config {file} | pullctl pull -f -"
                ));
            }
            Self::Lock { .. } => "make it anew with pullctl lock",
            Self::Secret { .. } => {
                "make it with kubectl create secret docker-registry, or take it out of the list and give the login with --auth-file"
            }
        };
        Some(hint.to_owned())
    }
}
