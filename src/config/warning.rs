//! What in the configuration was read, but cannot have been meant as it stands.

use std::path::PathBuf;

use serde::Serialize;

/// What a warning is about, for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WarningKind {
    /// A setting that nothing reads: most often a slip of the pen.
    UnknownSetting,
    /// `docker.io` named as a server, which serves a web site and no registry.
    DockerHubServer,
    /// A `*.key` in docker's layout without its `*.cert`.
    KeyWithoutCertificate,
    /// A login in a file that cannot be decoded.
    UnusableLogin,
    /// Settings with which containerd's CRI plugin does not start.
    CriWillNotStart,
    /// Settings that some versions of containerd pass over.
    IgnoredSection,
    /// Mirrors that a hosts directory takes the place of.
    MirrorsNotUsed,
}

/// Something that the owner of a file should know, and that does not stop a pull.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What it is about.
    #[serde(rename = "code")]
    pub kind: WarningKind,
    /// What is the matter, subject first.
    pub message: String,
    /// The next step.
    pub hint: Option<String>,
    /// The file it is about.
    pub file: Option<PathBuf>,
    /// The line in it, counted from 1.
    pub line: Option<usize>,
}

impl Warning {
    /// A warning of no place and without advice.
    pub(super) fn new(kind: WarningKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, file: None, line: None }
    }

    /// The same at a place.
    pub(super) fn at(self, file: PathBuf, line: usize) -> Self {
        Self { file: Some(file), line: Some(line), ..self }
    }

    /// The same with the next step.
    pub(super) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}
