//! Why an archive can't be read.

use std::io;

/// Why an archive can't be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its bytes can't be had.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// It is no tar archive, or one outside the bounds.
    #[error("the tar archive is unusable at byte {offset}")]
    Malformed {
        /// Where the trouble was found, in bytes.
        offset: u64,
        /// What it is.
        source: Problem,
    },
}

/// What is wrong with an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The very first block is no tar header, so something else was packed or named an archive.
    #[error("the content is neither gzip, zstd nor tar")]
    NotAnArchive,
    /// A block that should be a header has a wrong checksum or a malformed number.
    #[error("the header block is malformed")]
    Header,
    /// An extension record is not of the form `<length> <key>=<value>`, or has a malformed value.
    #[error("a PAX record is malformed")]
    PaxRecord,
    /// A sparse file's map is malformed, or does not fit the file.
    #[error("the sparse map is malformed")]
    SparseMap,
    /// The stream ends within an entry.
    #[error("it ends within an entry")]
    Truncated,
    /// More bytes than are accepted.
    #[error("the {what} is longer than {limit_bytes} bytes")]
    TooLong {
        /// `extension header`, `path`, `sparse map`.
        what: &'static str,
        /// The bound, in bytes.
        limit_bytes: usize,
    },
    /// An entry type that is no file of an image.
    #[error("the entry type {0:#04x} is none that layers have")]
    UnknownType(u8),
}
