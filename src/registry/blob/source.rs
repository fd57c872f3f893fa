//! Where a blob's bytes are to be had: its hosts, and what was learnt about each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_ENCODING;
use reqwest::Response;

use crate::oci::{Descriptor, Digest};
use crate::progress::Event;
use crate::registry::blob::location::Location;
use crate::registry::blob::ranges::{self, ByteRange};
use crate::registry::blob::window::Reservation;
use crate::registry::context::Context;
use crate::registry::fault::Fault;
use crate::registry::http::body::{self, Decoder};
use crate::registry::http::exchange::Answer;
use crate::registry::http::redirect::redirected;

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

/// An open response, positioned at the byte asked for after `skip` bytes.
pub(crate) struct Opened {
    pub(crate) response: Response,
    pub(crate) decoder: Option<Decoder>,
    /// What has come and is not decoded yet.
    pub(crate) encoded: Bytes,
    /// Bytes of the blob before the one asked for, sent by a server without ranges.
    pub(crate) skip: u64,
    /// The byte of the blob where it ends.
    pub(crate) until: u64,
    /// Whether this is of the range asked for, rather than of the whole blob.
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

    /// Asks `location` for `range`, and for the whole where ranges are useless or get no good answer.
    pub(crate) async fn open(
        &self,
        location: &Location,
        range: ByteRange,
    ) -> Result<Opened, Fault> {
        if range == self.whole() || !location.serves_ranges() {
            return self.open_whole(location, range).await;
        }
        let ranges = location.endpoint.ranges();
        let fault = match self.open_range(location, range).await {
            Ok(Some(opened)) => {
                if opened.ranged {
                    ranges.prove();
                }
                return Ok(opened);
            }
            Ok(None) => return self.open_whole(location, range).await,
            Err(fault) => fault,
        };
        if !ranges.are_doubted_by(&fault) || !location.probes() {
            return Err(fault);
        }
        let opened = self.open_whole(location, range).await?;
        if ranges.refuse() {
            let host = location.endpoint.name();
            tracing::debug!(host, %fault, "gives no ranges: each blob comes whole from now on");
        }
        Ok(opened)
    }

    fn whole(&self) -> ByteRange {
        ByteRange { start: 0, end: self.size }
    }

    async fn open_whole(&self, location: &Location, range: ByteRange) -> Result<Opened, Fault> {
        let answer = location.ask(&self.request(), None).await?;
        if answer.response.status() == StatusCode::PARTIAL_CONTENT {
            // Nobody asked for a part.
            let part = self.whole().answered(answer.response.headers(), self.size)?;
            if part != self.whole() {
                return Err(Fault::WrongRange(format!("bytes {part} in place of all")));
            }
        }
        self.accept(answer, None, range).await
    }

    /// `None` when the answer is encoded, which makes ranges useless.
    async fn open_range(
        &self,
        location: &Location,
        range: ByteRange,
    ) -> Result<Option<Opened>, Fault> {
        let answer = location.ask(&self.request(), Some(range)).await?;
        let headers = answer.response.headers();
        let part = match answer.response.status() {
            StatusCode::PARTIAL_CONTENT if headers.contains_key(CONTENT_ENCODING) => {
                location.is_encoded();
                return Ok(None);
            }
            StatusCode::PARTIAL_CONTENT => Some(range.answered(headers, self.size)?),
            // Some servers have the wrong status over the right part.
            StatusCode::OK => range
                .answered(headers, self.size)
                .ok()
                .filter(|part| answer.response.content_length() == Some(part.length())),
            _ => None,
        };
        if part.is_some_and(|part| !location.takes_part(part.length(), range.length())) {
            return Err(Fault::WrongRange("only a few bytes at a time".to_owned()));
        }
        self.accept(answer, part, range).await.map(Some)
    }

    /// Where a chunk that lags behind may come faster: another mirror in good health, otherwise
    /// the same host over another connection. The image's own registry is left in peace as long as
    /// its mirrors work.
    pub(crate) fn alternative(&self) -> usize {
        let preferred = self.preferred();
        let others = self.locations.iter().enumerate().filter(|(index, _)| *index != preferred);
        others
            .filter(|(_, location)| location.may_help_out())
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

    /// The chunk that begins at byte `start`, for a consumer who is waited for and takes `sated` bytes a
    /// second.
    pub(crate) fn chunk(&self, start: u64, sated: Option<u64>) -> ByteRange {
        let length = self.context.policy.chunk(self.allowed_chunk(), sated);
        ByteRange { start, end: start.saturating_add(length).min(self.size) }
    }

    /// How many bytes of a chunk of `range` may wait for their consumer.
    pub(crate) fn room(&self, range: ByteRange) -> u64 {
        self.context.policy.room(range.length())
    }

    /// Waits until a chunk of `range` may be asked for.
    pub(crate) async fn ask(&self, range: ByteRange) -> Option<Reservation> {
        self.context.budget.ask(range.length(), self.room(range)).await
    }

    /// Whether a chunk of `range` is asked for before it has room.
    pub(crate) fn asks_ahead(&self, range: ByteRange) -> bool {
        self.context.policy.asks_ahead(range.length())
    }

    /// Waits for room for a chunk of `range`, or for the part of it that may wait for its consumer.
    pub(crate) async fn reserve(&self, range: ByteRange) -> Option<Reservation> {
        self.context.budget.reserve(range.length(), self.room(range)).await
    }

    /// Whether it is still to be found out how long chunks may be.
    pub(crate) fn is_new(&self) -> bool {
        self.context.policy.is_free_to_choose() && self.allowed_chunk().is_none()
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
            location.contributed();
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
            if location.has_contributed() && names.iter().all(|n| n != name) {
                names.push(name.to_owned());
            }
        }
        names
    }

    /// Takes `answer`, which is `part` of the blob or the whole, for what there is of `range`.
    async fn accept(
        &self,
        answer: Answer,
        part: Option<ByteRange>,
        range: ByteRange,
    ) -> Result<Opened, Fault> {
        let Answer { response, standing, target } = answer;
        let headers = response.headers();
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => {}
            StatusCode::RANGE_NOT_SATISFIABLE
                if ranges::unsatisfied_total(headers).is_some_and(|total| total != self.size) =>
            {
                let actual = ranges::unsatisfied_total(headers).unwrap_or(0);
                return Err(Fault::SizeMismatch { expected: self.size, actual });
            }
            _ => {
                let fault = body::refusal(&self.context, response, standing).await;
                return Err(redirected(target.as_ref(), fault));
            }
        }
        if body::is_html(headers) {
            return Err(Fault::Html);
        }
        let decoder = Decoder::for_response(headers)?;
        let sent = part.unwrap_or(self.whole());
        match response.content_length() {
            Some(actual) if actual != sent.length() && decoder.is_none() => {
                return Err(match part {
                    None => Fault::SizeMismatch { expected: self.size, actual },
                    Some(part) => Fault::WrongRange(format!("{actual} bytes as bytes {part}")),
                });
            }
            _ => {}
        }
        let skip = range.start.saturating_sub(sent.start);
        let (encoded, ranged) = (Bytes::new(), part.is_some());
        Ok(Opened { response, decoder, encoded, skip, until: sent.end, ranged })
    }
}
