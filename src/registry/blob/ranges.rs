//! Byte ranges: asking for one, and checking that it is the one that came. See RFC 9110 §14.

use std::fmt;

use http::header::CONTENT_RANGE;
use http::{HeaderMap, HeaderValue};

use crate::registry::fault::Fault;

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

    /// Checks that a 206 response is this range of a blob of `size` bytes.
    ///
    /// # Errors
    /// [`Fault::WrongRange`] or [`Fault::SizeMismatch`].
    pub(crate) fn check(self, headers: &HeaderMap, size: u64) -> Result<(), Fault> {
        let text = headers
            .get(CONTENT_RANGE)
            .ok_or_else(|| Fault::WrongRange("no Content-Range".to_owned()))?
            .to_str()
            .unwrap_or_default();
        let wrong = || {
            let shown: String = text.chars().take(100).collect();
            Fault::WrongRange(format!("{shown:?} for bytes {self}"))
        };
        let (range, total) = text
            .trim()
            .strip_prefix("bytes")
            .and_then(|rest| rest.trim_start().split_once('/'))
            .ok_or_else(wrong)?;
        if range != self.inclusive() {
            return Err(wrong());
        }
        match total {
            "*" => Ok(()),
            total => match total.parse() {
                Ok(actual) if actual == size => Ok(()),
                Ok(actual) => Err(Fault::SizeMismatch { expected: size, actual }),
                Err(_) => Err(wrong()),
            },
        }
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inclusive())
    }
}

/// The total in the `Content-Range: bytes */1234` of a 416 response.
pub(crate) fn unsatisfied_total(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_RANGE)?.to_str().ok()?.trim().strip_prefix("bytes */")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_only_the_range_asked_for() {
        let range = ByteRange { start: 10, end: 20 };
        assert_eq!(range.header(), "bytes=10-19");
        let check = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_RANGE, HeaderValue::from_static(text));
            range.check(&headers, 100)
        };
        assert_eq!(check("bytes 10-19/100"), Ok(()));
        assert_eq!(check("bytes 10-19/*"), Ok(()));
        assert_eq!(
            check("bytes 10-19/101"),
            Err(Fault::SizeMismatch { expected: 100, actual: 101 })
        );
        for wrong in [
            "bytes 0-9/100",
            "bytes 10-18/100",
            "bytes 10-20/100",
            "10-19/100",
            "bytes 10-19",
            "bytes 10-19/x",
            "",
        ] {
            assert!(matches!(check(wrong), Err(Fault::WrongRange(_))), "{wrong}");
        }
        assert!(matches!(range.check(&HeaderMap::new(), 100), Err(Fault::WrongRange(_))));
    }
}
