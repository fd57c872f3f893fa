//! The rules of references, as errors, and guesses at what was meant.

use super::grammar::{
    DEFAULT_DOMAIN, MAX_LENGTH, MAX_PATH_LENGTH, MAX_TAG_LENGTH, OFFICIAL_NAMESPACE, parse,
    without_user_info,
};
use crate::failure::{Diagnose, Failure};
use crate::oci::DigestError;

/// A text that is no reference, and the rule that it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid reference {input:?}: {rule}")]
pub struct ReferenceError {
    /// The text, shortened when it is long, and without user info.
    input: String,
    rule: ReferenceRule,
}

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

impl ReferenceError {
    pub(super) fn new(text: &str, rule: ReferenceRule) -> Self {
        let shown = without_user_info(text).unwrap_or(text);
        let mut input: String = shown.chars().take(MAX_LENGTH).collect();
        if input.len() < shown.len() {
            input.push('…');
        }
        Self { input, rule }
    }

    /// The rule that the text breaks.
    pub fn rule(&self) -> &ReferenceRule {
        &self.rule
    }

    /// The reference that was probably meant; `None` where there is no telling.
    fn repaired(&self) -> Option<String> {
        let candidate = match &self.rule {
            ReferenceRule::WhiteSpace => self.input.trim().to_owned(),
            ReferenceRule::Scheme(scheme) => {
                self.input.get(scheme.len() + "://".len()..)?.trim_matches('/').to_owned()
            }
            ReferenceRule::UserInfo => self.input.clone(),
            ReferenceRule::UpperCase(path) => self.input.replacen(path, &path.to_lowercase(), 1),
            ReferenceRule::EmptyComponent(_) => {
                let components = self.input.split('/').filter(|component| !component.is_empty());
                components.collect::<Vec<_>>().join("/")
            }
            ReferenceRule::EmptyTag => self.input.replacen(':', "", 1),
            ReferenceRule::Digest(_) => {
                let (name, digest) = self.input.split_once('@')?;
                format!("{name}@{}", digest.to_lowercase())
            }
            _ => return None,
        };
        parse(&candidate).is_ok().then_some(candidate)
    }
}

impl Diagnose for ReferenceError {
    fn failure(&self) -> Failure {
        Failure::Usage
    }

    fn hint(&self) -> Option<String> {
        let repaired = self.repaired();
        match (&self.rule, repaired) {
            (ReferenceRule::UserInfo, Some(repaired)) => {
                Some(format!("write {repaired} and give the login with -u USER"))
            }
            (_, Some(repaired)) => Some(format!("did you mean {repaired}?")),
            (ReferenceRule::BareIdentifier, None) => Some(format!(
                "pull by name, or by digest as NAME@sha256:…; a repository of that name is \
                 {DEFAULT_DOMAIN}/{OFFICIAL_NAMESPACE}/{}",
                self.input
            )),
            (ReferenceRule::Host(_) | ReferenceRule::Port(_), None) => {
                Some("write HOST[:PORT]/REPOSITORY[:TAG], an IPv6 host as [::1]:5000".to_owned())
            }
            _ => None,
        }
    }
}
