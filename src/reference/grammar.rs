//! The grammar: a text becomes a [`Reference`] or breaks a [`ReferenceRule`].

use std::fmt;
use std::net::Ipv6Addr;

use super::authority::split_port;
use super::rule::{MAX_LENGTH, MAX_PATH_LENGTH, MAX_TAG_LENGTH, ReferenceRule};
use crate::oci::Digest;

/// Docker Hub's host in references, which need not name it, in hosts directories and in `ns=`.
pub const DOCKER_HUB: &str = "docker.io";
/// Docker Hub's name before 2013, still found in the wild.
const LEGACY_DOCKER_HUB: &str = "index.docker.io";
/// Where Docker Hub keeps the images that have no owner in their name.
pub(super) const OFFICIAL_NAMESPACE: &str = "library";
const DEFAULT_TAG: &str = "latest";

/// A normalised reference: `docker.io/library/busybox:latest`.
///
/// `Display` is the name under which containerd stores the image. With a digest it is
/// `name@sha256:…`, whether or not a tag was written beside it; [`Reference::tag`] still tells it. An
/// image that nobody gave a name has its digest alone, `sha256:…`, which no text is read as.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The image `digest`, which nobody gave a name.
    pub fn nameless(digest: Digest) -> Self {
        Self { domain: String::new(), path: String::new(), tag: None, digest: Some(digest) }
    }

    /// Whether there is but a digest.
    pub fn is_nameless(&self) -> bool {
        self.path.is_empty()
    }

    /// Registry host with port, as written in the reference: `docker.io`, `[::1]:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Repository path without the host: `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Host and path: `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The tag; `latest` where neither tag nor digest was written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (true, Some(digest)) = (self.is_nameless(), self.digest) {
            return digest.fmt(f);
        }
        write!(f, "{}/{}", self.domain, self.path)?;
        match (self.digest, &self.tag) {
            (Some(digest), _) => write!(f, "@{digest}"),
            (None, Some(tag)) => write!(f, ":{tag}"),
            (None, None) => Ok(()),
        }
    }
}

/// Reads `text`.
///
/// # Errors
/// The rule that it breaks.
pub(super) fn parse(text: &str) -> Result<Reference, ReferenceRule> {
    refuse_what_is_no_reference(text)?;
    let (tagged, digest) = match text.split_once('@') {
        Some((tagged, digest)) => (tagged, Some(digest.parse()?)),
        None => (text, None),
    };
    let (domain, remainder) = split_domain(tagged);
    let (repository, tag) = match remainder.split_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (remainder, None),
    };

    check_domain(domain)?;
    check_path(repository)?;
    let path = if domain == DOCKER_HUB && !repository.contains('/') {
        format!("{OFFICIAL_NAMESPACE}/{repository}")
    } else {
        repository.to_owned()
    };
    if path.len() > MAX_PATH_LENGTH {
        return Err(ReferenceRule::PathTooLong(path.len()));
    }
    tag.map(check_tag).transpose()?;

    let tag = tag.or(digest.is_none().then_some(DEFAULT_TAG)).map(str::to_owned);
    Ok(Reference { domain: domain.to_owned(), path, tag, digest })
}

/// Catches what people paste instead of a reference, before the grammar blames some character in it.
fn refuse_what_is_no_reference(text: &str) -> Result<(), ReferenceRule> {
    if text.is_empty() {
        return Err(ReferenceRule::Empty);
    }
    if text.len() > MAX_LENGTH {
        return Err(ReferenceRule::TooLong(text.len()));
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(ReferenceRule::WhiteSpace);
    }
    if without_user_info(text).is_some() {
        return Err(ReferenceRule::UserInfo);
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(ReferenceRule::Scheme(scheme.to_owned()));
    }
    // An image ID would otherwise become `docker.io/library/<ID>`.
    if text.len() == 64 && text.bytes().all(is_lower_hex) {
        return Err(ReferenceRule::BareIdentifier);
    }
    Ok(())
}

/// What follows `user:password@`; `None` when there is no such thing. The password may hold any
/// character, so the last `@` counts that has a slash behind it, which no digest has, or else nothing
/// like a digest.
pub(crate) fn without_user_info(text: &str) -> Option<&str> {
    let before_path =
        text.rsplit_once('/').and_then(|(before_path, _)| before_path.rsplit_once('@'));
    let before_host = || text.rsplit_once('@').filter(|(user_info, _)| user_info.contains(':'));
    let (user_info, _) = before_path.or_else(before_host)?;
    text.get(user_info.len() + 1..).filter(|rest| !is_like_digest(rest))
}

/// Whether someone who wrote `text` behind an `@` had a digest in mind.
fn is_like_digest(text: &str) -> bool {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex || ["sha256", "sha384", "sha512"].iter().any(|algorithm| text.starts_with(algorithm))
}

/// Tells a host from the first component of a path on Docker Hub: a host has a dot, a colon or an
/// upper-case letter in it, or is `localhost`; a name without a slash has no host at all.
fn split_domain(name: &str) -> (&str, &str) {
    let Some((first, rest)) = name.split_once('/') else {
        return (DOCKER_HUB, name);
    };
    match first {
        LEGACY_DOCKER_HUB => (DOCKER_HUB, rest),
        "localhost" => (first, rest),
        _ if first.contains(['.', ':']) || has_upper_case(first) => (first, rest),
        _ => (DOCKER_HUB, name),
    }
}

fn check_domain(domain: &str) -> Result<(), ReferenceRule> {
    let (host, port) = split_port(domain);
    // The grammar takes `foo_bar.com/x` for a path without host, and containerd then contacts
    // `foo_bar.com` all the same. With a port it is neither.
    if !is_host(host) && !is_path_component(domain) {
        return Err(ReferenceRule::Host(domain.to_owned()));
    }
    match port {
        Some(port) if !is_port(port) => Err(ReferenceRule::Port(domain.to_owned())),
        _ => Ok(()),
    }
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        // The grammar has no embedded IPv4 address and no zone.
        return !address.contains('.') && address.parse::<Ipv6Addr>().is_ok();
    }
    host.split('.').all(is_domain_label)
}

fn is_domain_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(inner)
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

fn check_path(path: &str) -> Result<(), ReferenceRule> {
    if path.is_empty() {
        return Err(ReferenceRule::NoRepository);
    }
    if has_upper_case(path) {
        return Err(ReferenceRule::UpperCase(path.to_owned()));
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
    if let Some(character) = path.chars().find(|c| !allowed(*c)) {
        return Err(ReferenceRule::PathCharacter { path: path.to_owned(), character });
    }
    match path.split('/').find(|component| !is_path_component(component)) {
        Some("") => Err(ReferenceRule::EmptyComponent(path.to_owned())),
        Some(component) => Err(ReferenceRule::Separators(component.to_owned())),
        None => Ok(()),
    }
}

/// `[a-z0-9]+`, joined by one `.`, one or two `_`, or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let edges = [component.as_bytes().first(), component.as_bytes().last()];
    edges.iter().all(|edge| edge.is_some_and(word))
        && component
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|gap| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|b| b == b'-'))
}

fn check_tag(tag: &str) -> Result<(), ReferenceRule> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if tag.is_empty() {
        return Err(ReferenceRule::EmptyTag);
    }
    if tag.len() > MAX_TAG_LENGTH {
        return Err(ReferenceRule::TagTooLong(tag.len()));
    }
    if tag.starts_with(['.', '-']) {
        return Err(ReferenceRule::TagStart(tag.to_owned()));
    }
    match tag.chars().find(|c| !word(*c) && !".-".contains(*c)) {
        Some(character) => Err(ReferenceRule::TagCharacter { tag: tag.to_owned(), character }),
        None => Ok(()),
    }
}

fn has_upper_case(text: &str) -> bool {
    text.chars().any(char::is_uppercase)
}

fn is_lower_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}
