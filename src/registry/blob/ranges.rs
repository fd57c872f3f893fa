//! Byte ranges: asking for one, reading what came in its place, and who serves them at all. See
//! RFC 9110 §14.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::CONTENT_RANGE;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::registry::fault::{Fault, Phase};

/// Bytes `start..end` of a blob; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteRange {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl ByteRange {
    /// Number of bytes.
    pub(crate) fn length(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// The `Range` header that asks for it; closed, so that the connection outlives the answer.
    pub(crate) fn header(self) -> HeaderValue {
        // Digits and ASCII punctuation are a valid header value whatever the numbers.
        HeaderValue::from_str(&format!("bytes={}", self.inclusive()))
            .unwrap_or(HeaderValue::from_static("bytes=0-"))
    }

    fn inclusive(self) -> String {
        format!("{}-{}", self.start, self.end.saturating_sub(1))
    }

    /// The part of this range of a blob of `size` bytes that a response says it is. It may be shorter
    /// than what was asked for (RFC 9110 §15.3.7), but begins where that begins.
    ///
    /// # Errors
    /// [`Fault::WrongRange`] when it is another one, or does not say.
    pub(crate) fn answered(self, headers: &HeaderMap, size: u64) -> Result<Self, Fault> {
        let Some(value) = headers.get(CONTENT_RANGE) else {
            return Err(Fault::WrongRange("no Content-Range".to_owned()));
        };
        let text = value.to_str().unwrap_or_default();
        let part = content_range(text).filter(|(part, total)| {
            let fits = part.start == self.start && part.start < part.end && part.end <= self.end;
            fits && total.is_none_or(|total| total == size)
        });
        part.map(|(part, _)| part).ok_or_else(|| {
            let shown: String = text.chars().take(100).collect();
            Fault::WrongRange(format!("{shown:?} for bytes {self} of {size}"))
        })
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inclusive())
    }
}

/// The range and the total of a `Content-Range: bytes 0-9/100`; an unknown total is `*`.
fn content_range(text: &str) -> Option<(ByteRange, Option<u64>)> {
    let (range, total) = after_unit(text)?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (start, last): (u64, u64) = (number(first)?, number(last)?);
    let total = match total.trim() {
        "*" => None,
        total => Some(number(total)?),
    };
    Some((ByteRange { start, end: last.checked_add(1)? }, total))
}

/// What follows `bytes `. Units are case-insensitive (RFC 9110 §14.1).
fn after_unit(text: &str) -> Option<&str> {
    let (unit, rest) = text.trim().split_once(char::is_whitespace)?;
    unit.eq_ignore_ascii_case("bytes").then(|| rest.trim_start())
}

/// Digits alone: Rust would take a sign as well.
fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The total in the `Content-Range: bytes */1234` of a 416 response.
pub(crate) fn unsatisfied_total(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    number(after_unit(text)?.strip_prefix("*/")?)
}

/// Whether a host serves ranges, as the run has learnt.
#[derive(Debug, Default)]
pub(crate) struct RangeSupport {
    proved: AtomicBool,
    refused: AtomicBool,
}

impl RangeSupport {
    /// A range came as it should.
    pub(crate) fn prove(&self) {
        self.proved.store(true, Ordering::Relaxed);
    }

    /// The whole came where a range did not. Returns whether that is news.
    pub(crate) fn refuse(&self) -> bool {
        !self.refused.swap(true, Ordering::Relaxed)
    }

    /// Whether ranges are no longer asked for.
    pub(crate) fn are_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether `fault` may be for the range, so that the whole is worth asking for. A host that has
    /// served ranges has other reasons, unless it is the range itself that is wrong.
    pub(crate) fn are_doubted_by(&self, fault: &Fault) -> bool {
        let proved = self.proved.load(Ordering::Relaxed);
        match fault {
            Fault::WrongRange(_) => true,
            Fault::Redirected { fault, .. } => self.are_doubted_by(fault),
            Fault::Denied { .. } | Fault::Stalled { phase: Phase::Response, .. } => !proved,
            Fault::Page { status, .. } => !proved && is_dislike(*status),
            // Who says when to come back has understood the request.
            Fault::Status { status, retry_after: None, .. } => !proved && is_dislike(*status),
            _ => false,
        }
    }
}

/// Statuses that gateways give to a `Range` that they do not like.
fn is_dislike(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::BAD_REQUEST
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::NOT_ACCEPTABLE
                | StatusCode::RANGE_NOT_SATISFIABLE
        )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn headers(content_range: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_RANGE, HeaderValue::from_static(content_range))])
    }

    #[test]
    fn takes_the_range_asked_for_or_the_beginning_of_it() {
        let range = ByteRange { start: 10, end: 20 };
        assert_eq!(range.header(), "bytes=10-19");
        for (text, end) in [
            ("bytes 10-19/100", 20),
            ("bytes 10-19/*", 20),
            ("Bytes  10-19 / 100 ", 20),
            ("bytes 10-10/100", 11),
            ("bytes 10-18/100", 19),
        ] {
            let part = ByteRange { start: 10, end };
            assert_eq!(range.answered(&headers(text), 100), Ok(part), "{text}");
        }
        for wrong in [
            "bytes 10-19/101",
            "bytes 0-9/100",
            "bytes 10-9/100",
            "bytes 10-20/100",
            "bytes 11-19/100",
            "bytes=10-19/100",
            "10-19/100",
            "bytes 10-19",
            "bytes 10-19/x",
            "bytes +10-19/100",
            "bytes 10-18446744073709551615/*",
            "bytes */100",
            "items 10-19/100",
            "",
        ] {
            let answered = range.answered(&headers(wrong), 100);
            assert!(matches!(answered, Err(Fault::WrongRange(_))), "{wrong}");
        }
        assert!(matches!(range.answered(&HeaderMap::new(), 100), Err(Fault::WrongRange(_))));
    }

    #[test]
    fn reads_the_length_that_an_unsatisfied_range_gives() {
        for (text, total) in [
            ("bytes */1234", Some(1234)),
            ("Bytes */0", Some(0)),
            ("bytes 0-9/1234", None),
            ("*/1234", None),
            ("", None),
        ] {
            assert_eq!(unsatisfied_total(&headers(text)), total, "{text}");
        }
        assert_eq!(unsatisfied_total(&HeaderMap::new()), None);
    }

    #[test]
    fn a_refusal_casts_doubt_on_ranges_until_one_has_come() {
        let status = |code: u16, retry_after| Fault::Status {
            status: StatusCode::from_u16(code).unwrap(),
            retry_after,
            reason: None,
        };
        let stalled = |phase| Fault::Stalled { phase, after: Duration::from_secs(30) };
        let redirected = |fault| Fault::Redirected {
            target: "store.example".to_owned(),
            fault: Box::new(fault),
        };
        let wrong = Fault::WrongRange("no Content-Range".to_owned());
        let support = RangeSupport::default();
        for code in [400, 405, 406, 416, 500, 501, 503] {
            assert!(support.are_doubted_by(&status(code, None)), "{code}");
        }
        assert!(support.are_doubted_by(&stalled(Phase::Response)));
        assert!(support.are_doubted_by(&redirected(status(501, None))));
        for other in [
            status(503, Some(Duration::from_secs(1))),
            status(410, None),
            stalled(Phase::Body),
            Fault::NotFound { reason: None },
            Fault::Refused,
        ] {
            assert!(!support.are_doubted_by(&other), "{other}");
        }
        support.prove();
        assert!(!support.are_doubted_by(&status(503, None)));
        assert!(support.are_doubted_by(&wrong));
        assert!(support.refuse() && !support.refuse(), "it is news once");
    }
}
