//! HTTP/1.1 as far as a registry's clients speak it, read by hand so that it can be broken by hand.

use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::ops::RangeInclusive;
use std::time::SystemTime;

/// Longest request body kept, in bytes; token requests are far shorter.
const MAX_BODY: u64 = 64 * 1024;

/// One request as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// Which connection it came over, counted from 0.
    pub(crate) connection: u64,
    /// When it had come in.
    pub(crate) at: SystemTime,
    pub(crate) method: String,
    /// Path without the query.
    pub(crate) path: String,
    pub(crate) query: String,
    /// Names in lower case; several values of one name are joined by `, `.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
    /// Whether the server was asked as a proxy.
    pub(crate) proxied: bool,
}

impl Request {
    /// Reads the next request; `None` when the client has ended the connection.
    pub(crate) fn read(reader: &mut impl BufRead, connection: u64) -> Option<Self> {
        let mut first = String::new();
        if reader.read_line(&mut first).ok()? == 0 {
            return None;
        }
        let mut words = first.split_whitespace();
        let (method, target) = (words.next()?.to_owned(), words.next()?);
        // What a proxy is asked has the form http://host/path.
        let (proxied, target) = match target.strip_prefix("http://") {
            Some(rest) => (true, rest.find('/').map_or("/", |slash| &rest[slash..])),
            None => (false, target),
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            let value = value.trim();
            headers
                .entry(name.to_ascii_lowercase())
                .and_modify(|values: &mut String| *values += &format!(", {value}"))
                .or_insert_with(|| value.to_owned());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok());
        let mut body = String::new();
        let bounded = length.unwrap_or(0).min(MAX_BODY);
        reader.by_ref().take(bounded).read_to_string(&mut body).ok()?;
        let (path, query) = (path.to_owned(), query.to_owned());
        let at = SystemTime::now();
        Some(Self { connection, at, method, path, query, headers, body, proxied })
    }

    /// `METHOD /path`, what scripts match.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The header `name`, given in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The bytes asked for of a body of `length` bytes; `None` without a usable `Range`.
    pub(crate) fn range(&self, length: u64) -> Option<RangeInclusive<u64>> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        let first = first.parse().ok()?;
        let end = length.saturating_sub(1);
        let last = if last.is_empty() { end } else { last.parse::<u64>().ok()?.min(end) };
        Some(first..=last)
    }
}
