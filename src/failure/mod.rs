//! Kinds of failure: the one table of exit codes, the trait by which errors name their kind and the
//! next step, and both as text that is safe to be shown.
//!
//! | file | owns |
//! |---|---|
//! | here | [`Failure`] and its exit codes, [`Diagnose`] |
//! | `notice` | what should be known and fails nothing |
//! | `diagnostic` | an error with its causes and its hint as lines |
//! | `read_only` | file systems that are mounted read-only |
//! | `unwritten` | files of ours that could not be written |
//! | `printable` | text from elsewhere that may not steer a terminal |

mod diagnostic;
mod notice;
mod printable;
mod read_only;
mod unwritten;

use std::error::Error as StdError;
use std::io;

use serde::Serialize;

pub use diagnostic::Diagnostic;
pub use notice::Notice;
pub use printable::{harmless, json_escaped, printable};
pub use read_only::{make_writable, read_only_mount, tells_of_read_only, unwritable_path};
pub use unwritten::place_for_file;

/// What went wrong, as far as a script cares. `Failure as u8` is the process's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Failure {
    /// Anything without a kind of its own.
    Other = 1,
    /// A wrong flag, or a reference that is none.
    Usage = 2,
    /// The image, or content it names, is not in the registry.
    NotFound = 3,
    /// The registry wants credentials, or other ones.
    Authentication = 4,
    /// No answer from the registry: DNS, TCP, TLS, proxy, timeout, 5xx.
    Unreachable = 5,
    /// The registry asks to slow down.
    RateLimited = 6,
    /// Digest, size or diff ID differ, or a document is malformed.
    Verification = 7,
    /// The image does not exist for the platform.
    NoPlatform = 8,
    /// containerd can't be reached or refuses.
    Containerd = 9,
    /// The disk is full, the daemon's or ours.
    DiskFull = 10,
    /// Some images of several failed.
    Batch = 11,
    /// A file of settings, such as `hosts.toml`, has a mistake.
    Configuration = 12,
    /// Ctrl-C or SIGTERM.
    Interrupted = 130,
}

impl Failure {
    /// All kinds, in the order of their exit codes.
    const ALL: [Self; 13] = [
        Self::Other,
        Self::Usage,
        Self::NotFound,
        Self::Authentication,
        Self::Unreachable,
        Self::RateLimited,
        Self::Verification,
        Self::NoPlatform,
        Self::Containerd,
        Self::DiskFull,
        Self::Batch,
        Self::Configuration,
        Self::Interrupted,
    ];

    /// The kind that ends a process with `code`.
    pub fn of_exit_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|failure| failure.exit_code() == code)
    }

    /// The process's exit code for this kind.
    pub fn exit_code(self) -> u8 {
        self as u8
    }

    /// What scripts read in JSON output: `not-found`, `rate-limited`, …
    pub fn code(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Usage => "usage",
            Self::NotFound => "not-found",
            Self::Authentication => "authentication",
            Self::Unreachable => "unreachable",
            Self::RateLimited => "rate-limited",
            Self::Verification => "verification",
            Self::NoPlatform => "no-platform",
            Self::Containerd => "containerd",
            Self::DiskFull => "disk-full",
            Self::Batch => "batch",
            Self::Configuration => "configuration",
            Self::Interrupted => "interrupted",
        }
    }
}

/// An error that knows its kind and what the admin can do about it.
pub trait Diagnose: StdError {
    /// The kind, which decides the exit code.
    fn failure(&self) -> Failure;

    /// The next step, one sentence without the word "hint"; `None` where there is nothing better
    /// to say than the error itself.
    fn hint(&self) -> Option<String>;
}

/// Whether a file could not be written because its file system is mounted read-only.
pub fn is_read_only(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ReadOnlyFilesystem
}

/// Whether a file could not grow because the file system, or the owner's share of it, is full.
pub fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
