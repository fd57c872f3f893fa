//! What is asked of a host, what goes over the wire for it, and what comes back.

use http::{HeaderMap, Method};
use reqwest::Response;
use url::Url;

use crate::registry::auth::{Access, Standing};
use crate::registry::blob::ranges::ByteRange;
use crate::registry::http::clients::Lane;
use crate::registry::http::payload::Payload;

/// A request to a registry host.
#[derive(Debug, Clone)]
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: &'a str,
    /// Absolute URL to ask in place of the host's path: a redirect target learnt before. It gets no
    /// login and no custom header.
    pub(crate) target: Option<&'a Url>,
    pub(crate) lane: Lane,
    pub(crate) accept: Option<&'static str>,
    pub(crate) range: Option<ByteRange>,
    /// What people are shown: `manifests/3.6`.
    pub(crate) label: &'a str,
    /// For the login; `None` asks anonymously.
    pub(crate) access: Option<&'a Access>,
    /// What is sent along.
    pub(crate) payload: Payload,
    /// Its type.
    pub(crate) content_type: Option<&'a str>,
    /// Which part of a blob it is, where it is one.
    pub(crate) content_range: Option<ByteRange>,
}

impl<'a> Call<'a> {
    /// A small request without anything special.
    pub(crate) fn new(method: Method, path: &'a str, label: &'a str) -> Self {
        Self {
            method,
            path,
            target: None,
            lane: Lane::Api,
            accept: None,
            range: None,
            label,
            access: None,
            payload: Payload::None,
            content_type: None,
            content_range: None,
        }
    }
}

/// A response and where it came from.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response,
    /// Where a redirect led.
    pub(crate) target: Option<Url>,
    /// Of the login that was sent.
    pub(crate) standing: Standing,
}

/// One request on the wire.
#[derive(Debug, Clone)]
pub(crate) struct Exchange<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
    pub(crate) lane: Lane,
    pub(crate) label: &'a str,
}
