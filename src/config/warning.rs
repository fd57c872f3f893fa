//! What in the configuration was read, but cannot have been meant as it stands.

use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

/// What a warning is about, for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// A header for every registry that is none to be sent to every registry.
    HeaderNotSent,
    /// A configuration of containerd with which another daemon was started than the one that
    /// answers.
    OtherDaemon,
}

impl WarningKind {
    /// The name that scripts read: `unknown-setting`, …
    pub fn code(self) -> &'static str {
        match self {
            Self::UnknownSetting => "unknown-setting",
            Self::DockerHubServer => "docker-hub-server",
            Self::KeyWithoutCertificate => "key-without-certificate",
            Self::UnusableLogin => "unusable-login",
            Self::CriWillNotStart => "cri-will-not-start",
            Self::IgnoredSection => "ignored-section",
            Self::MirrorsNotUsed => "mirrors-not-used",
            Self::HeaderNotSent => "header-not-sent",
            Self::OtherDaemon => "other-daemon",
        }
    }
}

impl Serialize for WarningKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// Something that the owner of a file should know, and that does not stop a pull. Displays
/// with its place, `file:line: message`.
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

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
            match self.line {
                Some(line) => write!(f, "{line}: ")?,
                None => f.write_str(" ")?,
            }
        }
        f.write_str(&self.message)
    }
}
