//! `WWW-Authenticate`: what a host asks for. See RFC 9110 §11.6.1 and
//! <https://distribution.github.io/distribution/spec/auth/token/>.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use url::Url;

use crate::registry::Fault;

/// Most challenges read from one response; a registry sends one or two.
const MAX_CHALLENGES: usize = 16;

/// One way to log in that we can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password with each request.
    Basic,
    /// A token from a token endpoint.
    Bearer(Bearer),
}

/// Where a token is to be had, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bearer {
    /// The token endpoint.
    pub(crate) realm: Url,
    /// Whom the token is for.
    pub(crate) service: Option<String>,
    /// What it should allow; absent in challenges to `/v2/`.
    pub(crate) scope: Option<String>,
}

/// The challenges of a 401 response that we can answer, in its order.
///
/// # Errors
/// [`Fault::Challenge`] when there are some, but none that we can answer.
pub(crate) fn challenges(headers: &HeaderMap) -> Result<Vec<Challenge>, Fault> {
    let mut answerable = Vec::new();
    let mut refused = None;
    let lines = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|line| line.to_str().ok());
    for line in lines.take(MAX_CHALLENGES) {
        for raw in parse(line).into_iter().take(MAX_CHALLENGES) {
            match raw.read() {
                Ok(challenge) => answerable.push(challenge),
                Err(reason) => refused = Some(reason),
            }
        }
    }
    match refused {
        Some(reason) if answerable.is_empty() => Err(Fault::Challenge(reason)),
        _ => Ok(answerable),
    }
}

#[derive(Debug, Default)]
struct Raw {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Raw {
    fn take(&self, name: &str) -> Option<String> {
        let found = self.parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    }

    fn read(&self) -> Result<Challenge, String> {
        if self.scheme.eq_ignore_ascii_case("basic") {
            return Ok(Challenge::Basic);
        }
        if !self.scheme.eq_ignore_ascii_case("bearer") {
            return Err(format!("scheme {:?} is not supported", shown(&self.scheme)));
        }
        let realm = self.take("realm").ok_or("Bearer without realm")?;
        let realm = Url::parse(&realm)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| format!("realm {:?} is no URL", shown(&realm)))?;
        Ok(Challenge::Bearer(Bearer {
            realm,
            service: self.take("service"),
            scope: self.take("scope"),
        }))
    }
}

fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

fn parse(line: &str) -> Vec<Raw> {
    match http_auth::parse_challenges(line) {
        Ok(parsed) => parsed
            .iter()
            .map(|challenge| Raw {
                scheme: challenge.scheme.to_owned(),
                parameters: challenge
                    .params
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), value.to_unescaped()))
                    .collect(),
            })
            .collect(),
        Err(_) => vec![parse_loosely(line)],
    }
}

/// Reads one challenge whose values may lack their quotes, as in `realm=https://host/token`, which
/// is no valid token and which strict parsers refuse.
fn parse_loosely(line: &str) -> Raw {
    let (scheme, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let mut quoted = false;
    let parameters = rest
        .split(|character| {
            quoted ^= character == '"';
            character == ',' && !quoted
        })
        .filter_map(|pair| pair.trim().split_once('='))
        .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
        .collect();
    Raw { scheme: scheme.to_owned(), parameters }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(lines: &[&'static str]) -> Result<Vec<Challenge>, Fault> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(line));
        }
        challenges(&headers)
    }

    fn bearer(service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer(Bearer {
            realm: "https://auth.example/token".parse().unwrap(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        })
    }

    #[test]
    fn reads_the_forms_in_use() {
        let full = bearer(Some("reg"), Some("repository:a/b:pull,push"));
        for (lines, expected) in [
            (vec![r#"Basic realm="Registry""#], vec![Challenge::Basic]),
            (
                vec![
                    r#"Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull,push""#,
                ],
                vec![full.clone()],
            ),
            (
                vec![
                    r#"bearer Realm="https://auth.example/token", Service="reg", Scope="repository:a/b:pull,push""#,
                ],
                vec![full.clone()],
            ),
            (
                vec![r#"Bearer realm="https://auth.example/token",service="reg", Basic realm="x""#],
                vec![bearer(Some("reg"), None), Challenge::Basic],
            ),
            (
                vec!["Negotiate", r#"Bearer realm="https://auth.example/token""#],
                vec![bearer(None, None)],
            ),
            (
                vec![
                    r#"Bearer realm=https://auth.example/token,service=reg,scope="repository:a/b:pull,push""#,
                ],
                vec![full],
            ),
            (vec![], vec![]),
        ] {
            assert_eq!(read(&lines), Ok(expected), "{lines:?}");
        }
    }

    #[test]
    fn names_what_it_cannot_answer() {
        for (line, part) in [
            ("Negotiate", "Negotiate"),
            ("Bearer service=\"x\"", "without realm"),
            ("Bearer realm=\"/token\"", "no URL"),
            ("Bearer realm=\"file:///etc/passwd\"", "no URL"),
        ] {
            let Err(Fault::Challenge(reason)) = read(&[line]) else { panic!("{line}") };
            assert!(reason.contains(part), "{reason}");
        }
    }
}
