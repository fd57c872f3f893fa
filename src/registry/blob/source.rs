//! Where a blob's bytes are to be had: its hosts, and what was learnt about each.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{Method, StatusCode};
use reqwest::Response;
use url::Url;

use crate::oci::{Descriptor, Digest};
use crate::progress::Event;
use crate::registry::ask::host::Host;
use crate::registry::auth::{Access, Action};
use crate::registry::blob::ranges::{self, ByteRange};
use crate::registry::context::Context;
use crate::registry::fault::Fault;
use crate::registry::hint::SettingsPlace;
use crate::registry::http::body::{self, Decoder};
use crate::registry::http::clients::Lane;
use crate::registry::http::endpoint::{Answer, Call, Endpoint, redirected};
use crate::sync::lock;

/// One blob and all places that may have it.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) context: Arc<Context>,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) locations: Vec<Location>,
    /// `read blob sha256:… of docker.io/library/busybox`, for errors.
    pub(crate) what: String,
    /// Index of the location to ask first: the one that delivered last.
    preferred: AtomicUsize,
}

/// One place that may have the blob.
#[derive(Debug)]
pub(crate) struct Location {
    pub(crate) endpoint: Arc<Endpoint>,
    /// Where the host's settings are changed.
    pub(crate) place: SettingsPlace,
    path: String,
    access: Option<Arc<Access>>,
    /// Where the host redirected to; asked directly from then on.
    target: Mutex<Option<Url>>,
    /// The host's answers are encoded, so that ranges of them are useless.
    encoded: AtomicBool,
    contributed: AtomicBool,
    /// Another host than the image's own registry.
    is_mirror: bool,
}

impl Location {
    /// `blobs/<digest>` of the repository at `host`.
    pub(crate) fn at(host: &Host, digest: &Digest) -> Self {
        let endpoint = Arc::clone(host.endpoint());
        let path = host.path(&format!("blobs/{digest}"));
        let access = Some(Arc::new(host.access(&Action::Pull)));
        let is_mirror = host.is_mirror();
        Self { is_mirror, ..Self::new(endpoint, host.place().clone(), path, access) }
    }

    /// `path` at `endpoint`, which is nobody's mirror and gets no login.
    pub(crate) fn anonymous(endpoint: Arc<Endpoint>, path: String) -> Self {
        let place = SettingsPlace::of(endpoint.settings(), endpoint.name());
        Self::new(endpoint, place, path, None)
    }

    fn new(
        endpoint: Arc<Endpoint>,
        place: SettingsPlace,
        path: String,
        access: Option<Arc<Access>>,
    ) -> Self {
        Self {
            endpoint,
            place,
            path,
            access,
            target: Mutex::default(),
            encoded: AtomicBool::new(false),
            contributed: AtomicBool::new(false),
            is_mirror: false,
        }
    }
}

/// An open response, positioned at the byte asked for after `skip` bytes.
pub(crate) struct Opened {
    pub(crate) response: Response,
    pub(crate) decoder: Option<Decoder>,
    /// What has come and is not decoded yet.
    pub(crate) encoded: Bytes,
    /// Bytes of the blob before the one asked for, sent by a server without ranges.
    pub(crate) skip: u64,
    /// Whether this is the range asked for, rather than the whole blob.
    pub(crate) ranged: bool,
}

impl Source {
    /// Blob `descriptor`, to be had at `locations`.
    pub(crate) fn new(
        context: Arc<Context>,
        descriptor: &Descriptor,
        locations: Vec<Location>,
        what: String,
    ) -> Self {
        let Descriptor { digest, size, .. } = *descriptor;
        Self { context, digest, size, locations, what, preferred: AtomicUsize::new(0) }
    }

    /// What requests for it are called in errors.
    pub(crate) fn request(&self) -> String {
        format!("blobs/{}", self.digest)
    }

    /// The location to ask first.
    pub(crate) fn preferred(&self) -> usize {
        self.preferred.load(Ordering::Relaxed)
    }

    /// Asks the location `index` first from now on.
    pub(crate) fn prefer(&self, index: usize) {
        self.preferred.store(index, Ordering::Relaxed);
    }

    /// Asks `location` for `range`, and for the whole where ranges are useless.
    pub(crate) async fn open(
        &self,
        location: &Location,
        range: ByteRange,
    ) -> Result<Opened, Fault> {
        let whole = range == ByteRange { start: 0, end: self.size };
        if !whole && !location.encoded.load(Ordering::Relaxed) {
            let answer = self.ask(location, Some(range)).await?;
            if answer.response.status() != StatusCode::PARTIAL_CONTENT
                || !answer.response.headers().contains_key(CONTENT_ENCODING)
            {
                return self.accept(answer, range).await;
            }
            location.encoded.store(true, Ordering::Relaxed);
        }
        let answer = self.ask(location, None).await?;
        self.accept(answer, range).await
    }

    /// Where a chunk that lags behind may come faster: another mirror in good health, otherwise
    /// the same host over another connection. The image's own registry is left in peace as long as
    /// its mirrors work.
    pub(crate) fn alternative(&self) -> usize {
        let preferred = self.preferred();
        let others = self.locations.iter().enumerate().filter(|(index, _)| *index != preferred);
        others
            .filter(|(_, location)| location.is_mirror && location.endpoint.health().is_up())
            .map(|(index, _)| index)
            .next()
            .unwrap_or(preferred)
    }

    /// How long to wait for a chunk of `bytes` before it is asked for on a second connection;
    /// `None` while nothing is known of the host's usual pace.
    pub(crate) fn patience(&self, bytes: u64) -> Option<Duration> {
        let location = self.locations.get(self.preferred())?;
        let usual = location.endpoint.pace().patience(bytes)?;
        Some(usual.max(self.context.policy.hedge_after))
    }

    /// The chunk that begins at byte `start`.
    pub(crate) fn chunk(&self, start: u64) -> ByteRange {
        let length = self.context.policy.chunk(self.allowed_chunk());
        ByteRange { start, end: start.saturating_add(length).min(self.size) }
    }

    /// Whether it is still to be found out how long chunks may be.
    pub(crate) fn is_new(&self) -> bool {
        let policy = &self.context.policy;
        policy.long_chunk_bytes > policy.chunk_bytes && self.allowed_chunk().is_none()
    }

    fn allowed_chunk(&self) -> Option<u64> {
        self.locations.get(self.preferred())?.endpoint.pace().chunk_bytes()
    }

    /// Asks the location after `index` first from now on, if that was `index` so far.
    pub(crate) fn avoid(&self, index: usize) {
        let next = (index + 1) % self.locations.len().max(1);
        let _ = self.preferred.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Takes note that bytes came from the location `index`.
    pub(crate) fn contributed(&self, index: usize) {
        if let Some(location) = self.locations.get(index) {
            location.contributed.store(true, Ordering::Relaxed);
        }
    }

    /// Reports `count` bytes more of the blob.
    pub(crate) fn received(&self, count: u64) {
        self.context.sink.event(Event::Received { digest: self.digest, delta_bytes: count });
    }

    /// The hosts that bytes came from, in the order of the locations.
    pub(crate) fn contributors(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for location in &self.locations {
            let name = location.endpoint.name();
            // A host may be at several locations.
            if location.contributed.load(Ordering::Relaxed) && names.iter().all(|n| n != name) {
                names.push(name.to_owned());
            }
        }
        names
    }

    async fn ask(&self, location: &Location, range: Option<ByteRange>) -> Result<Answer, Fault> {
        let known = lock(&location.target).clone();
        let label = match range {
            None => self.request(),
            Some(range) => format!("{} bytes {range}", self.request()),
        };
        let call = |target| Call {
            method: Method::GET,
            path: &location.path,
            target,
            lane: Lane::Blob,
            accept: None,
            range,
            label: &label,
            access: location.access.as_deref(),
        };
        if let Some(target) = &known {
            let answer = location.endpoint.send(&call(Some(target))).await;
            match answer {
                Ok(answer) if !is_stale(answer.response.status()) => return Ok(answer),
                // The signature in the URL expired, or its host is gone: the registry knows another.
                _ => forget(&location.target, target),
            }
        }
        let answer = location.endpoint.send(&call(None)).await?;
        // The host itself is asked as before, with logins and headers.
        let elsewhere = answer.target.as_ref().filter(|target| !location.endpoint.is_own(target));
        if elsewhere.is_some() && answer.response.status().is_success() {
            *lock(&location.target) = elsewhere.cloned();
        }
        Ok(answer)
    }

    async fn accept(&self, answer: Answer, range: ByteRange) -> Result<Opened, Fault> {
        let Answer { response, standing, target } = answer;
        let headers = response.headers();
        let skip = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                range.check(headers, self.size)?;
                0
            }
            StatusCode::OK => range.start,
            StatusCode::RANGE_NOT_SATISFIABLE => {
                let actual = ranges::unsatisfied_total(headers).unwrap_or(0);
                return Err(Fault::SizeMismatch { expected: self.size, actual });
            }
            _ => {
                let fault = body::refusal(&self.context, response, standing).await;
                return Err(redirected(target.as_ref(), fault));
            }
        };
        if body::is_html(headers) {
            return Err(Fault::Html);
        }
        let decoder = Decoder::for_response(headers)?;
        let ranged = response.status() == StatusCode::PARTIAL_CONTENT;
        let promised = if ranged { range.length() } else { self.size };
        match response.content_length() {
            Some(actual) if actual != promised && decoder.is_none() => {
                Err(Fault::SizeMismatch { expected: promised, actual })
            }
            _ => Ok(Opened { response, decoder, encoded: Bytes::new(), skip, ranged }),
        }
    }
}

/// Whether a redirect's target says that its URL is no longer good.
fn is_stale(status: StatusCode) -> bool {
    status.is_client_error()
        && !matches!(
            status,
            StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::RANGE_NOT_SATISFIABLE
        )
}

/// Drops `stale`, unless another task has replaced it meanwhile.
fn forget(target: &Mutex<Option<Url>>, stale: &Url) {
    let mut target = lock(target);
    if target.as_ref() == Some(stale) {
        *target = None;
    }
}
