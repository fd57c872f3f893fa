//! One registry host: sending it requests, with logins, redirects and the fallback from https to
//! http.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, LOCATION, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use reqwest::Response;
use tokio::time::Instant;
use url::Url;

use crate::config::{Header, RegistryHost};
use crate::registry::ask::health::Health;
use crate::registry::auth::{self, Authorizer, Grant, Standing};
use crate::registry::blob::pace::Pace;
use crate::registry::blob::ranges::RangeSupport;
use crate::registry::context::Context;
use crate::registry::error::SetupError;
use crate::registry::fault::{Fault, Phase, TlsFault};
use crate::registry::http::body;
use crate::registry::http::clients::Clients;
use crate::registry::http::exchange::{Answer, Call, Exchange};
use crate::registry::http::payload::Payload;
use crate::registry::http::{proxy, trace};

/// Longest wait for a response because its connection may still be opened: systems give up sooner.
const LONGEST_DIAL: Duration = Duration::from_secs(130);

/// How much later than the dial's own end a wait for a response ends.
const DIAL_MARGIN: Duration = Duration::from_millis(500);

/// Most redirects that are followed for one request.
const MAX_REDIRECTS: usize = 10;

/// A host with its connections, tokens and health, shared by all repositories on it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    settings: RegistryHost,
    custom_headers: HeaderMap,
    /// Those, and the headers that every registry host gets.
    request_headers: HeaderMap,
    clients: Clients,
    context: Arc<Context>,
    authorizer: Authorizer,
    health: Health,
    pace: Pace,
    ranges: RangeSupport,
    /// Set once a host with `http_fallback` turned out to speak no TLS.
    plain: AtomicBool,
}

impl Endpoint {
    /// Prepares connections to `settings`; opens none.
    ///
    /// # Errors
    /// [`SetupError`] when a certificate file, a header or a proxy variable can't be used.
    pub(crate) fn new(settings: RegistryHost, context: Arc<Context>) -> Result<Self, SetupError> {
        Ok(Self {
            custom_headers: header_map(&settings.headers)?,
            request_headers: header_map(settings.common_headers.iter().chain(&settings.headers))?,
            clients: Clients::new(&settings, &context.policy, &context.proxies)?,
            settings,
            context,
            authorizer: Authorizer::default(),
            health: Health::default(),
            pace: Pace::default(),
            ranges: RangeSupport::default(),
            plain: AtomicBool::new(false),
        })
    }

    /// What the host was configured with.
    pub(crate) fn settings(&self) -> &RegistryHost {
        &self.settings
    }

    /// `host[:port]`, its name in messages.
    pub(crate) fn name(&self) -> &str {
        &self.settings.authority
    }

    /// What all requests of the run share.
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// Whether it is worth asking.
    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// How long its bytes usually take.
    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// The headers of hosts.toml, where the token endpoint at `realm` may have them.
    pub(crate) fn headers_for(&self, realm: &Url) -> HeaderMap {
        match self.settings.sends_headers_to(realm) {
            true => self.custom_headers.clone(),
            false => HeaderMap::new(),
        }
    }

    /// Whether it serves ranges.
    pub(crate) fn ranges(&self) -> &RangeSupport {
        &self.ranges
    }

    /// `https` or `http`, as now known.
    pub(crate) fn scheme(&self) -> &str {
        if self.plain.load(Ordering::Relaxed) { "http" } else { &self.settings.scheme }
    }

    /// Sends `call`, logging in as the host asks, and returns its final response, whatever its
    /// status.
    ///
    /// # Errors
    /// A [`Fault`] when there is no response, or no token.
    pub(crate) async fn send(&self, call: &Call<'_>) -> Result<Answer, Fault> {
        if let Some(target) = call.target {
            let exchange = self.prepare(call, target.clone(), HeaderMap::new(), &Grant::default());
            let answer = self.follow(exchange).await?;
            self.health.reached();
            return Ok(Answer { target: answer.target.or(call.target.cloned()), ..answer });
        }
        let grant = match call.access {
            Some(access) => self.authorizer.grant(self, access).await?,
            None => Grant::default(),
        };
        let answer = self.send_as(call, &grant).await?;
        let refused = answer.response.status() == StatusCode::UNAUTHORIZED;
        // Of a redirect within this host, it is still the host that asks.
        let asked_by_host = answer.target.as_ref().is_none_or(|target| self.is_own(target));
        let Some(access) = call.access.filter(|_| refused && asked_by_host) else {
            return Ok(answer);
        };
        let challenges = auth::challenges(answer.response.headers())?;
        match self.authorizer.answer(self, access, challenges, &grant).await? {
            Some(better) => {
                body::drain(&self.context, answer.response).await;
                self.send_as(call, &better).await
            }
            None => Ok(answer),
        }
    }

    async fn send_as(&self, call: &Call<'_>, grant: &Grant) -> Result<Answer, Fault> {
        let attempt = async || {
            let url = self.url(call.path)?;
            self.follow(self.prepare(call, url, self.request_headers.clone(), grant)).await
        };
        // Requests that went out together all learn of it by failing, each by itself.
        let over_https = !self.plain.load(Ordering::Relaxed);
        let answer = match attempt().await {
            Err(fault) if over_https && self.falls_back(&fault) => {
                tracing::debug!(host = self.name(), %fault, "going on over plain HTTP");
                self.plain.store(true, Ordering::Relaxed);
                attempt().await
            }
            answer => answer,
        };
        let answer = answer?;
        self.health.reached();
        Ok(Answer { standing: grant.standing, ..answer })
    }

    /// Whether `fault` means that the host, for which http is allowed, speaks no https.
    fn falls_back(&self, fault: &Fault) -> bool {
        let without_port = Url::parse(&format!("https://{}", self.settings.authority))
            .is_ok_and(|url| url.port().is_none());
        self.settings.http_fallback
            && match fault {
                Fault::Tls(TlsFault::PlainHttp) => true,
                // Without a port, http is another port, where something may listen.
                Fault::Refused => without_port,
                _ => false,
            }
    }

    /// Whether `url` is of this host: of the same scheme, name and port.
    pub(crate) fn is_own(&self, url: &Url) -> bool {
        self.url("/").is_ok_and(|own| own.origin() == url.origin())
    }

    fn url(&self, path: &str) -> Result<Url, Fault> {
        Url::parse(&format!("{}://{}{path}", self.scheme(), self.settings.authority))
            .map_err(|error| Fault::Connect(format!("the host's name is unusable: {error}")))
    }

    fn prepare<'a>(
        &self,
        call: &Call<'a>,
        url: Url,
        mut headers: HeaderMap,
        grant: &Grant,
    ) -> Exchange<'a> {
        // In place of what the configuration says, not beside it: two of one kind are an error to
        // many servers.
        let own = [
            (AUTHORIZATION, grant.header.clone()),
            (ACCEPT, call.accept.map(HeaderValue::from_static)),
            (RANGE, call.range.map(|range| range.header())),
        ];
        for (name, value) in own {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        // A range of an encoded body is useless, and decoding costs more than it saves.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let Call { method, lane, label, .. } = call.clone();
        Exchange { method, url, headers, payload: Payload::None, lane, label }
    }

    /// Sends `exchange` and follows redirects. What is meant for this host, logins and custom headers,
    /// stays with the origin: scheme, host and port.
    pub(crate) async fn follow(&self, mut exchange: Exchange<'_>) -> Result<Answer, Fault> {
        let mut target = None;
        for _ in 0..=MAX_REDIRECTS {
            let sent = self.exchange(exchange.clone()).await;
            let response = sent.map_err(|fault| redirected(target.as_ref(), fault))?;
            if !is_redirect(response.status()) {
                return Ok(Answer { response, target, standing: Standing::Anonymous });
            }
            let next = location(&exchange.url, response.headers())?;
            if next.origin() != exchange.url.origin() {
                exchange.headers.remove(AUTHORIZATION);
                for name in self.request_headers.keys() {
                    if !is_ours(name) {
                        exchange.headers.remove(name);
                    }
                }
            }
            body::drain(&self.context, response).await;
            exchange.url = next.clone();
            target = Some(next);
        }
        Err(Fault::RedirectLoop(MAX_REDIRECTS))
    }

    /// Sends one request and waits for the response's head.
    pub(crate) async fn exchange(&self, exchange: Exchange<'_>) -> Result<Response, Fault> {
        trace::request(&exchange);
        let Exchange { method, url, headers, payload, lane, label } = exchange;
        let host = authority(&url);
        let proxy = self.context.proxies.authority(&url);
        let request = format!("{method} {label}");
        let builder = self.clients.lane(lane).request(method, url).headers(headers);
        let (builder, taken) = payload.fill(builder);
        let started = Instant::now();
        let dial_timeout = self.clients.dial_timeout;
        // The client itself ends a dial that takes too long; the margin lets it say so.
        let dialing = dial_timeout.min(LONGEST_DIAL) + DIAL_MARGIN;
        let answered = self.context.awaited(&host, &request, builder.send());
        let sent = self.context.within_progress(Phase::Response, dialing, taken, answered).await;
        let response = sent.and_then(|response| match (response, proxy) {
            (Ok(response), Some(proxy))
                if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED =>
            {
                let (status, retry_after) = (response.status(), None);
                let fault = Fault::Status { status, retry_after, reason: None };
                Err(proxy::blamed(proxy, &host, fault))
            }
            (Ok(response), _) => Ok(response),
            (Err(error), proxy) => Err(match (Fault::from_client(&error, dial_timeout), proxy) {
                // A handshake is with the host, whoever carries it.
                (fault @ Fault::Tls(_), _) => fault,
                (fault, Some(proxy)) if error.is_connect() => proxy::blamed(proxy, &host, fault),
                (fault, _) => fault,
            }),
        });
        let outcome = match &response {
            Ok(response) => {
                trace::response(response);
                response.status().to_string()
            }
            Err(fault) => fault.to_string(),
        };
        self.context.attempt(&host, &request, outcome, started);
        response
    }
}

/// `fault`, blamed on where a redirect led.
pub(crate) fn redirected(target: Option<&Url>, fault: Fault) -> Fault {
    match target {
        None => fault,
        Some(target) => Fault::Redirected { target: authority(target), fault: Box::new(fault) },
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    )
}

fn location(base: &Url, headers: &HeaderMap) -> Result<Url, Fault> {
    headers
        .get(LOCATION)
        .map(|value| in_ascii(value.as_bytes()))
        .and_then(|text| base.join(&text).ok())
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or(Fault::BadRedirect)
}

/// The text of a `Location`, which some servers fill with what is no ASCII: names as they are stored.
fn in_ascii(value: &[u8]) -> String {
    // URLs are read as UTF-8, and what is not ASCII in a path is escaped then.
    std::str::from_utf8(value).map_or_else(
        |_| {
            let escape = |byte: &u8| match byte {
                0..=0x7f => char::from(*byte).to_string(),
                other => format!("%{other:02X}"),
            };
            value.iter().map(escape).collect()
        },
        str::to_owned,
    )
}

/// Headers that every request has of its own, so that a redirect keeps them.
fn is_ours(name: &HeaderName) -> bool {
    [ACCEPT, ACCEPT_ENCODING, RANGE].contains(name)
}

/// `host[:port]` of a URL; never its user info.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn header_map<'a>(headers: impl IntoIterator<Item = &'a Header>) -> Result<HeaderMap, SetupError> {
    let mut map = HeaderMap::new();
    for (name, values) in headers {
        let parsed: HeaderName =
            name.parse().map_err(|_| SetupError(format!("{name:?} is no header name")))?;
        for value in values {
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| SetupError(format!("header {name} has an unusable value")))?;
            // It may well be a key.
            value.set_sensitive(true);
            map.append(parsed.clone(), value);
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_may_hold_what_is_no_ascii() {
        let base: Url = "https://a.example/v2/x/blobs/y?ns=z".parse().unwrap();
        for (value, expected) in [
            (&b"https://b.example/c"[..], Some("https://b.example/c")),
            (b"/d", Some("https://a.example/d")),
            ("/sch\u{f6}n?n=\u{e4}".as_bytes(), Some("https://a.example/sch%C3%B6n?n=%C3%A4")),
            (b"/sch\xf6n", Some("https://a.example/sch%F6n")),
            ("https://b\u{fc}cher.example/".as_bytes(), Some("https://xn--bcher-kva.example/")),
            (b"ftp://a.example/", None),
            (b"https://", None),
        ] {
            let value = HeaderValue::from_bytes(value).unwrap();
            let headers = HeaderMap::from_iter([(LOCATION, value)]);
            let url = location(&base, &headers).ok();
            assert_eq!(url.as_ref().map(Url::as_str), expected);
        }
        assert_eq!(location(&base, &HeaderMap::new()), Err(Fault::BadRedirect));
    }
}
