//! One registry host: requests to it, with logins, and what is known of the host.

use std::sync::Arc;

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderValue, StatusCode};
use url::Url;

use crate::config::{MAX_LOGINS, RegistryHost};
use crate::registry::ask::health::Health;
use crate::registry::auth::{self, Authorizer, Grant};
use crate::registry::blob::pace::Pace;
use crate::registry::blob::ranges::{ByteRange, RangeSupport};
use crate::registry::context::Context;
use crate::registry::error::SetupError;
use crate::registry::fault::Fault;
use crate::registry::http::body;
use crate::registry::http::exchange::{Answer, Call, Exchange};
use crate::registry::http::wire::Wire;

/// A host with its connections, tokens and health, shared by all repositories on it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    wire: Wire,
    authorizer: Authorizer,
    health: Health,
    pace: Pace,
    ranges: RangeSupport,
}

impl Endpoint {
    /// Prepares connections to `settings`; opens none.
    ///
    /// # Errors
    /// [`SetupError`] when a certificate file, a header or a proxy variable can't be used.
    pub(crate) fn new(settings: RegistryHost, context: Arc<Context>) -> Result<Self, SetupError> {
        Ok(Self {
            wire: Wire::new(settings, context)?,
            authorizer: Authorizer::default(),
            health: Health::default(),
            pace: Pace::default(),
            ranges: RangeSupport::default(),
        })
    }

    /// What the host was configured with.
    pub(crate) fn settings(&self) -> &RegistryHost {
        self.wire.settings()
    }

    /// `host[:port]`, its name in messages.
    pub(crate) fn name(&self) -> &str {
        &self.settings().authority
    }

    /// What all requests of the run share.
    pub(crate) fn context(&self) -> &Context {
        self.wire.context()
    }

    /// Whether it is worth asking.
    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// How long its bytes usually take.
    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Whether it serves ranges.
    pub(crate) fn ranges(&self) -> &RangeSupport {
        &self.ranges
    }

    /// Whether `url` is of this host: of the same scheme, name and port.
    pub(crate) fn is_own(&self, url: &Url) -> bool {
        self.wire.is_own(url)
    }

    /// See [`Wire::own_path`].
    pub(crate) fn own_path(&self, url: &Url) -> Option<String> {
        self.wire.own_path(url)
    }

    /// See [`Wire::url`].
    pub(crate) fn url(&self, path: &str) -> Result<Url, Fault> {
        self.wire.url(path)
    }

    /// Sends `call`, logging in as the host asks, and returns its final response, whatever its
    /// status.
    ///
    /// # Errors
    /// A [`Fault`] when there is no response, or no token.
    pub(crate) async fn send(&self, call: &Call<'_>) -> Result<Answer, Fault> {
        if let Some(target) = call.target {
            let exchange = prepare(call, target.clone(), HeaderMap::new(), &Grant::default());
            let answer = self.wire.follow(exchange).await?;
            self.health.reached();
            return Ok(Answer { target: answer.target.or(call.target.cloned()), ..answer });
        }
        let grant = match call.access {
            Some(access) => self.authorizer.grant(&self.wire, access).await?,
            None => Grant::default(),
        };
        self.send_until_let_in(call, grant).await
    }

    /// Sends `call` with `grant`, and with what is better as long as that is refused.
    async fn send_until_let_in(&self, call: &Call<'_>, mut grant: Grant) -> Result<Answer, Fault> {
        let mut answer = self.send_as(call, &grant).await?;
        for round in 0..=MAX_LOGINS {
            let status = answer.response.status();
            // A login that the host knows and that may not do this; another may.
            let is_denied = status == StatusCode::FORBIDDEN && grant.standing.is_login();
            let is_refused = is_denied || status == StatusCode::UNAUTHORIZED;
            // Of a redirect within this host, it is still the host that asks.
            let asked_by_host =
                answer.target.as_ref().is_none_or(|target| self.wire.is_own(target));
            let Some(access) = call.access.filter(|_| is_refused && asked_by_host) else { break };
            let challenges = match auth::challenges(answer.response.headers()) {
                Ok(challenges) => challenges,
                Err(fault) if round == 0 && !is_denied => return Err(fault),
                Err(_) => Vec::new(),
            };
            let is_spent = round > 0 || is_denied;
            let better = self.authorizer.answer(&self.wire, access, challenges, &grant, is_spent);
            match better.await? {
                Some(better) if call.payload.is_whole() => {
                    body::drain(self.context(), answer.response).await;
                    answer = self.send_as(call, &better).await?;
                    grant = better;
                }
                // What streams is begun anew by whoever has it, with the login that is known now.
                Some(_) => return Err(Fault::Spent),
                None => break,
            }
        }
        Ok(answer)
    }

    /// The host at the other end, for who asks without [`Endpoint::send`].
    pub(crate) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Sends `call` with `grant` and returns its final response, whatever its status.
    ///
    /// # Errors
    /// A [`Fault`] when there is no response.
    pub(crate) async fn send_as(&self, call: &Call<'_>, grant: &Grant) -> Result<Answer, Fault> {
        let attempt = async || {
            let url = self.wire.url(call.path)?;
            let headers = self.wire.request_headers().clone();
            self.wire.follow(prepare(call, url, headers, grant)).await
        };
        // Requests that went out together all learn of it by failing, each by itself.
        let over_https = !self.wire.is_plain();
        let answer = match attempt().await {
            Err(fault) if over_https && call.payload.is_whole() && self.wire.falls_back(&fault) => {
                tracing::debug!(host = self.name(), %fault, "going on over plain HTTP");
                self.wire.fall_back();
                attempt().await
            }
            answer => answer,
        };
        let answer = answer?;
        self.health.reached();
        Ok(Answer { standing: grant.standing, ..answer })
    }
}

fn prepare<'a>(call: &Call<'a>, url: Url, mut headers: HeaderMap, grant: &Grant) -> Exchange<'a> {
    // In place of what the configuration says, not beside it: two of one kind are an error to
    // many servers.
    let own = [
        (AUTHORIZATION, grant.header.clone()),
        (ACCEPT, call.accept.map(HeaderValue::from_static)),
        (RANGE, call.range.map(|range| range.header())),
        (CONTENT_TYPE, call.content_type.and_then(|value| HeaderValue::from_str(value).ok())),
        (CONTENT_RANGE, call.content_range.and_then(part)),
    ];
    for (name, value) in own {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    // A range of an encoded body is useless, and decoding costs more than it saves.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let Call { method, lane, label, payload, .. } = call.clone();
    Exchange { method, url, headers, payload, lane, label }
}

/// Which part of an upload a request carries, as the distribution specification writes it: without a
/// unit and a total.
fn part(range: ByteRange) -> Option<HeaderValue> {
    HeaderValue::from_str(&range.to_string()).ok()
}
