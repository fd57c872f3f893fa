//! A run of a blob's bytes, carried on at the next byte wherever a host breaks off.

use std::sync::Arc;

use bytes::Bytes;

use super::content;
use super::error::Error;
use super::fault::Fault;
use super::ranges::ByteRange;
use super::retry::Tries;
use super::source::{Opened, Source};

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
}

impl Segment {
    /// Nothing is asked before the first [`Segment::open`] or [`Segment::next`].
    pub(crate) fn new(source: Arc<Source>, range: ByteRange) -> Self {
        let endpoints = source.locations.iter().map(|location| Arc::clone(&location.endpoint));
        let tries = Tries::new(Arc::clone(&source.context), endpoints);
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
            match self.source.open(location, self.rest).await {
                Ok(opened) => {
                    self.body = Some(Body { opened, location: index, delivered: 0 });
                }
                Err(fault) => self.tries.failed(index, fault),
            }
        }
        Ok(())
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
        tracing::debug!(host = self.source.locations.get(body.location).map(|location| location.endpoint.name()), %fault, at = self.rest.start, "blob broke off");
        self.tries.failed(body.location, fault);
        if body.delivered >= PROGRESS {
            self.tries.progressed(body.location);
        }
    }

    /// Reads the end of the body, which lets the connection be used again.
    async fn finish(&mut self) -> Option<Result<Bytes, Error>> {
        if let Some(mut body) = self.body.take() {
            let end = content::next_frame(&self.source.context, &mut body.opened.response).await;
            if let Ok(Some(_)) = end {
                self.tries.failed(body.location, Fault::Excess { expected: self.rest.end });
            }
        }
        None
    }
}

/// The next bytes of `rest`; fails at the body's end.
async fn read(source: &Source, opened: &mut Opened, rest: ByteRange) -> Result<Bytes, Fault> {
    let missing = rest.end - rest.start;
    loop {
        let Some(frame) = content::next_frame(&source.context, &mut opened.response).await? else {
            return Err(Fault::Truncated { missing });
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
