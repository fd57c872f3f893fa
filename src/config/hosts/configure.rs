//! From a URL and settings to a host, by containerd's rules of https, http and `ns=`.

use crate::config::authority::{DOCKER_HUB_REGISTRY, split_port};
use crate::reference::DOCKER_HUB;

use super::defaults::{HostOptions, own_registry};
use super::host::{Capabilities, RegistryHost, Source};
use super::settings::HostSettings;
use super::url::HostUrl;

/// A host whose URL is written down.
pub(in crate::config) fn configure(
    domain: &str,
    options: &HostOptions,
    url: HostUrl,
    settings: HostSettings,
    source: Source,
) -> RegistryHost {
    let mentions_tls = settings.mentions_tls() || options.skip_verify;
    let plain = url.scheme == "http";
    // Who speaks of certificates wants TLS, whatever the URL says; port 80 alone leaves no doubt.
    let http_fallback = plain && mentions_tls && split_port(&url.authority).1 != Some("80");
    RegistryHost {
        scheme: if http_fallback { "https" } else { url.scheme }.to_owned(),
        path: url.api_path(settings.override_path),
        capabilities: settings.capabilities.unwrap_or(Capabilities::ALL),
        ca: settings.ca,
        client: settings.client,
        skip_verify: settings.skip_verify.unwrap_or(options.skip_verify),
        headers: settings.headers,
        common_headers: Vec::new(),
        override_path: settings.override_path,
        dial_timeout: settings.dial_timeout,
        http_fallback,
        ns: namespace(domain, &url.authority),
        rewrites: settings.rewrites,
        header_realms: settings.header_realms,
        source,
        directory: None,
        authority: url.authority,
    }
}

/// The image's own registry where no URL is written for it: its capabilities and path are its own.
pub(in crate::config) fn configure_own(
    domain: &str,
    options: &HostOptions,
    settings: HostSettings,
    source: Source,
) -> RegistryHost {
    let own = own_registry(domain, options);
    RegistryHost {
        ca: settings.ca,
        client: settings.client,
        skip_verify: settings.skip_verify.unwrap_or(own.skip_verify),
        headers: settings.headers,
        dial_timeout: settings.dial_timeout,
        rewrites: settings.rewrites,
        header_realms: settings.header_realms,
        source,
        ..own
    }
}

/// The value of `ns=`, by which a mirror learns whose image is meant. Compared as strings, as
/// containerd does: `reg:443` is told that `reg` is meant.
fn namespace(domain: &str, authority: &str) -> Option<String> {
    let own = authority == domain || (domain == DOCKER_HUB && authority == DOCKER_HUB_REGISTRY);
    (!own).then(|| domain.to_owned())
}
