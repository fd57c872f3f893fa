//! Why a stream can't be decoded.

use std::io;

/// What is wrong with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    /// It is not what RFC 1951 lets it be.
    Corrupt,
    /// It ends before it is complete.
    Short,
    /// What should be a member's header is none.
    Header,
    /// A member's content has another checksum, or length, than its trailer says.
    Checksum,
}

impl From<Damage> for io::Error {
    /// The kinds are those of flate2, which decodes where one thread does.
    fn from(damage: Damage) -> Self {
        let (kind, problem) = match damage {
            Damage::Corrupt => (io::ErrorKind::InvalidInput, "corrupt deflate stream"),
            Damage::Short => (io::ErrorKind::UnexpectedEof, "incomplete deflate stream"),
            Damage::Header => (io::ErrorKind::InvalidInput, "invalid gzip header"),
            Damage::Checksum => (
                io::ErrorKind::InvalidInput,
                "corrupt gzip stream does not have a matching checksum",
            ),
        };
        Self::new(kind, problem)
    }
}
