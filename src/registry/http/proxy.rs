//! Which proxy the environment asks for.
//!
//! The client's own reading of the environment differs from that of Go's clients: it would send
//! 127.0.0.1 and localhost through a proxy, reads other things into `NO_PROXY`, and resolves names
//! before it asks a `socks5` proxy.

use std::fmt;
use std::sync::Arc;

use reqwest::{ClientBuilder, Proxy};
use url::Url;

use crate::registry::error::{Error, SetupError};
use crate::registry::fault::Fault;
use crate::registry::http::authority::authority;
use crate::registry::http::no_proxy::NoProxy;

/// Schemes that a proxy may have.
const SCHEMES: [&str; 6] = ["http", "https", "socks5", "socks5h", "socks4", "socks4a"];

/// The proxies of one run.
#[derive(Debug, Clone)]
pub(crate) struct Proxies(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    https: Option<Server>,
    http: Option<Server>,
    all: Option<Server>,
    excluded: NoProxy,
}

/// One proxy, and the variable that names it.
struct Server {
    /// May hold a password.
    url: Url,
    variable: String,
}

/// The proxy by which a URL is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyChoice {
    /// `http://proxy.example:3128`, without user name and password.
    pub url: String,
    /// The variable that says so, as it is written: `https_proxy`.
    pub variable: String,
}

/// The proxy by which the environment wants `url` to be reached; `None` is directly.
///
/// # Errors
/// [`Error::Environment`] when a variable holds no proxy URL.
pub fn proxy_of(url: &Url) -> Result<Option<ProxyChoice>, Error> {
    let proxies = Proxies::from_environment().map_err(Error::Environment)?;
    Ok(proxies.server(url).map(Server::choice))
}

/// Why a proxy is asked, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A variable names one.
    Set,
    /// None does.
    Unset,
    /// `NO_PROXY` has the host in it.
    Excluded,
    /// It is this machine, which is never asked by a proxy.
    Here,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&authority(&self.url)).field(&self.variable).finish()
    }
}

impl Server {
    /// As it may be shown.
    fn choice(&self) -> ProxyChoice {
        let url = format!("{}://{}", self.url.scheme(), authority(&self.url));
        ProxyChoice { url, variable: self.variable.clone() }
    }

    fn parse(text: &str, variable: String) -> Result<Self, SetupError> {
        let parsed = Url::parse(text).ok().filter(|url| SCHEMES.contains(&url.scheme()));
        // `proxy.example:3128`, as Go and curl take it; that is a URL of its own kind as well.
        let has_scheme = text.contains("://");
        let url = parsed.or_else(|| {
            let with_scheme = format!("http://{text}");
            if has_scheme { None } else { Url::parse(&with_scheme).ok() }
        });
        // The value may hold a password: name the variable only.
        let url = url.filter(Url::has_host);
        let mut url = url.ok_or_else(|| SetupError(format!("{variable} is no proxy URL")))?;
        if url.scheme() == "socks5" {
            // Names are resolved at the far end (`ssh -D`), as in Go. Both are of one kind, so that
            // this can't fail.
            let _ = url.set_scheme("socks5h");
        }
        Ok(Self { url, variable })
    }
}

impl Proxies {
    /// Reads `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`. Lower-case names count as
    /// well, and win, as in curl.
    ///
    /// # Errors
    /// [`SetupError`] when a variable holds no proxy URL.
    pub(crate) fn from_environment() -> Result<Self, SetupError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SetupError> {
        let find = |name: &str| {
            let names = [name.to_lowercase(), name.to_owned()];
            names.into_iter().find_map(|name| {
                variable(&name).filter(|value| !value.is_empty()).map(|value| (name, value))
            })
        };
        let server = |name: &str| {
            find(name).map(|(variable, text)| Server::parse(text.trim(), variable)).transpose()
        };
        let excluded = find("NO_PROXY").map(|(_, text)| NoProxy::parse(&text));
        Ok(Self(Arc::new(Rules {
            https: server("HTTPS_PROXY")?,
            http: server("HTTP_PROXY")?,
            all: server("ALL_PROXY")?,
            excluded: excluded.unwrap_or_default(),
        })))
    }

    fn server(&self, url: &Url) -> Option<&Server> {
        let Rules { https, http, all, excluded } = &*self.0;
        let own = if url.scheme() == "https" { https } else { http };
        own.as_ref().or(all.as_ref()).filter(|_| !excluded.holds_for(url))
    }

    /// The proxy by which `url` is reached, or why there is none.
    pub(crate) fn explained(&self, url: &Url) -> (Option<ProxyChoice>, Reason) {
        let Rules { https, http, all, excluded } = &*self.0;
        let own = if url.scheme() == "https" { https } else { http };
        let reason = if own.as_ref().or(all.as_ref()).is_none() {
            Reason::Unset
        } else if NoProxy::default().holds_for(url) {
            Reason::Here
        } else if excluded.holds_for(url) {
            Reason::Excluded
        } else {
            Reason::Set
        };
        (self.server(url).map(Server::choice), reason)
    }

    /// The URL of the proxy by which `url` is reached, which may hold a login.
    pub(crate) fn url(&self, url: &Url) -> Option<&Url> {
        self.server(url).map(|server| &server.url)
    }

    /// Gives them to `builder`, in place of the client's own reading of the environment.
    pub(crate) fn apply(&self, builder: ClientBuilder) -> ClientBuilder {
        let proxies = self.clone();
        let choose = move |url: &Url| proxies.server(url).map(|server| server.url.clone());
        builder.no_proxy().proxy(Proxy::custom(choose))
    }

    /// `host[:port]` of the proxy by which `url` is reached.
    pub(crate) fn authority(&self, url: &Url) -> Option<String> {
        self.server(url).map(|server| authority(&server.url))
    }
}

/// `fault`, which ended the way to `host` by `proxy`: whatever it is, it is not the host's own.
pub(crate) fn blamed(proxy: String, host: &str, fault: Fault) -> Fault {
    let fault = match fault {
        Fault::Connect(words) => match words.strip_prefix("tunnel error: ") {
            Some("proxy authorization required") => Fault::Status {
                status: http::StatusCode::PROXY_AUTHENTICATION_REQUIRED,
                retry_after: None,
                reason: None,
            },
            Some("unsuccessful") => Fault::Connect(format!("it does not connect to {host}")),
            _ => Fault::Connect(words),
        },
        fault => fault,
    };
    Fault::Proxy { proxy, fault: Box::new(fault) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, SetupError> {
        Proxies::from_variables(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn names_the_variable_that_is_no_url_and_not_its_value() {
        for value in ["http://user:hunter2@[bad", "ftp://user:hunter2@a.example", "http://", "a b"]
        {
            let error = proxies(&[("HTTPS_PROXY", value)]).unwrap_err();
            assert_eq!(error.to_string(), "HTTPS_PROXY is no proxy URL", "{value}");
        }
        let error = proxies(&[("https_proxy", "ftp://a")]).unwrap_err();
        assert_eq!(error.to_string(), "https_proxy is no proxy URL");
    }

    #[test]
    fn a_url_goes_by_the_variable_of_its_scheme() {
        let variables = [
            ("HTTP_PROXY", "plain.example:3128"),
            ("http_proxy", "http://user:hunter2@lower.example"),
            ("https_proxy", ""),
            ("ALL_PROXY", "socks5://user:p%40ss@all.example"),
            ("NO_PROXY", "direct.example"),
        ];
        let proxies = proxies(&variables).unwrap();
        for (url, expected) in [
            ("http://a.example/v2/", Some(("http_proxy", "lower.example"))),
            ("https://a.example/v2/", Some(("ALL_PROXY", "all.example"))),
            ("https://direct.example/v2/", None),
            ("http://127.0.0.1:5000/v2/", None),
        ] {
            let url = url.parse().unwrap();
            let variable = proxies.server(&url).map(|server| server.variable.as_str());
            assert_eq!(variable, expected.map(|(variable, _)| variable), "{url}");
            assert_eq!(proxies.authority(&url).as_deref(), expected.map(|(_, host)| host));
        }
        let server = proxies.server(&"https://a.example".parse().unwrap()).unwrap();
        assert_eq!(server.url.as_str(), "socks5h://user:p%40ss@all.example");
        let shown = format!("{proxies:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("p%40ss"), "{shown}");
    }

    #[test]
    fn a_proxy_may_be_written_without_a_scheme() {
        for (text, authority) in [
            ("proxy.example:3128", "proxy.example:3128"),
            ("proxy.example", "proxy.example"),
            ("10.0.0.1:3128", "10.0.0.1:3128"),
            ("user:pass@proxy.example:3128", "proxy.example:3128"),
            (" http://proxy.example:3128/ ", "proxy.example:3128"),
            ("http://[fd00::1]:3128", "[fd00::1]:3128"),
        ] {
            let proxies = proxies(&[("HTTP_PROXY", text)]).unwrap();
            let authority_of = proxies.authority(&"http://a.example".parse().unwrap());
            assert_eq!(authority_of.as_deref(), Some(authority), "{text}");
        }
    }

    #[test]
    fn what_a_proxy_says_of_a_tunnel_is_put_into_words() {
        for (words, expected) in [
            ("tunnel error: unsuccessful", "it does not connect to a.example"),
            ("tunnel error: proxy authorization required", "407 Proxy Authentication Required"),
            ("no route to host", "no route to host"),
        ] {
            let fault = Fault::Connect(words.to_owned());
            let shown = blamed("p.example:3128".to_owned(), "a.example", fault).to_string();
            assert!(shown.starts_with("proxy p.example:3128: "), "{shown}");
            assert!(shown.ends_with(expected), "{shown}");
        }
    }
}
