//! Requests and responses in the log, with secrets blotted out.
//!
//! They are `tracing` events of the target [`TARGET`] at trace level, which costs nothing while
//! nobody listens.

use http::header::{COOKIE, LOCATION, PROXY_AUTHORIZATION, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::Response;
use tracing::Level;
use url::Url;

use crate::registry::http::exchange::Exchange;
use crate::registry::http::payload::BLOT;

/// Target of the events: what a subscriber filters by to show them.
pub const TARGET: &str = "pullctl::http";

/// Query parameters that we write ourselves and that hold no secret.
const PLAIN_PARAMETERS: [&str; 6] = ["ns", "scope", "service", "digest", "mount", "from"];

/// Logs a request. Its body is never shown: it is a login or a blob.
pub(crate) fn request(exchange: &Exchange<'_>) {
    if !tracing::enabled!(target: TARGET, Level::TRACE) {
        return;
    }
    tracing::trace!(target: TARGET, "> {} {}", exchange.method, safe_url(&exchange.url));
    for (name, value) in &exchange.headers {
        tracing::trace!(target: TARGET, "> {name}: {}", safe_header(name, value));
    }
    if let Some(body) = exchange.payload.shown() {
        tracing::trace!(target: TARGET, "> {body}");
    }
}

/// Logs the head of a response.
pub(crate) fn response(response: &Response) {
    if !tracing::enabled!(target: TARGET, Level::TRACE) {
        return;
    }
    tracing::trace!(target: TARGET, "< {:?} {}", response.version(), response.status());
    log_headers(response.headers());
}

fn log_headers(headers: &HeaderMap) {
    for (name, value) in headers {
        tracing::trace!(target: TARGET, "< {name}: {}", safe_header(name, value));
    }
}

/// A header's value as it may be shown. `Authorization` and what hosts.toml adds are marked
/// sensitive where they are made.
fn safe_header(name: &HeaderName, value: &HeaderValue) -> String {
    if value.is_sensitive() || [COOKIE, SET_COOKIE, PROXY_AUTHORIZATION].contains(name) {
        return BLOT.to_owned();
    }
    let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
    if *name != LOCATION {
        return text;
    }
    match Url::parse(&text) {
        Ok(url) => safe_url(&url),
        Err(_) => text.split('?').next().unwrap_or_default().to_owned(),
    }
}

/// A URL without user info, and without the values of query parameters that may be signatures.
fn safe_url(url: &Url) -> String {
    let mut safe = url.clone();
    // Fails for URLs that can't have user info, which then have none.
    let _ = safe.set_username("");
    let _ = safe.set_password(None);
    safe.set_fragment(None);
    safe.set_query(None);
    let query: Vec<_> = url
        .query_pairs()
        .map(|(name, value)| {
            let plain = PLAIN_PARAMETERS.contains(&&*name);
            format!("{name}={}", if plain { &*value } else { BLOT })
        })
        .collect();
    let separator = if query.is_empty() { "" } else { "?" };
    format!("{safe}{separator}{}", query.join("&"))
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::*;

    #[test]
    fn shows_no_secret_of_a_url() {
        for (url, expected) in [
            ("https://a.example/v2/x?ns=docker.io", "https://a.example/v2/x?ns=docker.io"),
            ("https://s3.example/b?X-Sig=abc&X-Id=d", "https://s3.example/b?X-Sig=***&X-Id=***"),
            ("http://user:pass@a.example:80/#frag", "http://a.example/"),
        ] {
            assert_eq!(safe_url(&url.parse().unwrap()), expected);
        }
    }

    #[test]
    fn shows_no_secret_of_a_header() {
        let mut secret = HeaderValue::from_static("Bearer abc");
        secret.set_sensitive(true);
        assert_eq!(safe_header(&AUTHORIZATION, &secret), "***");
        assert_eq!(safe_header(&SET_COOKIE, &HeaderValue::from_static("a=b")), "***");
        let location = HeaderValue::from_static("https://s3.example/b?X-Sig=abc");
        assert_eq!(safe_header(&LOCATION, &location), "https://s3.example/b?X-Sig=***");
        assert_eq!(safe_header(&LOCATION, &HeaderValue::from_static("/b?sig=abc")), "/b");
    }
}
