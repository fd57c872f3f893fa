//! A run of a blob's bytes, carried on at the next byte wherever a host breaks off.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::registry::ask::tries::Tries;
use crate::registry::ask::turn::{Question, in_turn};
use crate::registry::blob::ranges::ByteRange;
use crate::registry::blob::source::{Opened, Source};
use crate::registry::blob::window::Connection;
use crate::registry::context::Context;
use crate::registry::error::Error;
use crate::registry::fault::Fault;
use crate::registry::http::body;

/// How much must have come from a host for its breaking off to count as a fresh fault, in bytes
/// (64 KiB); less would let a host that trickles be retried for ever.
const PROGRESS: u64 = 64 * 1024;

/// Who had to wait so long for our consumer may close the connection: nginx does after a minute.
const LONG_REST: Duration = Duration::from_secs(10);

/// How long a host's speed is watched before it is judged: long enough for a pause to pass.
const WATCHED: Duration = Duration::from_secs(5);

/// Yields the bytes of a range in order, each once.
pub(crate) struct Segment {
    source: Arc<Source>,
    tries: Tries,
    /// The location to begin with.
    preferred: usize,
    /// What is still to come.
    rest: ByteRange,
    /// Kept until all has come, over any failure: what has room in the window never waits for one again.
    connection: Option<Connection>,
    body: Option<Body>,
}

struct Body {
    opened: Opened,
    location: usize,
    delivered: u64,
    asked: Instant,
    /// How long it waited for our consumer, and of that, since the last bytes came.
    rested: Duration,
    resting: Duration,
    speed: Speed,
}

/// Bytes and the time that was spent waiting for them, and not for our consumer.
#[derive(Default)]
struct Speed {
    bytes: u64,
    waited: Duration,
}

impl Speed {
    /// Adds to the account; a fault when the host was too slow for the last while.
    fn check(&mut self, bytes: u64, waited: Duration, minimum: Option<u64>) -> Result<(), Fault> {
        self.bytes += bytes;
        self.waited += waited;
        if self.waited < WATCHED {
            return Ok(());
        }
        let watched = std::mem::take(self);
        let speed = watched.bytes as f64 / watched.waited.as_secs_f64();
        match minimum {
            Some(minimum) if speed < minimum as f64 => {
                Err(Fault::TooSlow { bytes_per_second: speed as u64, minimum })
            }
            _ => Ok(()),
        }
    }
}

impl Segment {
    /// Nothing is asked before the first [`Segment::open`] or [`Segment::next`].
    pub(crate) fn new(source: Arc<Source>, range: ByteRange, preferred: usize) -> Self {
        let tries = tries(&source, preferred);
        Self { source, tries, preferred, rest: range, connection: None, body: None }
    }

    /// The same over `connection`, if there is one.
    pub(crate) fn over(self, connection: Option<Connection>) -> Self {
        Self { connection, ..self }
    }

    /// Waits until the first request may be sent.
    pub(crate) async fn admitted(&mut self) {
        if self.connection.is_none() {
            self.connection = self.source.context.budget.connection().await;
        }
    }

    /// Makes sure that a host has begun to answer.
    pub(crate) async fn open(&mut self) -> Result<(), Error> {
        if self.body.is_some() {
            return Ok(());
        }
        self.admitted().await;
        let source = &*self.source;
        let question =
            Question { what: source.what.clone(), request: source.request(), hedges: false };
        let rest = self.rest;
        let asking =
            in_turn(&mut self.tries, &source.locations, &question, |_, location| async move {
                let asked = Instant::now();
                Ok((source.open(location, rest).await?, asked))
            });
        let (location, (opened, asked)) = asking.await?;
        if location != self.preferred {
            // The one to begin with failed: the blob goes on with what works.
            self.source.prefer(location);
        }
        let speed = Speed::default();
        self.body = Some(Body {
            opened,
            location,
            delivered: 0,
            asked,
            rested: Duration::ZERO,
            resting: Duration::ZERO,
            speed,
        });
        Ok(())
    }

    /// Whether the open response is what was asked for, rather than the whole blob in place of a
    /// part of it.
    pub(crate) fn is_as_asked(&self) -> bool {
        let whole = self.rest == ByteRange { start: 0, end: self.source.size };
        whole || self.body.as_ref().is_some_and(|body| body.opened.ranged)
    }

    /// The byte of the blob that comes next.
    pub(crate) fn position(&self) -> u64 {
        self.rest.start
    }

    /// Takes note that nothing was read for so long, since nobody wanted it: that is not the host's time.
    pub(crate) fn rested(&mut self, rest: Duration) {
        if let Some(body) = &mut self.body {
            body.rested += rest;
            body.resting += rest;
        }
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
            // Of what is to come, the answer may have the beginning only.
            let end = body.opened.until.min(self.rest.end);
            let promised = ByteRange { end, ..self.rest };
            match read(&self.source, body, promised).await {
                Ok(bytes) => {
                    let count = bytes.len() as u64;
                    // What comes after the promised bytes makes the last ones worthless.
                    if count == promised.length()
                        && let Err(fault) = self.finish(count).await
                    {
                        self.broke_off(fault);
                        continue;
                    }
                    self.rest.start += count;
                    if let Some(body) = &mut self.body {
                        body.delivered += count;
                        body.resting = Duration::ZERO;
                        self.source.contributed(body.location);
                    }
                    return Some(Ok(bytes));
                }
                Err(fault) => self.broke_off(fault),
            }
        }
        None
    }

    /// Leaves the host, unless it was kept waiting: the blob goes on elsewhere if it can.
    fn broke_off(&mut self, fault: Fault) {
        let Some(body) = self.body.take() else { return };
        if let Some(location) = self.source.locations.get(body.location) {
            let request = format!("GET {} from byte {}", self.source.request(), self.rest.start);
            let host = location.endpoint.name();
            self.source.context.attempt(host, &request, fault.to_string(), body.asked);
        }
        if body.resting >= LONG_REST {
            self.tries = tries(&self.source, body.location);
            self.preferred = body.location;
            return;
        }
        self.source.avoid(body.location);
        self.tries.failed(body.location, fault);
        if body.delivered >= PROGRESS {
            self.tries.progressed(body.location);
        }
    }

    /// Reads the end of the body, which lets the connection be used again. The last `count` bytes
    /// are not handed on yet.
    async fn finish(&mut self, count: u64) -> Result<(), Fault> {
        let Some(body) = &mut self.body else { return Ok(()) };
        // Of a whole that came in place of a part, what follows is another's business.
        let is_cut = !body.opened.ranged && self.rest.end < body.opened.until;
        if !is_cut && !is_over(&self.source.context, &mut body.opened).await {
            return Err(Fault::Excess { expected: self.rest.end });
        }
        let (location, delivered) = (body.location, body.delivered + count);
        let spent = body.asked.elapsed().saturating_sub(body.rested);
        self.body = None;
        self.source.contributed(location);
        if self.rest.length() > count {
            // The rest of the range is another request, to the host that answers.
            self.tries = tries(&self.source, location);
            self.preferred = location;
        } else {
            self.connection = None;
        }
        if let Some(location) = self.source.locations.get(location) {
            location.endpoint.pace().record(delivered, spent);
        }
        Ok(())
    }
}

fn tries(source: &Source, preferred: usize) -> Tries {
    let hosts = source.locations.iter().map(|location| (&location.endpoint, &location.place));
    Tries::new(Arc::clone(&source.context), hosts, preferred)
}

/// Whether nothing of the blob is left in a body, or it breaks off where it should end.
async fn is_over(context: &Context, opened: &mut Opened) -> bool {
    loop {
        if let Some(decoder) = &mut opened.decoder {
            // An encoding may end with bytes of its own, a checksum for one.
            while !opened.encoded.is_empty() {
                if !decoder.decode(&mut opened.encoded, 0).is_ok_and(|bytes| bytes.is_empty()) {
                    return false;
                }
            }
        }
        match body::next_frame(context, &mut opened.response).await {
            Ok(Some(frame)) if opened.decoder.is_some() => opened.encoded = frame,
            Ok(Some(frame)) if !frame.is_empty() => return false,
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return true,
        }
    }
}

/// The next bytes of `rest`; fails at the body's end.
async fn read(source: &Source, body: &mut Body, rest: ByteRange) -> Result<Bytes, Fault> {
    let missing = rest.length();
    let Body { opened, speed, .. } = body;
    let is_cut = !opened.ranged && rest.end < opened.until;
    loop {
        let frame = if opened.encoded.is_empty() {
            let waiting = Instant::now();
            let frame = body::next_frame(&source.context, &mut opened.response).await?;
            let frame = frame.ok_or(Fault::Truncated)?;
            let count = frame.len() as u64;
            speed.check(count, waiting.elapsed(), source.context.policy.min_speed)?;
            source.context.throttled(count).await?;
            frame
        } else {
            std::mem::take(&mut opened.encoded)
        };
        let wanted = if is_cut { opened.until.saturating_sub(rest.start) } else { missing };
        let room = usize::try_from(opened.skip.saturating_add(wanted)).unwrap_or(usize::MAX);
        let mut bytes = match &mut opened.decoder {
            None => frame,
            Some(decoder) => {
                opened.encoded = frame;
                decoder.decode(&mut opened.encoded, room)?
            }
        };
        let skipped = bytes.len().min(usize::try_from(opened.skip).unwrap_or(usize::MAX));
        opened.skip -= skipped as u64;
        drop(bytes.split_to(skipped));
        if is_cut {
            bytes.truncate(usize::try_from(missing).unwrap_or(usize::MAX));
        }
        if bytes.len() as u64 > missing {
            return Err(Fault::Excess { expected: rest.end });
        }
        if !bytes.is_empty() {
            return Ok(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_forgiven_and_a_trickle_is_not() {
        let second = Duration::from_secs(1);
        let mut speed = Speed::default();
        assert_eq!(speed.check(0, 4 * second, Some(100)), Ok(()));
        assert_eq!(speed.check(1000, second, Some(100)), Ok(()));
        for _ in 0..4 {
            assert_eq!(speed.check(99, second, Some(100)), Ok(()));
        }
        let slow = Fault::TooSlow { bytes_per_second: 99, minimum: 100 };
        assert_eq!(speed.check(99, second, Some(100)), Err(slow));
        assert_eq!(speed.check(0, 10 * second, None), Ok(()));
    }
}
