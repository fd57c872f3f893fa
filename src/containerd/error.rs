//! What can go wrong between us and the daemon, and what to do about it.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::{Code, Status};

use crate::failure::{
    Diagnose, Failure, is_disk_full, is_read_only, make_writable, tells_of_read_only,
    unwritable_path,
};
use crate::oci::Digest;

/// A call to containerd that did not do what was asked. Each variant that has an `operation` words
/// it so that it fits behind "could not": `write layer-sha256:…`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No address was given and no usual one exists.
    #[error("no containerd socket found, tried {}", list(tried))]
    NoSocket {
        /// The paths looked at, in order.
        tried: Vec<PathBuf>,
    },
    /// The address given is no path of a unix socket.
    #[error("containerd address {0:?} is not the path of a unix socket")]
    Address(String),
    /// The namespace given is no containerd identifier.
    #[error(
        "namespace {0:?} is not valid: containerd wants letters and digits, joined by single \
         dots, dashes or underscores, at most 76 characters"
    )]
    Namespace(String),
    /// There is no daemon behind the socket.
    #[error("containerd is not running at {}", address.display())]
    Connect {
        /// The socket.
        address: PathBuf,
        /// What the kernel said.
        source: BoxedError,
    },
    /// The socket's owner or mode keeps us out.
    #[error("containerd's socket {} may not be used by this user", address.display())]
    PermissionDenied {
        /// The socket.
        address: PathBuf,
        /// What the kernel said.
        source: BoxedError,
    },
    /// The connection broke off or the daemon refuses all calls: it stopped or is being restarted.
    #[error("containerd went away, could not {operation}")]
    Gone {
        /// What was asked.
        operation: String,
        /// What the transport said.
        source: Reply,
    },
    /// The daemon is there but answers nothing.
    #[error("containerd has not answered for {} s, could not {operation}", waited.as_secs())]
    Unresponsive {
        /// What was asked.
        operation: String,
        /// How long we waited.
        waited: Duration,
    },
    /// The daemon's disk is full.
    #[error("containerd's disk is full, could not {operation}")]
    DiskFull {
        /// What was asked.
        operation: String,
        /// The daemon's words.
        source: Reply,
    },
    /// A file system of the daemon's is mounted read-only.
    #[error("containerd's file system{} is mounted read-only, could not {operation}", with(path))]
    ReadOnly {
        /// What was asked.
        operation: String,
        /// What could not be written, where that is known.
        path: Option<PathBuf>,
        /// The daemon's words.
        source: Box<Reply>,
    },
    /// Another client writes the same ingest. Only [`super::Ingest`]'s opening meets it, and waits.
    #[error("another client holds the lock, could not {operation}")]
    Locked {
        /// What was asked.
        operation: String,
        /// The daemon's words.
        source: Reply,
    },
    /// What the call names does not exist.
    #[error("containerd could not {operation}")]
    NotFound {
        /// What was asked.
        operation: String,
        /// The daemon's words.
        source: Reply,
    },
    /// Any other refusal.
    #[error("containerd could not {operation}")]
    Refused {
        /// What was asked.
        operation: String,
        /// The daemon's words.
        source: Reply,
    },
    /// The daemon's answer contradicts its API.
    #[error("containerd's answer makes no sense, could not {operation}: {reason}")]
    BadAnswer {
        /// What was asked.
        operation: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The bytes written are not the ones that the digest names; they have been discarded.
    #[error("blob {digest} does not match its digest or size")]
    Mismatch {
        /// The digest expected.
        digest: Digest,
        /// The daemon's words, which name the digest or size that it found.
        source: Reply,
    },
    /// The blob is longer or shorter than its descriptor says.
    #[error("blob {digest} must have {expected} bytes, but {actual} came")]
    Size {
        /// The blob.
        digest: Digest,
        /// Bytes according to the descriptor.
        expected: u64,
        /// Bytes handed in so far.
        actual: u64,
    },
    /// Stored content that was to be read whole is larger than the reader allows.
    #[error("blob {digest} is larger than the {limit_bytes} bytes allowed for its kind")]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// The bound, in bytes.
        limit_bytes: u64,
    },
}

/// What a daemon's words of a full disk, or of a full share of it, hold: Go's names of `ENOSPC` and
/// `EDQUOT`.
const FULL: [&str; 2] = ["no space left on device", "disk quota exceeded"];

type BoxedError = Box<dyn StdError + Send + Sync>;

/// A gRPC status: its code, and the daemon's message or the transport's causes in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The gRPC code.
    pub code: Code,
    /// Why.
    pub message: String,
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            return f.write_str(self.code.description());
        }
        f.write_str(&self.message)
    }
}

impl StdError for Reply {}

impl From<&Status> for Reply {
    fn from(status: &Status) -> Self {
        let mut message = status.message().to_owned();
        let mut cause = status.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // The layers of the transport often repeat each other, or say only who they are.
            if text != "transport error" && !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = error.source();
        }
        Self { code: status.code(), message }
    }
}

impl Error {
    /// Classifies a status that `operation` was answered with.
    pub(crate) fn from_status(operation: impl Into<String>, status: &Status) -> Self {
        let operation = operation.into();
        let source = Reply::from(status);
        // Only the transport attaches a cause; a status that the daemon sent has none.
        let broke_off = status.source().is_some();
        match source.code {
            _ if FULL.iter().any(|phrase| source.message.contains(phrase)) => {
                Self::DiskFull { operation, source }
            }
            _ if tells_of_read_only(&source.message) => {
                let path = unwritable_path(&source.message);
                Self::ReadOnly { operation, path, source: Box::new(source) }
            }
            Code::Unavailable if source.message.contains("locked") => {
                Self::Locked { operation, source }
            }
            // containerd 2.1 wraps what it meets when it begins a blob anew: the code is lost.
            _ if source.message.contains(" locked for ") => Self::Locked { operation, source },
            Code::Unavailable => Self::Gone { operation, source },
            _ if broke_off => Self::Gone { operation, source },
            Code::NotFound => Self::NotFound { operation, source },
            _ => Self::Refused { operation, source },
        }
    }

    /// An error of the kernel's, met while doing the daemon's work in its place.
    pub(super) fn from_io(operation: impl Into<String>, error: &io::Error) -> Self {
        Self::from_io_at(None, operation, error)
    }

    /// The same, met below `path`.
    pub(super) fn from_io_at(
        path: Option<&Path>,
        operation: impl Into<String>,
        error: &io::Error,
    ) -> Self {
        let operation = operation.into();
        let source = Reply { code: Code::Unknown, message: error.to_string() };
        if is_disk_full(error) {
            Self::DiskFull { operation, source }
        } else if is_read_only(error) {
            let path = path.map(Path::to_owned);
            Self::ReadOnly { operation, path, source: Box::new(source) }
        } else {
            Self::Refused { operation, source }
        }
    }

    /// That `path`, which the daemon would write, is on a file system that is mounted read-only.
    pub(super) fn read_only(operation: impl Into<String>, path: PathBuf) -> Self {
        let source = Box::new(Reply {
            code: Code::FailedPrecondition,
            message: io::Error::from(io::ErrorKind::ReadOnlyFilesystem).to_string(),
        });
        Self::ReadOnly { operation: operation.into(), path: Some(path), source }
    }

    /// An answer that lacks a member or has an impossible one.
    pub(super) fn bad_answer(operation: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::BadAnswer { operation: operation.into(), reason: reason.into() }
    }

    /// The gRPC code and message, where the daemon or the transport gave one.
    pub(crate) fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Gone { source, .. }
            | Self::DiskFull { source, .. }
            | Self::Locked { source, .. }
            | Self::NotFound { source, .. }
            | Self::Refused { source, .. }
            | Self::Mismatch { source, .. } => Some(source),
            Self::ReadOnly { source, .. } => Some(source.as_ref()),
            _ => None,
        }
    }

    pub(super) fn is_already_exists(&self) -> bool {
        self.reply().is_some_and(|reply| reply.code == Code::AlreadyExists)
    }
}

impl Diagnose for Error {
    fn failure(&self) -> Failure {
        match self {
            Self::Address(_) | Self::Namespace(_) => Failure::Usage,
            Self::DiskFull { .. } => Failure::DiskFull,
            Self::Mismatch { .. } | Self::Size { .. } | Self::TooLarge { .. } => {
                Failure::Verification
            }
            _ => Failure::Containerd,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::ReadOnly { path, .. } => return Some(make_writable(path.as_deref())),
            Self::NoSocket { .. } | Self::Connect { .. } => {
                "start containerd, or name its socket with --address; without a daemon, `pullctl \
                 pull --to oci:DIR REF` writes an OCI image layout"
            }
            Self::PermissionDenied { .. } => {
                "run pullctl as root, for instance with sudo; without a daemon, `pullctl pull --to \
                 oci:DIR REF` writes an OCI image layout"
            }
            Self::Gone { .. } => {
                "see whether containerd is being restarted (systemctl status containerd), then run \
                 the same command again: it goes on where it stopped"
            }
            Self::Unresponsive { .. } => {
                "see what containerd is doing (journalctl -u containerd), then run the same command \
                 again: it goes on where it stopped"
            }
            Self::DiskFull { .. } => {
                "free space below containerd's root directory (crictl rmi --prune), then run the \
                 same command again"
            }
            Self::Mismatch { .. } => {
                "a registry or proxy delivered other bytes than it promised; the download was \
                 discarded, run the command again or try without the mirror"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

fn with(path: &Option<PathBuf>) -> String {
    path.as_ref().map(|path| format!(" with {}", path.display())).unwrap_or_default()
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classifies_what_daemons_answer() {
        let classify =
            |code, message: &str| Error::from_status("write layer-x", &Status::new(code, message));
        let full = classify(Code::Unknown, "write /root/ingest/x/data: no space left on device");
        assert_eq!(full.failure(), Failure::DiskFull);
        let quota = classify(Code::Unknown, "write /root/ingest/x/data: disk quota exceeded");
        assert_eq!(quota.failure(), Failure::DiskFull);
        let read_only = classify(Code::Unknown, "mkdir /root/ingest/x: read-only file system");
        assert_eq!(
            read_only.to_string(),
            "containerd's file system with /root/ingest/x is mounted read-only, could not write layer-x"
        );
        assert!(read_only.hint().unwrap().contains("mount -o remount,rw"));
        assert_eq!(read_only.failure(), Failure::Containerd);
        assert!(matches!(
            classify(Code::Unavailable, "ref k8s.io/1/layer-x locked for 2s: unavailable"),
            Error::Locked { .. }
        ));
        let wrapped =
            "truncate failed: ref k8s.io/1/config-x locked for 15ms (since x): unavailable";
        assert!(matches!(classify(Code::Unknown, wrapped), Error::Locked { .. }));
        assert!(matches!(classify(Code::Unavailable, "shutting down"), Error::Gone { .. }));
        assert!(matches!(classify(Code::NotFound, "lease \"x\""), Error::NotFound { .. }));
        assert!(matches!(classify(Code::Unknown, "boom"), Error::Refused { .. }));
        assert!(classify(Code::AlreadyExists, "").is_already_exists());
    }

    #[test]
    fn a_transport_that_breaks_off_means_that_the_daemon_went_away() {
        let status = Status::from_error(Box::new(std::io::Error::other("broken pipe")));
        let error = Error::from_status("write layer-x", &status);
        assert!(matches!(error, Error::Gone { .. }), "{error:?}");
        assert_eq!(error.to_string(), "containerd went away, could not write layer-x");
        assert!(error.source().unwrap().to_string().contains("broken pipe"));
    }

    #[test]
    fn names_the_sockets_tried_and_the_way_without_a_daemon() {
        let error = Error::NoSocket { tried: vec!["/a.sock".into(), "/b.sock".into()] };
        assert_eq!(error.to_string(), "no containerd socket found, tried /a.sock, /b.sock");
        assert!(error.hint().unwrap().contains("pullctl pull --to oci:DIR REF"));
        assert_eq!(error.failure(), Failure::Containerd);
    }
}
