//! The rules of references, and the bounds that they name.

use crate::oci::DigestError;

/// Longest repository path, in bytes: without the host, with the implied `library/`.
pub(super) const MAX_PATH_LENGTH: usize = 255;
/// Longest tag, in bytes.
pub(super) const MAX_TAG_LENGTH: usize = 128;
/// Longest text that is looked at, in bytes: more than the longest host name, path, tag and digest
/// together, and little enough to be repeated in an error.
pub(super) const MAX_LENGTH: usize = 1024;

/// A rule that a reference must obey.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceRule {
    /// Nothing was written.
    #[error("it is empty")]
    Empty,
    /// Longer than any reference can be.
    #[error("it has {0} characters; at most {MAX_LENGTH} are looked at")]
    TooLong(usize),
    /// Blank, tab, line break or another control character.
    #[error("white space is not allowed")]
    WhiteSpace,
    /// `user:password@host/…`.
    #[error("a user name or password does not belong in a reference")]
    UserInfo,
    /// `https://…`, `docker://…`.
    #[error("a reference has no scheme, and this one begins with {0}://")]
    Scheme(String),
    /// 64 hex digits and nothing else.
    #[error("64 hex digits alone are an image ID, not a name")]
    BareIdentifier,
    /// The part before the first slash is meant as a host and can't be one.
    #[error("{0:?} is no host name, IPv4 address or bracketed IPv6 address")]
    Host(String),
    /// The host's port is no number up to 65535.
    #[error("the port of {0:?} must be a number up to 65535")]
    Port(String),
    /// A host, a tag or a digest without a repository.
    #[error("the repository is missing")]
    NoRepository,
    /// Only the host may have upper case.
    #[error("repository {0:?} must be lower case")]
    UpperCase(String),
    /// A character that no repository may have.
    #[error("repository {path:?} must not contain {character:?}")]
    PathCharacter {
        /// The repository.
        path: String,
        /// Its first offending character.
        character: char,
    },
    /// Two slashes in a row, or one at the end.
    #[error("repository {0:?} has an empty component")]
    EmptyComponent(String),
    /// A component such as `a..b` or `-a`.
    #[error(
        "component {0:?} must begin and end with a letter or digit and be joined by one \".\", \
         one or two \"_\", or \"-\""
    )]
    Separators(String),
    /// Longer than 255 bytes without the host.
    #[error("the repository has {0} characters; at most {MAX_PATH_LENGTH} are allowed")]
    PathTooLong(usize),
    /// A colon with nothing behind it.
    #[error("the tag after \":\" is empty")]
    EmptyTag,
    /// Longer than 128 bytes.
    #[error("the tag has {0} characters; at most {MAX_TAG_LENGTH} are allowed")]
    TagTooLong(usize),
    /// A tag that begins with `.` or `-`.
    #[error("tag {0:?} must begin with a letter, a digit or \"_\"")]
    TagStart(String),
    /// A character that no tag may have.
    #[error("tag {tag:?} must not contain {character:?}")]
    TagCharacter {
        /// The tag.
        tag: String,
        /// Its first offending character.
        character: char,
    },
    /// What follows `@` is no SHA-256 digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
}
