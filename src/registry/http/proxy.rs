//! Which proxy the environment asks for.
//!
//! The client's own reading of the environment would send 127.0.0.1 and localhost through a proxy,
//! which no Go client does.

use reqwest::{ClientBuilder, NoProxy, Proxy};

use crate::registry::error::SetupError;

/// Never proxied, whatever `NO_PROXY` says.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// The proxies of one run.
#[derive(Debug, Clone)]
pub(crate) struct Proxies(Vec<Proxy>);

impl Proxies {
    /// Reads `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`. Lower-case names count as
    /// well, and win, as in Go and curl.
    ///
    /// # Errors
    /// [`SetupError`] when a variable holds no proxy URL.
    pub(crate) fn from_environment() -> Result<Self, SetupError> {
        Self::from_variables(|name| {
            [name.to_lowercase(), name.to_owned()]
                .iter()
                .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        })
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SetupError> {
        let excluded = match variable("NO_PROXY") {
            Some(listed) => format!("{LOOPBACK},{listed}"),
            None => LOOPBACK.to_owned(),
        };
        // The first that fits is used, so the catch-all comes last.
        type Make = fn(String) -> reqwest::Result<Proxy>;
        let kinds: [(&str, Make); 3] =
            [("HTTPS_PROXY", Proxy::https), ("HTTP_PROXY", Proxy::http), ("ALL_PROXY", Proxy::all)];
        let mut proxies = Vec::new();
        for (name, make) in kinds {
            let Some(url) = variable(name) else { continue };
            // The value may hold a password: name the variable only.
            let proxy = make(url).map_err(|_| SetupError(format!("{name} is no proxy URL")))?;
            proxies.push(proxy.no_proxy(NoProxy::from_string(&excluded)));
        }
        Ok(Self(proxies))
    }

    /// Gives them to `builder`, in place of the client's own reading of the environment.
    pub(crate) fn apply(&self, builder: ClientBuilder) -> ClientBuilder {
        self.0.iter().cloned().fold(builder.no_proxy(), ClientBuilder::proxy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_variable_that_is_no_url_and_not_its_value() {
        let error = Proxies::from_variables(|name| {
            (name == "HTTPS_PROXY").then(|| "http://user:hunter2@[bad".to_owned())
        });
        assert_eq!(error.unwrap_err().to_string(), "HTTPS_PROXY is no proxy URL");
    }
}
