//! Names of registry hosts: their ports, loopback, and the many names of Docker Hub.

use std::fmt;
use std::net::IpAddr;

pub(crate) use crate::reference::split_port;
use crate::reference::{DOCKER_HUB, without_brackets};

/// The host that answers for Docker Hub.
pub(crate) const DOCKER_HUB_REGISTRY: &str = "registry-1.docker.io";

/// Every host name under which Docker Hub's registry or its login is written down.
const DOCKER_HUB_NAMES: [&str; 3] = [DOCKER_HUB, "index.docker.io", DOCKER_HUB_REGISTRY];

/// The registry that a login belongs to, however it is spelled.
///
/// `host`, `HOST` and `host:443` are one, and so are Docker Hub's three names: a login written
/// for one of them is found by the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistryKey(String);

impl RegistryKey {
    /// The key for `authority`, `host[:port]` with IPv6 in brackets.
    pub fn of(authority: &str) -> Self {
        let lower = authority.to_ascii_lowercase();
        let host = lower.strip_suffix(":443").unwrap_or(&lower);
        let canonical = if is_docker_hub(host) { DOCKER_HUB } else { host };
        Self(canonical.to_owned())
    }

    /// Whether this is Docker Hub.
    pub fn is_docker_hub(&self) -> bool {
        self.0 == DOCKER_HUB
    }

    /// The normalised `host[:port]`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RegistryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The `host[:port]` in what people type for a registry: `https://host:443/v1/` is `host:443`.
/// `None` if there is none in it, or a login.
pub fn authority_in(typed: &str) -> Option<String> {
    let (_, rest) = typed.split_once("://").unwrap_or(("", typed));
    let (authority, _) = rest.split_once('/').unwrap_or((rest, ""));
    let parsed: http::uri::Authority = authority.parse().ok()?;
    let is_port_valid = split_port(authority).1.is_none() || parsed.port_u16().is_some();
    (is_port_valid && !parsed.host().is_empty() && !authority.contains('@'))
        .then(|| authority.to_ascii_lowercase())
}

/// Whether `host`, without a port, is one of Docker Hub's names.
pub(crate) fn is_docker_hub(host: &str) -> bool {
    DOCKER_HUB_NAMES.contains(&host)
}

/// Whether `authority` names this machine: `localhost`, `127.0.0.0/8` or `::1`.
pub(crate) fn is_loopback(authority: &str) -> bool {
    let (host, _) = split_port(authority);
    let bare = without_brackets(host);
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_registry_has_one_key_however_it_is_written() {
        for (written, key) in [
            ("harbor.example", "harbor.example"),
            ("harbor.example:443", "harbor.example"),
            ("Harbor.Example", "harbor.example"),
            ("harbor.example:8443", "harbor.example:8443"),
            ("[fd00::1]:443", "[fd00::1]"),
            ("[fd00::443]", "[fd00::443]"),
            ("docker.io", "docker.io"),
            ("index.docker.io", "docker.io"),
            ("registry-1.docker.io:443", "docker.io"),
            ("notdocker.io", "notdocker.io"),
        ] {
            assert_eq!(RegistryKey::of(written).as_str(), key, "{written}");
        }
    }

    #[test]
    fn a_port_is_split_off_and_ipv6_brackets_are_not_mistaken_for_one() {
        for (authority, host, port) in [
            ("host", "host", None),
            ("host:5000", "host", Some("5000")),
            ("[::1]", "[::1]", None),
            ("[::1]:80", "[::1]", Some("80")),
        ] {
            assert_eq!(split_port(authority), (host, port), "{authority}");
        }
    }

    #[test]
    fn a_registry_is_recognised_in_what_people_type() {
        for (typed, authority) in [
            ("harbor.example", Some("harbor.example")),
            ("Harbor.Example:8443", Some("harbor.example:8443")),
            ("https://harbor.example/", Some("harbor.example")),
            ("https://index.docker.io/v1/", Some("index.docker.io")),
            ("harbor.example/project", Some("harbor.example")),
            ("[fd00::1]:5000", Some("[fd00::1]:5000")),
            ("", None),
            ("https://", None),
            ("harbor.example:port", None),
            ("harbor.example:", None),
            ("me:secret@harbor.example", None),
            ("two words", None),
        ] {
            assert_eq!(authority_in(typed).as_deref(), authority, "{typed}");
        }
    }

    #[test]
    fn loopback_is_the_name_localhost_and_the_two_loopback_networks() {
        for (authority, expected) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1", true),
            ("127.8.9.10:80", true),
            ("[::1]", true),
            ("[::1]:5000", true),
            ("localhost.example", false),
            ("128.0.0.1", false),
            ("[fd00::1]:5000", false),
            ("registry.example:443", false),
        ] {
            assert_eq!(is_loopback(authority), expected, "{authority}");
        }
    }
}
