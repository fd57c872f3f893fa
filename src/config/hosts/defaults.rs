//! The image's own registry, and what holds for it where no file says anything.
//!
//! | registry | asked over | certificate |
//! |---|---|---|
//! | `docker.io` | https, at `registry-1.docker.io` | verified |
//! | loopback, no port or 443 | https | not verified |
//! | loopback, port 80 | http | |
//! | loopback, another port | https, then http | not verified |
//! | another host, port 80 | http | |
//! | another host | https | verified |

use crate::config::authority::{DOCKER_HUB_REGISTRY, is_loopback, split_port};
use crate::reference::DOCKER_HUB;
use crate::reference::Reference;

use super::host::{Capabilities, RegistryHost, Source};

/// What the command line says about the hosts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostOptions {
    /// `--plain-http`: the image's own registry speaks http. Says nothing of mirrors, whose URLs
    /// carry their scheme, nor of Docker Hub, which has no plain http.
    pub plain_http: bool,
    /// `--skip-verify`: no certificate is verified, unless the host's own file says so. Never turns
    /// https into http.
    pub skip_verify: bool,
}

/// The hosts to ask for `reference` where no file says anything: its own registry alone.
pub fn defaults(reference: &Reference, options: &HostOptions) -> Vec<RegistryHost> {
    vec![own_registry(reference.domain(), options)]
}

/// The registry that `domain`, the host part of a reference, names.
pub fn own_registry(domain: &str, options: &HostOptions) -> RegistryHost {
    let transport = Transport::of(domain, options);
    RegistryHost {
        scheme: transport.scheme.to_owned(),
        authority: if domain == DOCKER_HUB { DOCKER_HUB_REGISTRY } else { domain }.to_owned(),
        path: "/v2".to_owned(),
        capabilities: Capabilities::ALL,
        ca: Vec::new(),
        client: Vec::new(),
        skip_verify: options.skip_verify || transport.trusted_unverified,
        headers: Vec::new(),
        common_headers: Vec::new(),
        override_path: false,
        dial_timeout: None,
        http_fallback: transport.http_fallback,
        ns: None,
        rewrites: Vec::new(),
        header_realms: Vec::new(),
        source: Source::Default,
        directory: None,
    }
}

/// One row of the table above.
struct Transport {
    scheme: &'static str,
    http_fallback: bool,
    trusted_unverified: bool,
}

impl Transport {
    const HTTP: Self = Self { scheme: "http", http_fallback: false, trusted_unverified: false };
    const HTTPS: Self = Self { scheme: "https", http_fallback: false, trusted_unverified: false };

    fn of(domain: &str, options: &HostOptions) -> Self {
        if domain == DOCKER_HUB {
            return Self::HTTPS;
        }
        if options.plain_http {
            return Self::HTTP;
        }
        match (split_port(domain).1, is_loopback(domain)) {
            (Some("80"), _) => Self::HTTP,
            (None | Some("443"), true) => Self { trusted_unverified: true, ..Self::HTTPS },
            (Some(_), true) => {
                Self { http_fallback: true, trusted_unverified: true, ..Self::HTTPS }
            }
            (_, false) => Self::HTTPS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scheme, authority, `http_fallback` and `skip_verify` of the host that is asked.
    fn summary(domain: &str, options: HostOptions) -> (String, bool, bool) {
        let host = own_registry(domain, &options);
        (
            format!("{}://{}{}", host.scheme, host.authority, host.path),
            host.http_fallback,
            host.skip_verify,
        )
    }

    #[test]
    fn every_kind_of_registry_gets_its_default_scheme_and_verification() {
        for (domain, url, http_fallback, skip_verify) in [
            ("docker.io", "https://registry-1.docker.io/v2", false, false),
            ("quay.io", "https://quay.io/v2", false, false),
            ("quay.io:8443", "https://quay.io:8443/v2", false, false),
            ("quay.io:80", "http://quay.io:80/v2", false, false),
            ("[fd00::1]:5000", "https://[fd00::1]:5000/v2", false, false),
            ("localhost", "https://localhost/v2", false, true),
            ("localhost:443", "https://localhost:443/v2", false, true),
            ("localhost:80", "http://localhost:80/v2", false, false),
            ("localhost:5000", "https://localhost:5000/v2", true, true),
            ("127.0.0.7:5000", "https://127.0.0.7:5000/v2", true, true),
            ("[::1]:5000", "https://[::1]:5000/v2", true, true),
        ] {
            assert_eq!(
                summary(domain, HostOptions::default()),
                (url.to_owned(), http_fallback, skip_verify),
                "{domain}"
            );
        }
    }

    #[test]
    fn plain_http_speaks_http_only_and_never_to_docker_hub() {
        let plain = HostOptions { plain_http: true, skip_verify: false };
        for (domain, url) in [
            ("quay.io", "http://quay.io/v2"),
            ("localhost:5000", "http://localhost:5000/v2"),
            ("docker.io", "https://registry-1.docker.io/v2"),
        ] {
            assert_eq!(summary(domain, plain), (url.to_owned(), false, false), "{domain}");
        }
    }

    #[test]
    fn skip_verify_never_turns_https_into_http() {
        let unverified = HostOptions { plain_http: false, skip_verify: true };
        for (domain, url) in [
            ("quay.io", "https://quay.io/v2"),
            ("quay.io:5000", "https://quay.io:5000/v2"),
            ("docker.io", "https://registry-1.docker.io/v2"),
        ] {
            assert_eq!(summary(domain, unverified), (url.to_owned(), false, true), "{domain}");
        }
    }
}
