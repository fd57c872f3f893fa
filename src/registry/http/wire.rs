//! One host at the other end of the wire: what goes over it, with redirects and the fallback from
//! https to http, and all of it in the log. Knows no logins.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use reqwest::Response;
use tokio::time::Instant;
use url::Url;

use crate::config::{Header, RegistryHost};
use crate::registry::auth::Standing;
use crate::registry::context::Context;
use crate::registry::error::SetupError;
use crate::registry::fault::{Fault, Phase, TlsFault};
use crate::registry::http::authority::authority;
use crate::registry::http::body;
use crate::registry::http::clients::Clients;
use crate::registry::http::exchange::{Answer, Exchange};
use crate::registry::http::redirect::{is_redirect, location, redirected};
use crate::registry::http::{proxy, trace};

/// Longest wait for a response because its connection may still be opened: systems give up sooner.
const LONGEST_DIAL: Duration = Duration::from_secs(130);

/// How much later than the dial's own end a wait for a response ends.
const DIAL_MARGIN: Duration = Duration::from_millis(500);

/// How much of what was sent is surely put where it belongs in a second (32 MiB): a proxy before the
/// registry may hand it on only now, and a registry waits for its disk, or has its store copy it.
const SETTLED_PER_SECOND: u64 = 32 << 20;

/// Most redirects that are followed for one request.
const MAX_REDIRECTS: usize = 10;

/// The connections to one host.
#[derive(Debug)]
pub(crate) struct Wire {
    settings: RegistryHost,
    custom_headers: HeaderMap,
    /// Those, and the headers that every registry host gets.
    request_headers: HeaderMap,
    clients: Clients,
    context: Arc<Context>,
    /// Set once a host with `http_fallback` turned out to speak no TLS.
    plain: AtomicBool,
}

impl Wire {
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
            plain: AtomicBool::new(false),
        })
    }

    /// What the host was configured with.
    pub(crate) fn settings(&self) -> &RegistryHost {
        &self.settings
    }

    /// What all requests of the run share.
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// The headers that its requests get by its configuration.
    pub(crate) fn request_headers(&self) -> &HeaderMap {
        &self.request_headers
    }

    /// The headers of hosts.toml, where the token endpoint at `realm` may have them.
    pub(crate) fn headers_for(&self, realm: &Url) -> HeaderMap {
        match self.settings.sends_headers_to(realm) {
            true => self.custom_headers.clone(),
            false => HeaderMap::new(),
        }
    }

    /// Longest wait for a connection.
    pub(crate) fn dial_timeout(&self) -> Duration {
        self.clients.dial_timeout
    }

    /// Whether it is known to speak no TLS.
    pub(crate) fn is_plain(&self) -> bool {
        self.plain.load(Ordering::Relaxed)
    }

    /// From here on its requests go over plain HTTP.
    pub(crate) fn fall_back(&self) {
        self.plain.store(true, Ordering::Relaxed);
    }

    /// `https` or `http`, as now known.
    pub(crate) fn scheme(&self) -> &str {
        if self.is_plain() { "http" } else { &self.settings.scheme }
    }

    /// Whether `fault` means that the host, for which http is allowed, speaks no https.
    pub(crate) fn falls_back(&self, fault: &Fault) -> bool {
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

    /// Path and query of `url` if it is of this host, whatever its scheme: a registry behind a proxy
    /// that ends TLS writes http.
    pub(crate) fn own_path(&self, url: &Url) -> Option<String> {
        let own = self.url("/").ok()?;
        let is_own = url.origin() == own.origin() || authority(url) == authority(&own);
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        is_own.then(|| format!("{}{query}", url.path()))
    }

    /// The URL of `path` at this host.
    pub(crate) fn url(&self, path: &str) -> Result<Url, Fault> {
        Url::parse(&format!("{}://{}{path}", self.scheme(), self.settings.authority))
            .map_err(|error| Fault::Connect(format!("the host's name is unusable: {error}")))
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
            if !exchange.payload.is_whole() {
                return Err(Fault::Spent);
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
        let name = url.host_str().unwrap_or_default().to_owned();
        let proxy = self.context.proxies.authority(&url);
        let request = format!("{method} {label}");
        let settling = Duration::from_secs(payload.length().unwrap_or(0) / SETTLED_PER_SECOND);
        let builder = self.clients.lane(lane).request(method, url).headers(headers);
        let (builder, taken) = payload.fill(builder);
        let started = Instant::now();
        let dial_timeout = self.clients.dial_timeout;
        // The client itself ends a dial that takes too long; the margin lets it say so.
        let dialing = dial_timeout.min(LONGEST_DIAL) + DIAL_MARGIN;
        let answered = self.context.awaited(&host, &request, taken.clone(), builder.send());
        let phase = Phase::Response;
        let sent = self.context.within_progress(phase, dialing, settling, taken, answered).await;
        let response = sent.and_then(|response| match (response, proxy) {
            (Ok(response), Some(proxy))
                if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED =>
            {
                let (status, retry_after) = (response.status(), None);
                let fault = Fault::Status { status, retry_after, reason: None };
                Err(proxy::blamed(proxy, &host, fault))
            }
            (Ok(response), _) => Ok(response),
            (Err(error), proxy) => Err(match (self.clients.fault(&error, &name), proxy) {
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

/// Headers that every request has of its own, so that a redirect keeps them.
fn is_ours(name: &HeaderName) -> bool {
    [ACCEPT, ACCEPT_ENCODING, RANGE, CONTENT_TYPE, CONTENT_RANGE].contains(name)
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
