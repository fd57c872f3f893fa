//! A run of a blob's bytes, carried on at the next byte wherever a host breaks off.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::content;
use super::error::Error;
use super::fault::Fault;
use super::ranges::ByteRange;
use super::retry::Tries;
use super::source::{Opened, Source};
use super::window::Connection;

/// How much must have come from a host for its breaking off to count as a fresh fault, in bytes
/// (64 KiB); less would let a host that trickles be retried for ever.
const PROGRESS: u64 = 64 * 1024;

/// Yields the bytes of a range in order, each once.
pub(crate) struct Segment {
    source: Arc<Source>,
    tries: Tries,
    /// What is still to come.
    rest: ByteRange,
    body: Option<Body>,
}

struct Body {
    opened: Opened,
    location: usize,
    delivered: u64,
    asked: Instant,
    _connection: Option<Connection>,
}

impl Segment {
    /// Nothing is asked before the first [`Segment::open`] or [`Segment::next`].
    pub(crate) fn new(source: Arc<Source>, range: ByteRange) -> Self {
        let endpoints = source.locations.iter().map(|location| Arc::clone(&location.endpoint));
        let tries = Tries::new(Arc::clone(&source.context), endpoints, source.preferred());
        Self { source, tries, rest: range, body: None }
    }

    /// Makes sure that a host has begun to answer.
    pub(crate) async fn open(&mut self) -> Result<(), Error> {
        while self.body.is_none() {
            let index = match self.tries.next().await {
                Ok(index) => index,
                Err(given_up) => {
                    return Err(given_up.error(self.source.what.clone(), &self.source.request()));
                }
            };
            let Some(location) = self.source.locations.get(index) else { continue };
            let _connection = self.source.context.budget.connection().await;
            let asked = Instant::now();
            match self.source.open(location, self.rest).await {
                Ok(opened) => {
                    self.source.prefer(index);
                    let (location, delivered) = (index, 0);
                    self.body = Some(Body { opened, location, delivered, asked, _connection });
                }
                Err(fault) => self.tries.failed(index, fault),
            }
        }
        Ok(())
    }

    /// Whether the open response is a range, rather than the whole blob.
    pub(crate) fn is_ranged(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.opened.ranged)
    }

    /// Takes in what follows, up to byte `end`. An open response must be of the whole blob.
    pub(crate) fn extend_to(&mut self, end: u64) {
        self.rest.end = end;
    }

    /// The next bytes; `None` when all have come.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        while self.rest.start < self.rest.end {
            if let Err(error) = self.open().await {
                return Some(Err(error));
            }
            let Some(body) = &mut self.body else { continue };
            match read(&self.source, &mut body.opened, self.rest).await {
                Ok(bytes) => {
                    self.rest.start += bytes.len() as u64;
                    body.delivered += bytes.len() as u64;
                    if let Some(location) = self.source.locations.get(body.location) {
                        self.source.received(location, bytes.len());
                    }
                    return Some(Ok(bytes));
                }
                Err(fault) => self.broke_off(fault),
            }
        }
        self.finish().await
    }

    fn broke_off(&mut self, fault: Fault) {
        let Some(body) = self.body.take() else { return };
        if let Some(location) = self.source.locations.get(body.location) {
            let request = format!("GET {} from byte {}", self.source.request(), self.rest.start);
            let host = location.endpoint.name();
            self.source.context.attempt(host, &request, fault.to_string(), body.asked);
        }
        self.tries.failed(body.location, fault);
        if body.delivered >= PROGRESS {
            self.tries.progressed(body.location);
        }
    }

    /// Reads the end of the body, which lets the connection be used again.
    async fn finish(&mut self) -> Option<Result<Bytes, Error>> {
        let mut body = self.body.take()?;
        let end = content::next_frame(&self.source.context, &mut body.opened.response).await;
        let Ok(Some(_)) = end else { return None };
        self.tries.failed(body.location, Fault::Excess { expected: self.rest.end });
        let given_up = self.tries.give_up(None);
        Some(Err(given_up.error(self.source.what.clone(), &self.source.request())))
    }
}

/// The next bytes of `rest`; fails at the body's end.
async fn read(source: &Source, opened: &mut Opened, rest: ByteRange) -> Result<Bytes, Fault> {
    let missing = rest.end - rest.start;
    loop {
        let Some(frame) = content::next_frame(&source.context, &mut opened.response).await? else {
            return Err(Fault::Truncated);
        };
        let room = usize::try_from(opened.skip.saturating_add(missing)).unwrap_or(usize::MAX);
        let mut bytes = match &mut opened.decoder {
            None => frame,
            Some(decoder) => decoder.decode(&frame, room)?,
        };
        let skipped = bytes.len().min(usize::try_from(opened.skip).unwrap_or(usize::MAX));
        opened.skip -= skipped as u64;
        drop(bytes.split_to(skipped));
        if bytes.len() as u64 > missing {
            return Err(Fault::Excess { expected: rest.end });
        }
        if !bytes.is_empty() {
            return Ok(bytes);
        }
    }
}
