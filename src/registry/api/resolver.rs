//! From a reference to its descriptor.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{Method, StatusCode};
use reqwest::Response;

use crate::config::Capability;
use crate::oci::{Descriptor, Digest, MAX_MANIFEST_BYTES, MediaKind, MediaType};
use crate::reference::Reference;
use crate::registry::api::document;
use crate::registry::ask::host::{Host, Hosts};
use crate::registry::ask::tries::Tries;
use crate::registry::ask::turn::{Question, in_turn};
use crate::registry::context::Context;
use crate::registry::error::Error;
use crate::registry::fault::Fault;
use crate::registry::http::body;

/// The type of a document of which nothing tells what it is.
const UNKNOWN: &str = "application/octet-stream";

/// What a reference points to.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Index or manifest.
    pub descriptor: Descriptor,
    /// The host that answered.
    pub host: String,
    /// Its bytes, size and digest checked, when they had to be read to know the descriptor.
    pub body: Option<Bytes>,
}

/// What a host must be able to do to resolve `reference`: a digest names the same at every host.
pub(crate) fn needed(reference: &Reference) -> Capability {
    if reference.digest().is_some() { Capability::Pull } else { Capability::Resolve }
}

/// Resolves `reference`, host by host. With `heads`, HEAD is asked of a host first, and once; GET from
/// then on, as there are hosts, and proxies before them, that have no HEAD or get it wrong.
///
/// # Errors
/// [`Error::NoHost`] if none may be asked; otherwise [`Error::AllHostsFailed`].
pub(crate) async fn resolve(
    context: &Arc<Context>,
    hosts: &Hosts,
    reference: &Reference,
    heads: bool,
) -> Result<Resolved, Error> {
    let hosts = hosts.with(needed(reference));
    let name = match reference.digest() {
        Some(digest) => Name::Digest(digest),
        None => Name::Tag(reference.tag().unwrap_or("latest")),
    };
    let question = Question {
        what: format!("resolve {reference}"),
        request: format!("manifests/{name}"),
        hedges: true,
    };
    let mut headed = HashSet::new();
    let mut tries = Tries::of(context, &hosts);
    let asking = in_turn(&mut tries, &hosts, &question, |index, host| {
        let heads = heads && headed.insert(index) && !host.endpoint().health().head_misleads();
        resolve_at(host, name, heads)
    });
    let (index, (descriptor, body)) = asking.await?;
    let host = hosts.get(index).map(|host| host.endpoint().name().to_owned()).unwrap_or_default();
    Ok(Resolved { descriptor, host, body })
}

type Found = (Descriptor, Option<Bytes>);

/// The last part of a reference.
#[derive(Debug, Clone, Copy)]
enum Name<'a> {
    Tag(&'a str),
    Digest(Digest),
}

impl std::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

async fn resolve_at(host: &Host, name: Name<'_>, heads: bool) -> Result<Found, Fault> {
    let refused = match if heads { head(host, name).await } else { Ok(None) } {
        Ok(Some(descriptor)) => return Ok((descriptor, None)),
        Ok(None) => false,
        Err(fault) if is_of_head(&fault) => true,
        Err(fault) => return Err(fault),
    };
    let found = get(host, name).await?;
    if refused {
        host.endpoint().health().distrust_head();
    }
    Ok(found)
}

/// The descriptor that the headers give; `None` when the body has to be read.
async fn head(host: &Host, name: Name<'_>) -> Result<Option<Descriptor>, Fault> {
    let answer = document::ask(host, Method::HEAD, &format!("manifests/{name}")).await?;
    if answer.response.status() == StatusCode::OK {
        Ok(described(&answer.response, name))
    } else {
        Err(document::refusal(host, answer).await)
    }
}

/// Whether a GET may still give what HEAD did not, or at least the registry's words. A host that asks
/// to be left alone is, and one that wants a login wants it of a GET too. One that is in trouble is
/// asked by GET when its next turn comes.
fn is_of_head(fault: &Fault) -> bool {
    match fault {
        Fault::Status {
            status:
                StatusCode::REQUEST_TIMEOUT
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT,
            ..
        } => false,
        Fault::NotFound { .. }
        | Fault::Denied { .. }
        | Fault::RateLimited { retry_after: None, .. }
        | Fault::Status { retry_after: None, .. }
        | Fault::Broken(_)
        | Fault::Truncated => true,
        Fault::Redirected { fault, .. } => is_of_head(fault),
        _ => false,
    }
}

fn described(response: &Response, name: Name<'_>) -> Option<Descriptor> {
    let headers = response.headers();
    if headers.contains_key(CONTENT_ENCODING) || body::is_html(headers) {
        // The length is not the manifest's.
        return None;
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let named = document::named_digest(headers);
    let digest = match name {
        // Whoever names another digest than was asked for is mistaken in one or the other.
        Name::Digest(asked) => named.is_none_or(|named| named == asked).then_some(asked),
        Name::Tag(_) => named,
    }?;
    let size: u64 = text(CONTENT_LENGTH.as_str()).and_then(|size| size.parse().ok())?;
    let media_type = body::media_type(headers).map(MediaType::new)?;
    // A generic type says nothing: the body's own does. An empty manifest is a HEAD answered badly.
    let known = media_type.kind() != MediaKind::Other && (1..=MAX_MANIFEST_BYTES).contains(&size);
    known.then(|| Descriptor::new(media_type, digest, size))
}

async fn get(host: &Host, name: Name<'_>) -> Result<Found, Fault> {
    let read = match name {
        Name::Tag(tag) => document::read_tag(host, tag).await?,
        Name::Digest(digest) => document::read_digest(host, digest).await?,
    };
    // By its digest it is what was pushed, whatever that is.
    if matches!(name, Name::Tag(_)) {
        document::check_manifest(&read.bytes)?;
    }
    let given = read.media_type.unwrap_or_else(|| MediaType::new(UNKNOWN));
    // What is wrong with a document is told by whoever reads it.
    let media_type = MediaType::of_document(&given, &read.bytes).unwrap_or_else(|_| {
        let own = own_media_type(&read.bytes).filter(|_| given.is_generic());
        own.unwrap_or(given)
    });
    let descriptor = Descriptor::new(media_type, read.digest, read.bytes.len() as u64);
    Ok((descriptor, Some(read.bytes)))
}

/// The `mediaType` that a document says of itself.
fn own_media_type(body: &[u8]) -> Option<MediaType> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        media_type: MediaType,
    }
    serde_json::from_slice::<Typed>(body).ok().map(|typed| typed.media_type)
}
