//! Which proxy the environment asks for.
//!
//! The client's own reading of the environment would send 127.0.0.1 and localhost through a proxy,
//! which no Go client does.

use reqwest::{ClientBuilder, NoProxy, Proxy};

use super::error::SetupError;

/// Never proxied, whatever `NO_PROXY` says.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// Gives `builder` the proxies of `HTTPS_PROXY`, `HTTP_PROXY` and `ALL_PROXY`, but for what
/// `NO_PROXY` and loopback exclude. Lower-case names count as well, and win, as in Go and curl.
///
/// # Errors
/// [`SetupError`] when a variable holds no proxy URL.
pub(crate) fn with_environment(builder: ClientBuilder) -> Result<ClientBuilder, SetupError> {
    with_variables(builder, |name| {
        [name.to_lowercase(), name.to_owned()]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    })
}

fn with_variables(
    builder: ClientBuilder,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<ClientBuilder, SetupError> {
    let excluded = match variable("NO_PROXY") {
        Some(listed) => format!("{LOOPBACK},{listed}"),
        None => LOOPBACK.to_owned(),
    };
    let mut builder = builder.no_proxy();
    // The first that fits is used, so the catch-all comes last.
    type Make = fn(String) -> reqwest::Result<Proxy>;
    let kinds: [(&str, Make); 3] =
        [("HTTPS_PROXY", Proxy::https), ("HTTP_PROXY", Proxy::http), ("ALL_PROXY", Proxy::all)];
    for (name, make) in kinds {
        let Some(url) = variable(name) else { continue };
        // The value may hold a password: name the variable only.
        let proxy = make(url).map_err(|_| SetupError(format!("{name} is no proxy URL")))?;
        builder = builder.proxy(proxy.no_proxy(NoProxy::from_string(&excluded)));
    }
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_variable_that_is_no_url_and_not_its_value() {
        let error = with_variables(reqwest::Client::builder(), |name| {
            (name == "HTTPS_PROXY").then(|| "http://user:hunter2@[bad".to_owned())
        });
        assert_eq!(error.unwrap_err().to_string(), "HTTPS_PROXY is no proxy URL");
    }
}
