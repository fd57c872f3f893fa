//! An upload's session at a registry: where its requests go, how many bytes it has, how it ends.

use http::header::{LOCATION, RANGE};
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use super::refusal;
use crate::oci::Digest;
use crate::registry::ask::host::Host;
use crate::registry::auth::Action;
use crate::registry::blob::ranges::ByteRange;
use crate::registry::fault::Fault;
use crate::registry::http::clients::Lane;
use crate::registry::http::exchange::{Answer, Call};
use crate::registry::http::payload::Payload;
use crate::registry::http::redirect;
use crate::registry::upload_fault::UploadFault;

/// What people are shown of a request that begins an upload.
const UPLOADS: &str = "blobs/uploads/";

/// An upload that has been begun.
#[derive(Debug, Clone)]
pub struct Session {
    place: Place,
}

/// Where the requests of a session go. Registries name another place with each answer.
#[derive(Debug, Clone, PartialEq)]
enum Place {
    /// Path and query at the host itself.
    Own(String),
    /// At another host, where this one's logins and headers have no business.
    Elsewhere(Url),
}

/// What a registry made of the wish to upload a blob.
#[derive(Debug)]
pub enum Begun {
    /// It has the blob: another repository's is this one's now, too.
    Mounted,
    /// The bytes are to be sent.
    Session(Session),
}

/// What a session has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// So many bytes from the blob's beginning.
    Bytes(u64),
    /// Nothing or one byte: docker-registry says `0-0` for both.
    NothingOrOne,
    /// The registry does not say.
    Untold,
}

/// A request of a session, as far as it differs from the others.
#[derive(Debug)]
pub(super) struct Step<'a> {
    pub(super) method: Method,
    pub(super) label: &'a str,
    /// The blob's, with the request that completes it.
    pub(super) digest: Option<Digest>,
    pub(super) payload: Payload,
    pub(super) part: Option<ByteRange>,
}

impl Session {
    /// Begins an upload at `host`, of a blob that may be had from another repository there.
    ///
    /// # Errors
    /// A [`Fault`] when the registry refuses or does not answer.
    pub(super) async fn begin(host: &Host, mount: Option<(Digest, &str)>) -> Result<Begun, Fault> {
        let digest = mount.map(|(digest, _)| digest.to_string());
        let (action, parameters) = match (mount, &digest) {
            (Some((_, from)), Some(digest)) => {
                let action = Action::Mount { from: from.to_owned() };
                (action, vec![("mount", digest.as_str()), ("from", from)])
            }
            _ => (Action::Push, Vec::new()),
        };
        let path = host.path_with(UPLOADS, &parameters);
        let call = Call {
            access: Some(&host.access(&action)),
            payload: Payload::Bytes(bytes::Bytes::new()),
            ..Call::new(Method::POST, &path, UPLOADS)
        };
        let answer = host.endpoint().send(&call).await?;
        match answer.response.status() {
            StatusCode::CREATED if mount.is_some() => Ok(Begun::Mounted),
            StatusCode::ACCEPTED => {
                let base = answer.target.map_or(Place::Own(path), Place::Elsewhere);
                let place = Place::read(host, &base, answer.response.headers())?;
                place.map(|place| Begun::Session(Self { place })).ok_or_else(|| {
                    Fault::Malformed("an upload was begun without a place to send it to".to_owned())
                })
            }
            status if status.is_success() => {
                Err(Fault::Malformed(format!("an upload was begun with {status}")))
            }
            _ => Err(match refusal::of(host, answer, 0).await.fault {
                Fault::NotFound { reason } => UploadFault::NoRepository { reason }.into(),
                fault => fault,
            }),
        }
    }

    /// Sends one request of the session.
    ///
    /// # Errors
    /// A [`Fault`] when there is no answer.
    pub(super) async fn send(&self, host: &Host, step: Step<'_>) -> Result<Answer, Fault> {
        let Step { method, label, digest, payload, part } = step;
        let place = match digest {
            Some(digest) => self.place.completing(&digest),
            None => self.place.clone(),
        };
        let access = host.access(&Action::Push);
        let (path, target) = match &place {
            Place::Own(path) => (path.as_str(), None),
            Place::Elsewhere(url) => ("", Some(url)),
        };
        let call = Call {
            target,
            lane: Lane::Blob,
            access: Some(&access),
            payload,
            content_type: Some("application/octet-stream"),
            content_range: part,
            ..Call::new(method, path, label)
        };
        host.endpoint().send(&call).await
    }

    /// Takes note of where `headers`, of an answer of the session, say that it goes on.
    ///
    /// # Errors
    /// [`Fault::BadRedirect`].
    pub(super) fn moves(&mut self, host: &Host, headers: &HeaderMap) -> Result<(), Fault> {
        if let Some(place) = Place::read(host, &self.place, headers)? {
            self.place = place;
        }
        Ok(())
    }

    /// Asks how many bytes the registry has.
    ///
    /// # Errors
    /// A [`Fault`] when it does not know the session, or does not answer.
    pub(super) async fn status(&mut self, host: &Host) -> Result<Received, Fault> {
        let step = Step {
            method: Method::GET,
            label: UPLOADS,
            digest: None,
            payload: Payload::None,
            part: None,
        };
        let answer = self.send(host, step).await?;
        if !answer.response.status().is_success() {
            return Err(refusal::of(host, answer, 0).await.fault);
        }
        self.moves(host, answer.response.headers())?;
        Ok(received(answer.response.headers()))
    }

    /// Lets the registry forget what it has. It does so by itself in the end.
    pub(super) async fn cancel(self, host: &Host) {
        let step = Step {
            method: Method::DELETE,
            label: UPLOADS,
            digest: None,
            payload: Payload::None,
            part: None,
        };
        if let Err(fault) = self.send(host, step).await {
            tracing::debug!(%fault, "an upload that is not wanted could not be ended");
        }
    }
}

/// What `headers`, of an answer of a session, say that the registry has.
pub(super) fn received(headers: &HeaderMap) -> Received {
    let Some(text) = headers.get(RANGE).and_then(|value| value.to_str().ok()) else {
        return Received::Untold;
    };
    let text = text.trim();
    let text = text.strip_prefix("bytes=").or(text.strip_prefix("bytes ")).unwrap_or(text);
    match text.split_once('-').map(|(first, last)| (first.trim(), last.trim().parse::<u64>())) {
        Some(("0", Ok(0))) => Received::NothingOrOne,
        Some(("0", Ok(last))) => Received::Bytes(last.saturating_add(1)),
        _ => Received::Untold,
    }
}

impl Place {
    /// What `Location` names, relative or absolute, with its query; `None` without one.
    fn read(host: &Host, base: &Self, headers: &HeaderMap) -> Result<Option<Self>, Fault> {
        if !headers.contains_key(LOCATION) {
            return Ok(None);
        }
        let base = match base {
            Self::Own(path) => host.endpoint().url(path)?,
            Self::Elsewhere(url) => url.clone(),
        };
        let url = redirect::location(&base, headers)?;
        Ok(Some(host.endpoint().own_path(&url).map_or(Self::Elsewhere(url), Self::Own)))
    }

    /// The same for the request that completes the blob.
    fn completing(&self, digest: &Digest) -> Self {
        // The rest of the query is the registry's, and stays as it is.
        let with = |text: &str| {
            let separator = if text.contains('?') { '&' } else { '?' };
            format!("{text}{separator}digest={}", digest.to_string().replace(':', "%3A"))
        };
        match self {
            Self::Own(path) => Self::Own(with(path)),
            Self::Elsewhere(url) => {
                Self::Elsewhere(with(url.as_str()).parse().unwrap_or_else(|_| url.clone()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_session_has_is_read_as_registries_write_it() {
        for (range, expected) in [
            (Some("0-0"), Received::NothingOrOne),
            (Some("0-9"), Received::Bytes(10)),
            (Some("bytes=0-9"), Received::Bytes(10)),
            (Some("bytes 0-9"), Received::Bytes(10)),
            (Some("5-9"), Received::Untold),
            (Some("0-"), Received::Untold),
            (Some("0--1"), Received::Untold),
            (Some("0-18446744073709551615"), Received::Bytes(u64::MAX)),
            (None, Received::Untold),
        ] {
            let headers = range.map(|range| (RANGE, range.parse().unwrap()));
            assert_eq!(received(&headers.into_iter().collect()), expected, "{range:?}");
        }
    }

    #[test]
    fn the_digest_joins_the_registrys_own_query() {
        let digest = Digest::of(b"");
        let hex = digest.hex();
        for (place, expected) in [
            ("/v2/a/blobs/uploads/1", format!("/v2/a/blobs/uploads/1?digest=sha256%3A{hex}")),
            ("/u?_state=a%2Fb%3D", format!("/u?_state=a%2Fb%3D&digest=sha256%3A{hex}")),
        ] {
            assert_eq!(Place::Own(place.to_owned()).completing(&digest), Place::Own(expected));
        }
        let elsewhere = Place::Elsewhere("https://b.example/u?s=1".parse().unwrap());
        let expected = format!("https://b.example/u?s=1&digest=sha256%3A{hex}");
        assert_eq!(elsewhere.completing(&digest), Place::Elsewhere(expected.parse().unwrap()));
    }
}
