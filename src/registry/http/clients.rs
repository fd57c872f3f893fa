//! The HTTP clients of one host.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Client;
use reqwest::redirect::Policy as RedirectPolicy;

use crate::config::RegistryHost;
use crate::registry::error::SetupError;
use crate::registry::fault::Fault;
use crate::registry::http::proxy::Proxies;
use crate::registry::http::tls::{self, Shown};
use crate::registry::policy::Policy;

/// Wait for a connection where hosts.toml gives no `dial_timeout`.
const DEFAULT_DIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Most headers of a response, as Go's clients have no limit but the head's size; hyper's own is 100.
const MAX_HEADERS: usize = 1000;

/// What a request is for, which decides the connections it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Small answers: manifests, tokens, small blobs. HTTP/2 where the host has it.
    Api,
    /// Blob bytes. HTTP/1.1, so that each range has a TCP connection, and a congestion window, of
    /// its own; one HTTP/2 connection carries them slower than several HTTP/1.1 ones.
    Blob,
}

/// One client a lane, with the TLS settings of one host.
#[derive(Debug)]
pub(crate) struct Clients {
    api: Client,
    blob: Client,
    /// Longest wait for a connection.
    pub(crate) dial_timeout: Duration,
    /// Of the host, and of those that it redirects to.
    shown: Shown,
}

impl Clients {
    /// Builds the clients for `host`.
    ///
    /// # Errors
    /// [`SetupError`] when a file or an environment variable can't be used.
    pub(crate) fn new(
        host: &RegistryHost,
        policy: &Policy,
        proxies: &Proxies,
    ) -> Result<Self, SetupError> {
        // What the host's file says is meant for this host; else the run's patience holds.
        let usual = DEFAULT_DIAL_TIMEOUT.min(policy.stall_timeout);
        let dial_timeout = host.dial_timeout.unwrap_or(usual);
        let shown = Shown::default();
        let config = tls::client_config(host, &shown)?;
        let build = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            let builder = Client::builder()
                .tls_backend_preconfigured(config)
                .user_agent(concat!("pullctl/", env!("CARGO_PKG_VERSION")))
                // Followed by hand: a client's own policy would carry custom headers to other hosts.
                .redirect(RedirectPolicy::none())
                .retry(reqwest::retry::never())
                .connect_timeout(dial_timeout)
                // What RFC 9112 §5.2 calls obsolete and old servers still send.
                .http1_allow_obsolete_multiline_headers_in_responses(true)
                .http1_max_headers(MAX_HEADERS)
                .tcp_keepalive(Duration::from_secs(30));
            let builder = policy.resolve.iter().fold(builder, |builder, entry| {
                let address = SocketAddr::new(entry.address, entry.port.unwrap_or(0));
                builder.resolve(&entry.host, address)
            });
            proxies.apply(builder)
        };
        let finish = |builder: reqwest::ClientBuilder| {
            builder.build().map_err(|error| SetupError(format!("HTTP can't be set up: {error}")))
        };
        Ok(Self {
            api: finish(build(&[b"h2", b"http/1.1"]).http2_adaptive_window(true))?,
            blob: finish(build(&[b"http/1.1"]).http1_only())?,
            dial_timeout,
            shown,
        })
    }

    /// What `error` means of a request to the host `name`.
    pub(crate) fn fault(&self, error: &reqwest::Error, name: &str) -> Fault {
        Fault::from_client(error, self.dial_timeout, self.shown.by(name))
    }

    /// The client for `lane`.
    pub(crate) fn lane(&self, lane: Lane) -> &Client {
        match lane {
            Lane::Api => &self.api,
            Lane::Blob => &self.blob,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HostOptions, own_registry};

    #[test]
    fn a_connection_is_waited_for_as_long_as_the_host_says_or_half_a_minute_or_the_runs_patience() {
        let proxies = Proxies::from_environment().unwrap();
        let mut host = own_registry("registry.example", &HostOptions::default());
        let dial_timeout = |host: &RegistryHost| {
            Clients::new(host, &Policy::default(), &proxies).unwrap().dial_timeout
        };
        assert_eq!(dial_timeout(&host), Duration::from_secs(30));
        host.dial_timeout = Some(Duration::from_secs(3));
        assert_eq!(dial_timeout(&host), Duration::from_secs(3));

        let hurried = Policy { stall_timeout: Duration::from_secs(2), ..Policy::default() };
        let dial_timeout =
            |host: &RegistryHost| Clients::new(host, &hurried, &proxies).unwrap().dial_timeout;
        assert_eq!(dial_timeout(&host), Duration::from_secs(3));
        host.dial_timeout = None;
        assert_eq!(dial_timeout(&host), Duration::from_secs(2));
    }
}
