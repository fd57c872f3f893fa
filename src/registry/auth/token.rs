//! Fetching a token. See <https://distribution.github.io/distribution/spec/auth/token/> and
//! <https://distribution.github.io/distribution/spec/auth/oauth/>.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::time::Instant;
use url::form_urlencoded;

use super::challenge::Bearer;
use super::grant::{Grant, Standing};
use crate::config::Credential;
use crate::registry::Fault;
use crate::registry::http::body;
use crate::registry::http::clients::Lane;
use crate::registry::http::exchange::Exchange;
use crate::registry::http::payload::Payload;
use crate::registry::http::wire::Wire;

/// Largest answer of a token endpoint that is read, in bytes (1 MiB); tokens are a few KiB.
const MAX_TOKEN_BODY: u64 = 1024 * 1024;

/// Lifetime of a token whose answer does not say; the specification's.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// Longest time that a token is believed to be valid.
const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Who we are to token endpoints.
const CLIENT_ID: &str = "pullctl";

/// A token and how long it may be used.
pub(crate) struct Token {
    header: HeaderValue,
    expires: Instant,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("expires", &self.expires).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    /// Seconds; a string with some endpoints.
    #[serde(default)]
    expires_in: serde_json::Value,
}

impl Token {
    /// The `Authorization` value, while the token is valid.
    pub(crate) fn header(&self) -> Option<&HeaderValue> {
        (Instant::now() < self.expires).then_some(&self.header)
    }

    fn read(body: &[u8]) -> Result<Self, Fault> {
        let malformed = || Fault::Malformed("the answer holds no token".to_owned());
        let answer: Answer = serde_json::from_slice(body).map_err(|_| malformed())?;
        // Of both, OAuth2's is the one that containerd takes.
        let token = [answer.access_token, answer.token]
            .into_iter()
            .flatten()
            .find(|token| !token.is_empty())
            .map(SecretString::from)
            .ok_or_else(malformed)?;
        let seconds = match &answer.expires_in {
            serde_json::Value::String(text) => text.parse().ok(),
            number => number.as_f64(),
        };
        // A token that is of no use at all is a server that does not tell. A day bounds absurd values.
        let lifetime = seconds
            .filter(|seconds| *seconds > 0.0)
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .map_or(DEFAULT_LIFETIME, |lifetime| lifetime.min(LONGEST_LIFETIME));
        // A tenth early, for requests under way.
        let usable = lifetime.mul_f32(0.9);
        Ok(Self { header: bearer(&token).ok_or_else(malformed)?, expires: Instant::now() + usable })
    }
}

/// `Bearer <token>`; `None` when the token can't stand in a header.
pub(crate) fn bearer(token: &SecretString) -> Option<HeaderValue> {
    sensitive(&format!("Bearer {}", token.expose_secret()))
}

/// `Basic <base64 of user:password>`.
pub(crate) fn basic(username: &str, password: &SecretString) -> Option<HeaderValue> {
    let pair = format!("{username}:{}", password.expose_secret());
    sensitive(&format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl Grant {
    /// The login that is a token itself, and is sent from the first request on.
    pub(crate) fn of_token(token: &SecretString) -> Self {
        Self { header: bearer(token), standing: Standing::Claimed, position: 0 }
    }

    /// What a host gets that asks for a user name and a password.
    pub(crate) fn of_basic(login: Option<&Credential>) -> Self {
        match login {
            Some(Credential::Basic { username, password }) => {
                Self { header: basic(username, password), standing: Standing::Claimed, position: 0 }
            }
            _ => Self::default(),
        }
    }
}

/// How a token endpoint wants to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// OAuth2's POST, not known to be refused.
    Post,
    /// The older GET with Basic credentials.
    Get,
}

/// A token fetched, and the form that the endpoint took.
pub(crate) struct Fetched {
    pub(crate) token: Token,
    pub(crate) form: Form,
}

/// Fetches a token for `scopes` from the endpoint that `bearer` names.
///
/// With a password, POST comes first (unless `form` says that it is refused) and GET follows where
/// POST is not understood.
///
/// # Errors
/// The endpoint's refusal, or a realm that must not be sent a password.
pub(crate) async fn fetch(
    wire: &Wire,
    bearer: &Bearer,
    scopes: &[&str],
    credential: Option<&Credential>,
    form: Form,
) -> Result<Fetched, Fault> {
    if credential.is_some() && wire.scheme() == "https" && bearer.realm.scheme() == "http" {
        return Err(Fault::Challenge(
            "the token endpoint would take the login over plain HTTP".to_owned(),
        ));
    }
    let standing = if credential.is_some() { Standing::Claimed } else { Standing::Anonymous };
    let mut taken = Form::Get;
    let answer = match credential {
        Some(Credential::IdentityToken(token)) => {
            let fields =
                [("grant_type", "refresh_token"), ("refresh_token", token.expose_secret())];
            post(wire, bearer, scopes, &fields).await?
        }
        Some(Credential::Basic { username, password }) => {
            let posted = match form {
                Form::Get => None,
                Form::Post => {
                    let fields = [
                        ("grant_type", "password"),
                        ("username", username.as_str()),
                        ("password", password.expose_secret()),
                    ];
                    Some(post(wire, bearer, scopes, &fields).await?)
                }
            };
            match posted {
                Some(answer) if !is_post_unknown(answer.status()) => {
                    taken = Form::Post;
                    answer
                }
                _ => get(wire, bearer, scopes, basic(username, password)).await?,
            }
        }
        Some(Credential::RegistryToken(_)) | None => get(wire, bearer, scopes, None).await?,
    };
    if !answer.status().is_success() {
        return Err(body::refusal(wire.context(), answer, standing).await);
    }
    let body = body::read_bounded(wire.context(), answer, MAX_TOKEN_BODY).await?;
    Ok(Fetched { token: Token::read(&body)?, form: taken })
}

/// A token fetched to be looked at: what to send with it, and what it says that it is good for; `None`
/// where it does not say.
///
/// # Errors
/// As [`fetch`].
pub(crate) async fn once(
    wire: &Wire,
    bearer: &Bearer,
    scopes: &[&str],
    credential: Option<&Credential>,
) -> Result<(Grant, Option<Vec<String>>), Fault> {
    let Token { header, .. } = fetch(wire, bearer, scopes, credential, Form::Post).await?.token;
    let allows = header.to_str().ok().and_then(allows);
    let standing = if credential.is_some() { Standing::Proved } else { Standing::Anonymous };
    Ok((Grant { header: Some(header), standing, position: 0 }, allows))
}

/// What the token of `Bearer HEAD.CLAIMS.SIGNATURE` names as its `access`: `repository:a/b:pull`. See
/// <https://distribution.github.io/distribution/spec/auth/jwt/>.
fn allows(header: &str) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct Claims {
        access: Option<Vec<Resource>>,
    }
    #[derive(Deserialize)]
    struct Resource {
        r#type: String,
        name: String,
        actions: Option<Vec<String>>,
    }
    let encoding = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let claims = encoding.decode(header.split('.').nth(1)?.trim_end_matches('=')).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    let granted = |resource: Resource| {
        let actions = resource.actions.unwrap_or_default().join(",");
        format!("{}:{}:{actions}", resource.r#type, resource.name)
    };
    Some(claims.access.unwrap_or_default().into_iter().map(granted).collect())
}

/// Whether a refused POST says that the endpoint knows GET only. A 403 or 500 is an answer.
fn is_post_unknown(status: StatusCode) -> bool {
    status.is_redirection()
        || matches!(
            status,
            StatusCode::BAD_REQUEST
                | StatusCode::UNAUTHORIZED
                | StatusCode::NOT_FOUND
                | StatusCode::METHOD_NOT_ALLOWED
        )
}

async fn post(
    wire: &Wire,
    bearer: &Bearer,
    scopes: &[&str],
    fields: &[(&str, &str)],
) -> Result<reqwest::Response, Fault> {
    let mut headers = wire.headers_for(&bearer.realm);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    wire.exchange(Exchange {
        method: Method::POST,
        url: bearer.realm.clone(),
        headers,
        payload: Payload::Secret(form(bearer, scopes, fields)),
        lane: Lane::Api,
        label: "token",
    })
    .await
}

fn form(bearer: &Bearer, scopes: &[&str], fields: &[(&str, &str)]) -> SecretString {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields).append_pair("client_id", CLIENT_ID);
    // OAuth2 has one list of them, apart by blanks (RFC 6749 §3.3).
    let scope = scopes.join(" ");
    form.extend_pairs((!scope.is_empty()).then_some(("scope", scope)));
    form.extend_pairs(bearer.service.iter().map(|service| ("service", service)));
    SecretString::from(form.finish())
}

async fn get(
    wire: &Wire,
    bearer: &Bearer,
    scopes: &[&str],
    authorization: Option<HeaderValue>,
) -> Result<reqwest::Response, Fault> {
    let mut url = bearer.realm.clone();
    url.query_pairs_mut().extend_pairs(scopes.iter().map(|scope| ("scope", scope)));
    if let Some(service) = &bearer.service {
        url.query_pairs_mut().append_pair("service", service);
    }
    let mut headers = wire.headers_for(&bearer.realm);
    if let Some(value) = authorization {
        headers.insert(AUTHORIZATION, value);
    }
    let (method, payload) = (Method::GET, Payload::None);
    let exchange = Exchange { method, url, headers, payload, lane: Lane::Api, label: "token" };
    Ok(wire.follow(exchange).await?.response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stops_using_a_token_before_it_expires() {
        let token = Token::read(br#"{"token":"","access_token":"abc","expires_in":100}"#).unwrap();
        assert_eq!(token.header().unwrap(), "Bearer abc");
        tokio::time::advance(Duration::from_secs(89)).await;
        assert!(token.header().is_some());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(token.header().is_none());
    }

    #[test]
    fn a_tokens_own_words_say_what_it_is_good_for() {
        let encoded = |claims: &str| {
            let encoding = base64::engine::general_purpose::URL_SAFE_NO_PAD;
            format!("Bearer x.{}.y", encoding.encode(claims))
        };
        let access = r#"{"access":[{"type":"repository","name":"a/b","actions":["pull","push"]},
            {"type":"repository","name":"c","actions":null}]}"#;
        for (header, expected) in [
            (encoded(access), Some(vec!["repository:a/b:pull,push", "repository:c:"])),
            (encoded(r#"{"access":[]}"#), Some(vec![])),
            (encoded("{}"), Some(vec![])),
            (encoded("[1]"), None),
            ("Bearer opaque".to_owned(), None),
            ("Bearer a.!!.c".to_owned(), None),
        ] {
            let expected = expected.map(|all| all.into_iter().map(str::to_owned).collect());
            assert_eq!(allows(&header), expected, "{header}");
        }
    }

    #[tokio::test]
    async fn of_two_tokens_the_one_of_oauth2_counts() {
        for (body, expected) in [
            (r#"{"token":"a","access_token":"b"}"#, "Bearer b"),
            (r#"{"access_token":"b","token":"a"}"#, "Bearer b"),
            (r#"{"token":"a","access_token":""}"#, "Bearer a"),
            (r#"{"token":"a","access_token":null}"#, "Bearer a"),
        ] {
            let token = Token::read(body.as_bytes()).unwrap();
            assert_eq!(token.header().unwrap(), expected, "{body}");
        }
    }

    #[tokio::test]
    async fn refuses_answers_without_a_token() {
        for body in ["", "{}", "<html>", r#"{"token":""}"#, r#"{"token":"a\nb"}"#, r#"{"token":1}"#]
        {
            assert!(matches!(Token::read(body.as_bytes()), Err(Fault::Malformed(_))), "{body}");
        }
    }

    #[test]
    fn shows_no_secret_when_printed_for_debugging() {
        let header = basic("user", &SecretString::from("hunter2".to_owned())).unwrap();
        assert_eq!(format!("{header:?}"), "Sensitive");
    }
}
