//! What a pull wants of a host: the manifest, that of the platform, and the layers, of which one byte
//! is asked for.

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Method, StatusCode};
use serde_json::json;

use super::asker::{Asker, spoken};
use super::report::{Step, StepKind};
use crate::failure::Notice;
use crate::oci::{Descriptor, Digest, MAX_MANIFEST_BYTES, ManifestKind, MediaType};
use crate::registry::api::document;
use crate::registry::blob::ranges::ByteRange;
use crate::registry::fault::Fault;
use crate::registry::http::authority::authority;
use crate::registry::http::body;
use crate::registry::http::clients::Lane;
use crate::registry::http::exchange::{Answer, Call};
use crate::registry::http::redirect::redirected;

/// Says which of an index's entries runs here, or why none does.
pub type Chooser<'a> = dyn Fn(&[Descriptor]) -> Result<Descriptor, String> + Send + Sync + 'a;

/// Most indexes that one may lead to.
const MAX_NESTING: usize = 4;

/// A document that was read.
pub(super) struct Document {
    pub(super) bytes: Bytes,
    pub(super) media_type: MediaType,
    pub(super) digest: Digest,
}

/// Asks for the head of `name`, a tag or a digest. The answer comes back where it is a refusal.
pub(super) async fn head(
    asker: &mut Asker<'_>,
    name: &str,
) -> (Step, Result<(), Result<Answer, Fault>>) {
    let label = format!("manifests/{name}");
    let path = asker.host.path(&label);
    let call = Call { accept: Some(document::ACCEPT), ..Call::new(Method::HEAD, &path, &label) };
    let (took, answer) = asker.ask(&call).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(fault) => return (Step::bad(StepKind::Head, Some(took), &fault), Err(Err(fault))),
    };
    let (status, headers) = (answer.response.status(), answer.response.headers());
    let digest = document::named_digest(headers);
    let kind = body::media_type(headers).map(str::to_owned);
    let size = headers.get(CONTENT_LENGTH).and_then(|size| size.to_str().ok()).map(str::to_owned);
    let details = json!({
        "status": status.as_u16(), "http": spoken(&answer), "digest": digest.map(|digest| digest.to_string()),
        "media_type": kind, "size": size,
    });
    let named = digest.map_or_else(|| "no digest".to_owned(), |digest| digest.to_string());
    let text = format!("{status}, {}, {named}", spoken(&answer));
    if status == StatusCode::OK {
        return (Step::good(StepKind::Head, Some(took), text).with(details), Ok(()));
    }
    let step = Step::good(StepKind::Head, Some(took), format!("{status}, {}", spoken(&answer)));
    (Step { ok: false, ..step }.with(details), Err(Ok(answer)))
}

/// Reads `name`, of which `expected` is the digest where one is known.
pub(super) async fn read(
    asker: &mut Asker<'_>,
    kind: StepKind,
    name: &str,
    expected: Option<Digest>,
) -> (Step, Result<Document, Fault>) {
    let label = format!("manifests/{name}");
    let path = asker.host.path(&label);
    let call = Call { accept: Some(document::ACCEPT), ..Call::new(Method::GET, &path, &label) };
    let (took, answer) = asker.ask(&call).await;
    let started = tokio::time::Instant::now();
    let read = match answer {
        Ok(answer) => read_answer(asker, answer, expected).await,
        Err(fault) => Err(fault),
    };
    let took = Some(took + started.elapsed());
    match read {
        Ok(document) => {
            let size = document.bytes.len();
            let text = format!("{size} bytes, {}, {}", document.media_type, document.digest);
            let step = Step::good(kind, took, text).with(json!({
                "digest": document.digest.to_string(), "size": size,
                "media_type": document.media_type.to_string(),
            }));
            (step, Ok(document))
        }
        Err(fault) => (Step::bad(kind, took, &fault), Err(fault)),
    }
}

async fn read_answer(
    asker: &Asker<'_>,
    answer: Answer,
    expected: Option<Digest>,
) -> Result<Document, Fault> {
    if answer.response.status() != StatusCode::OK {
        return Err(asker.refusal(answer).await);
    }
    let headers = answer.response.headers();
    if body::is_html(headers) {
        return Err(Fault::Html);
    }
    let media_type = MediaType::new(body::media_type(headers).unwrap_or_default());
    let expected = expected.or_else(|| document::named_digest(headers));
    let context = asker.host.endpoint().context();
    let bytes = body::read_bounded(context, answer.response, MAX_MANIFEST_BYTES).await?;
    document::check_manifest(&bytes)?;
    let digest = Digest::of(&bytes);
    match expected {
        Some(expected) if expected != digest => {
            Err(Fault::DigestMismatch { expected, actual: digest })
        }
        _ => Ok(Document { bytes, media_type, digest }),
    }
}

/// What a document leads to.
pub(super) enum Led {
    /// To the largest layer.
    Layer(Box<Descriptor>),
    /// To an image without layers.
    Nothing,
    /// To no image that runs here.
    NoPlatform(String),
    /// Into a fault.
    Fault(Fault),
}

/// From the document of the reference to the largest layer of the image that runs here.
pub(super) async fn follow(
    asker: &mut Asker<'_>,
    mut document: Document,
    choose: &Chooser<'_>,
    steps: &mut Vec<Step>,
) -> Led {
    for _ in 0..MAX_NESTING {
        let unusable = |error: &dyn std::fmt::Display| Fault::NoManifest(error.to_string());
        let index = match ManifestKind::parse(&document.media_type, &document.bytes) {
            Ok(ManifestKind::Index(index)) => index,
            Ok(ManifestKind::Manifest(manifest)) => {
                let largest = manifest.layers.into_iter().max_by_key(|layer| layer.size);
                return largest.map_or(Led::Nothing, |layer| Led::Layer(Box::new(layer)));
            }
            Err(error) => return Led::Fault(unusable(&error)),
        };
        let chosen = match choose(&index.manifests) {
            Ok(chosen) => chosen,
            Err(why) => {
                steps.push(Step {
                    ok: false,
                    code: Some("no-platform"),
                    ..Step::good(StepKind::PlatformManifest, None, why.clone())
                });
                return Led::NoPlatform(why);
            }
        };
        let name = chosen.digest.to_string();
        let (step, read) =
            read(asker, StepKind::PlatformManifest, &name, Some(chosen.digest)).await;
        steps.push(step);
        document = match read {
            Ok(read) => Document { media_type: chosen.media_type.clone(), ..read },
            Err(fault) => return Led::Fault(fault),
        };
    }
    Led::Fault(Fault::NoManifest("indexes of indexes".to_owned()))
}

/// Asks for one byte of `layer`.
pub(super) async fn layer(asker: &mut Asker<'_>, layer: &Descriptor) -> (Step, Result<(), Fault>) {
    let label = format!("blobs/{}", layer.digest);
    let path = asker.host.path(&label);
    let range = ByteRange { start: 0, end: 1 };
    let call =
        Call { lane: Lane::Blob, range: Some(range), ..Call::new(Method::GET, &path, &label) };
    let (took, answer) = asker.ask(&call).await;
    let started = tokio::time::Instant::now();
    let outcome = match answer {
        Ok(answer) => byte_of(asker, answer, range, layer).await,
        Err(fault) => Err(fault),
    };
    let took = Some(took + started.elapsed());
    match outcome {
        Ok((text, details)) => (Step::good(StepKind::Layer, took, text).with(details), Ok(())),
        Err(fault) => {
            let details = json!({"digest": layer.digest.to_string(), "size": layer.size});
            (Step::bad(StepKind::Layer, took, &fault).with(details), Err(fault))
        }
    }
}

async fn byte_of(
    asker: &mut Asker<'_>,
    answer: Answer,
    range: ByteRange,
    layer: &Descriptor,
) -> Result<(String, serde_json::Value), Fault> {
    let endpoint = asker.host.endpoint();
    let target = answer.target.clone().filter(|target| !endpoint.is_own(target));
    let blamed = |fault| redirected(target.as_ref(), fault);
    let (status, http) = (answer.response.status(), spoken(&answer));
    let elsewhere = target.as_ref().map(authority);
    if body::is_html(answer.response.headers()) {
        return Err(blamed(Fault::Html));
    }
    match status {
        StatusCode::PARTIAL_CONTENT => {
            range.answered(answer.response.headers(), layer.size).map_err(blamed)?;
        }
        StatusCode::OK => {
            let who = elsewhere.as_deref().unwrap_or(endpoint.name());
            let message =
                format!("{who} serves no ranges of layers: a broken transfer begins anew");
            asker.remark(Notice::new("no-ranges", message));
        }
        _ => return Err(blamed(asker.refusal(answer).await)),
    }
    let mut response = answer.response;
    // The whole may come in place of the byte; of that no more than what is there at once is read.
    let first = body::next_frame(asker.host.endpoint().context(), &mut response).await;
    match first.map_err(blamed)? {
        Some(bytes) if !bytes.is_empty() => {}
        _ => return Err(redirected(target.as_ref(), Fault::Truncated)),
    }
    let to = elsewhere.as_ref().map(|host| format!(", redirected to {host}")).unwrap_or_default();
    let text = format!("{status}, {http}{to}, of {} with {} bytes", layer.digest, layer.size);
    let details = json!({
        "status": status.as_u16(), "http": http, "digest": layer.digest.to_string(),
        "size": layer.size, "redirected_to": elsewhere,
    });
    Ok((text, details))
}
