//! From a reference to its descriptor, and from a manifest's descriptor to its bytes.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{Method, StatusCode};
use reqwest::Response;
use tokio::time::Instant;

use crate::config::Capability;
use crate::oci::{Descriptor, Digest, MAX_MANIFEST_BYTES, MediaKind, MediaType};
use crate::reference::Reference;
use crate::registry::ask::host::{Host, Hosts};
use crate::registry::ask::tries::Tries;
use crate::registry::context::Context;
use crate::registry::error::Error;
use crate::registry::fault::Fault;
use crate::registry::http::body;
use crate::registry::http::clients::Lane;
use crate::registry::http::endpoint::{Answer, Call};

/// The manifest types that a pull understands, schema1 not among them.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json, */*";

/// The header that names a manifest's digest.
const CONTENT_DIGEST: &str = "docker-content-digest";

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

/// Resolves `reference`, host by host.
///
/// # Errors
/// [`Error::NoHost`] if none may be asked; otherwise [`Error::AllHostsFailed`].
pub(crate) async fn resolve(
    context: &Arc<Context>,
    hosts: &Hosts,
    reference: &Reference,
) -> Result<Resolved, Error> {
    let digest = reference.digest();
    let hosts = hosts.with(needed(reference));
    let request = match digest {
        Some(digest) => format!("manifests/{digest}"),
        None => format!("manifests/{}", reference.tag().unwrap_or("latest")),
    };
    let mut tries = tries(context, &hosts);
    loop {
        let index = tries
            .next()
            .await
            .map_err(|given_up| given_up.error(format!("resolve {reference}"), &request))?;
        let Some(host) = hosts.get(index) else { continue };
        let asked = Instant::now();
        match resolve_at(host, &request, digest).await {
            Ok((descriptor, body)) => {
                let host = host.endpoint().name().to_owned();
                return Ok(Resolved { descriptor, host, body });
            }
            Err(fault) => {
                context.unusable(host.endpoint().name(), &request, &fault, asked);
                tries.failed(index, fault);
            }
        }
    }
}

/// Reads the manifest or index that `descriptor` names, its size and digest checked. A host that has
/// other bytes under that name is left out for the rest of the run, once another host had the right
/// ones. When the bytes are right and the size is not, it is the descriptor that is wrong: no other
/// host is asked.
///
/// # Errors
/// [`Error::NoHost`] if none may be asked; otherwise [`Error::AllHostsFailed`].
pub(crate) async fn manifest(
    context: &Arc<Context>,
    hosts: &Hosts,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<Bytes, Error> {
    let hosts = hosts.with(Capability::Pull);
    let digest = descriptor.digest;
    let request = format!("manifests/{digest}");
    let mut tries = tries(context, &hosts);
    let mut wrong = Vec::new();
    let what = || format!("read manifest {digest} of {}", reference.name());
    loop {
        let index = tries.next().await.map_err(|given_up| given_up.error(what(), &request))?;
        let Some(host) = hosts.get(index) else { continue };
        let asked = Instant::now();
        match manifest_at(host, descriptor).await {
            Ok(body) => {
                context.distrust(&wrong);
                return Ok(body);
            }
            Err(fault) => {
                let name = host.endpoint().name();
                if matches!(fault, Fault::DigestMismatch { .. }) {
                    wrong.push(name.to_owned());
                }
                let misdescribed = matches!(fault, Fault::SizeMismatch { .. });
                context.unusable(name, &request, &fault, asked);
                tries.failed(index, fault);
                if misdescribed {
                    return Err(tries.give_up(None).error(what(), &request));
                }
            }
        }
    }
}

fn tries(context: &Arc<Context>, hosts: &[Host]) -> Tries {
    let hosts = hosts.iter().map(|host| (host.endpoint(), host.place()));
    Tries::new(Arc::clone(context), hosts, 0)
}

type Found = (Descriptor, Option<Bytes>);

async fn resolve_at(host: &Host, request: &str, digest: Option<Digest>) -> Result<Found, Fault> {
    let answer = ask(host, Method::HEAD, request).await?;
    match answer.response.status() {
        StatusCode::OK => {
            if body::is_html(answer.response.headers()) {
                return Err(Fault::Html);
            }
            match described(&answer.response, digest)? {
                Some(descriptor) => Ok((descriptor, None)),
                None => get(host, request, digest).await,
            }
        }
        // Some registries know no HEAD, and a refusal to HEAD carries no reason.
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::FORBIDDEN => get(host, request, digest).await,
        StatusCode::NOT_FOUND => match digest {
            // What was pushed as a blob can be named by digest as well.
            Some(digest) => get(host, &format!("blobs/{digest}"), Some(digest)).await,
            None => Err(refusal(host, answer).await),
        },
        _ => Err(refusal(host, answer).await),
    }
}

/// The descriptor that a HEAD's headers give; `None` when the body has to be read.
fn described(response: &Response, asked: Option<Digest>) -> Result<Option<Descriptor>, Fault> {
    let headers = response.headers();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let named: Option<Digest> = text(CONTENT_DIGEST).and_then(|digest| digest.parse().ok());
    if let (Some(expected), Some(actual)) = (asked, named)
        && expected != actual
    {
        return Err(Fault::DigestMismatch { expected, actual });
    }
    if headers.contains_key(CONTENT_ENCODING) {
        // The length is not the manifest's.
        return Ok(None);
    }
    let size: Option<u64> = text(CONTENT_LENGTH.as_str()).and_then(|size| size.parse().ok());
    let media_type = body::media_type(headers).map(MediaType::new);
    let (Some(digest), Some(size), Some(media_type)) = (asked.or(named), size, media_type) else {
        return Ok(None);
    };
    if size > MAX_MANIFEST_BYTES {
        return Err(Fault::TooLarge { size, limit: MAX_MANIFEST_BYTES });
    }
    let known = media_type.kind() != MediaKind::Other;
    // A generic type says nothing: the body's own does. An empty manifest is a HEAD answered badly.
    Ok((known && size > 0).then(|| Descriptor::new(media_type, digest, size)))
}

async fn get(host: &Host, request: &str, digest: Option<Digest>) -> Result<Found, Fault> {
    let answer = ask(host, Method::GET, request).await?;
    if answer.response.status() != StatusCode::OK {
        return Err(refusal(host, answer).await);
    }
    if body::is_html(answer.response.headers()) {
        return Err(Fault::Html);
    }
    let declared = body::media_type(answer.response.headers()).map(MediaType::new);
    let context = host.endpoint().context();
    let body = body::read_bounded(context, answer.response, MAX_MANIFEST_BYTES).await?;
    let actual = Digest::of(&body);
    if let Some(expected) = digest.filter(|expected| *expected != actual) {
        return Err(Fault::DigestMismatch { expected, actual });
    }
    let media_type = declared
        .filter(|declared| declared.kind() != MediaKind::Other)
        .or_else(|| own_media_type(&body))
        .unwrap_or_else(|| MediaType::new("application/octet-stream"));
    Ok((Descriptor::new(media_type, actual, body.len() as u64), Some(body)))
}

/// The `mediaType` that a manifest says of itself.
fn own_media_type(body: &[u8]) -> Option<MediaType> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        media_type: MediaType,
    }
    serde_json::from_slice::<Typed>(body).ok().map(|typed| typed.media_type)
}

async fn manifest_at(host: &Host, descriptor: &Descriptor) -> Result<Bytes, Fault> {
    let Descriptor { digest, size, .. } = *descriptor;
    if size > MAX_MANIFEST_BYTES {
        return Err(Fault::TooLarge { size, limit: MAX_MANIFEST_BYTES });
    }
    let mut answer = ask(host, Method::GET, &format!("manifests/{digest}")).await?;
    if answer.response.status() == StatusCode::NOT_FOUND {
        let at_blobs = ask(host, Method::GET, &format!("blobs/{digest}")).await?;
        if at_blobs.response.status() == StatusCode::OK {
            answer = at_blobs;
        }
    }
    if answer.response.status() != StatusCode::OK {
        return Err(refusal(host, answer).await);
    }
    if body::is_html(answer.response.headers()) {
        return Err(Fault::Html);
    }
    let context = host.endpoint().context();
    let body = body::read_bounded(context, answer.response, MAX_MANIFEST_BYTES).await?;
    let actual = Digest::of(&body);
    if actual != digest {
        return Err(Fault::DigestMismatch { expected: digest, actual });
    }
    if body.len() as u64 != size {
        return Err(Fault::SizeMismatch { expected: size, actual: body.len() as u64 });
    }
    Ok(body)
}

async fn ask(host: &Host, method: Method, document: &str) -> Result<Answer, Fault> {
    host.endpoint()
        .send(&Call {
            method,
            path: &host.path(document),
            target: None,
            lane: Lane::Api,
            accept: Some(ACCEPT),
            range: None,
            label: document,
            access: Some(host.access()),
        })
        .await
}

async fn refusal(host: &Host, answer: Answer) -> Fault {
    body::refusal(host.endpoint().context(), answer.response, answer.standing).await
}
