//! The documents of a repository as its hosts send them: manifests, and the lists about them.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_RANGES, CONTENT_ENCODING};
use http::{HeaderMap, Method, StatusCode};
use serde::de::IgnoredAny;

use crate::oci::{Digest, MAX_MANIFEST_BYTES, MediaType};
use crate::registry::ask::host::Host;
use crate::registry::auth::Action;
use crate::registry::blob::ranges::ByteRange;
use crate::registry::fault::Fault;
use crate::registry::http::body;
use crate::registry::http::envelope;
use crate::registry::http::exchange::{Answer, Call};

/// The manifest types that a pull understands, schema1 not among them.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json, */*";

/// How often the rest of a document is asked for after its answer broke off. Each time more of it
/// must have come.
const MAX_CONTINUATIONS: u32 = 3;

/// A document that was read.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) bytes: Bytes,
    /// Its type, as the host has it.
    pub(crate) media_type: Option<MediaType>,
    /// The digest of `bytes`.
    pub(crate) digest: Digest,
}

/// Asks `host` for `document`, such as `manifests/latest`.
pub(crate) async fn ask(host: &Host, method: Method, document: &str) -> Result<Answer, Fault> {
    send(host, method, document, None).await
}

async fn send(
    host: &Host,
    method: Method,
    document: &str,
    range: Option<ByteRange>,
) -> Result<Answer, Fault> {
    host.endpoint()
        .send(&Call {
            accept: Some(ACCEPT),
            range,
            access: Some(&host.access(&Action::Pull)),
            ..Call::new(method, &host.path(document), document)
        })
        .await
}

/// What an answer means that is no success.
pub(crate) async fn refusal(host: &Host, answer: Answer) -> Fault {
    body::refusal(host.endpoint().context(), answer.response, answer.standing).await
}

/// The header that names a manifest's digest.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// The digest that a host says a manifest has.
pub(crate) fn named_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get(CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
}

/// Reads the manifest `name`, a tag. What comes has the digest that the host says, if it says one.
pub(crate) async fn read_tag(host: &Host, name: &str) -> Result<Document, Fault> {
    read(host, &format!("manifests/{name}"), None).await
}

/// Reads the manifest `digest`, which may have been pushed as a blob. What comes has that digest.
pub(crate) async fn read_digest(host: &Host, digest: Digest) -> Result<Document, Fault> {
    match read(host, &format!("manifests/{digest}"), Some(digest)).await {
        Err(unknown @ Fault::NotFound { .. }) => {
            match read(host, &format!("blobs/{digest}"), Some(digest)).await {
                Err(Fault::NotFound { .. } | Fault::Denied { .. } | Fault::Unauthorized { .. }) => {
                    Err(unknown)
                }
                read => read,
            }
        }
        read => read,
    }
}

/// Reads `document`, of which `expected` is the digest, or else the one that the host names. Only where
/// one is known can a host that breaks off be asked for the rest: it is the rest of the same.
async fn read(host: &Host, document: &str, expected: Option<Digest>) -> Result<Document, Fault> {
    let answer = ask(host, Method::GET, document).await?;
    if answer.response.status() != StatusCode::OK {
        return Err(refusal(host, answer).await);
    }
    let headers = answer.response.headers();
    if body::is_html(headers) {
        return Err(Fault::Html);
    }
    let media_type = body::media_type(headers).map(MediaType::new);
    let expected = expected.or_else(|| named_digest(headers));
    let size =
        answer.response.content_length().filter(|_| expected.is_some() && has_ranges(headers));
    let context = host.endpoint().context();
    let mut bytes = BytesMut::new();
    let mut outcome =
        body::read_into(context, answer.response, MAX_MANIFEST_BYTES, &mut bytes).await;
    for _ in 0..MAX_CONTINUATIONS {
        let (Err(fault), Some(size)) = (&outcome, size) else { break };
        let had = bytes.len();
        if had == 0 || !fault.is_interruption() {
            break;
        }
        tracing::debug!(host = host.endpoint().name(), %fault, "going on at byte {had} of {document}");
        let rest = ByteRange { start: had as u64, end: size };
        let Ok(answer) = send(host, Method::GET, document, Some(rest)).await else { break };
        let response = answer.response;
        if response.status() != StatusCode::PARTIAL_CONTENT
            || rest.answered(response.headers(), size).ok() != Some(rest)
            || response.headers().contains_key(CONTENT_ENCODING)
        {
            break;
        }
        outcome = body::read_into(context, response, MAX_MANIFEST_BYTES, &mut bytes).await;
        if bytes.len() == had {
            break;
        }
    }
    outcome?;
    let digest = Digest::of(&bytes);
    let bytes = bytes.freeze();
    match expected {
        Some(expected) if expected != digest => {
            Err(Fault::DigestMismatch { expected, actual: digest })
        }
        _ => Ok(Document { bytes, media_type, digest }),
    }
}

/// Whether the rest of this answer can be asked for. See RFC 9110 §14.3.
fn has_ranges(headers: &HeaderMap) -> bool {
    let offered = headers.get(ACCEPT_RANGES).is_some_and(|value| value == "bytes");
    offered && !headers.contains_key(CONTENT_ENCODING)
}

/// What some kind of manifest has: OCI's and docker's, schema1, and OCI's former artifacts.
const MEMBERS: [&str; 6] = ["mediaType", "config", "layers", "manifests", "fsLayers", "blobs"];

/// Tells apart what may have been pushed under a tag, good or bad, and what a portal or a gateway
/// answers in a registry's place, whatever type it gives it.
///
/// # Errors
/// [`Fault::NoManifest`] or [`Fault::Html`].
pub(crate) fn check_manifest(bytes: &[u8]) -> Result<(), Fault> {
    let bytes = bytes.trim_ascii();
    if bytes.starts_with(b"<") {
        return Err(Fault::Html);
    }
    let what = if bytes.is_empty() {
        "nothing".to_owned()
    } else {
        // Text that is not UTF-8 is the business of whoever reads the manifest.
        match serde_json::from_str::<HashMap<String, IgnoredAny>>(&String::from_utf8_lossy(bytes)) {
            Ok(members) if MEMBERS.iter().any(|member| members.contains_key(*member)) => {
                return Ok(());
            }
            Ok(_) => match envelope::reason(bytes) {
                Some(words) => format!("200 and {words:?}"),
                None => "JSON of another kind".to_owned(),
            },
            Err(error) if error.is_data() => "JSON of another kind".to_owned(),
            Err(_) => "something that is no JSON".to_owned(),
        }
    };
    Err(Fault::NoManifest(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_registry_holds_is_told_from_manifests_good_or_bad() {
        let other = Some("JSON of another kind");
        for (body, expected) in [
            (r#"{"schemaVersion":2,"config":{},"layers":[]}"#, None),
            (r#"{"manifests":null}"#, None),
            (r#"{"manifests":[],"layers":[]}"#, None),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, None),
            (r#"{"mediaType":"application/vnd.oci.artifact.manifest.v1+json"}"#, None),
            ("", Some("nothing")),
            (" \n", Some("nothing")),
            ("OK", Some("something that is no JSON")),
            (r#"{"manifests":[}"#, Some("something that is no JSON")),
            (r#"{"status":"ok"}"#, other),
            (r#"{"schemaVersion":2}"#, other),
            ("[]", other),
            (r#"{"errors":[{"message":"unknown"}]}"#, Some(r#"200 and "unknown""#)),
        ] {
            let expected = expected.map_or(Ok(()), |what| Err(Fault::NoManifest(what.to_owned())));
            assert_eq!(check_manifest(body.as_bytes()), expected, "{body}");
        }
        assert_eq!(check_manifest(b" <!DOCTYPE html>"), Err(Fault::Html));
    }
}
