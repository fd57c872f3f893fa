//! `NO_PROXY`: which hosts are reached without a proxy, as Go's clients read it.
//!
//! An entry is `*`, an address, a block of addresses (`10.0.0.0/8`), a name that stands for itself and
//! what is below it (`corp.test`), or one for what is below it only (`.corp.test`, `*.corp.test`). All
//! but blocks may end in a port, and then hold for that port alone. See
//! <https://pkg.go.dev/golang.org/x/net/http/httpproxy>.

use std::net::IpAddr;

use url::{Host, Url};

/// The entries of one variable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NoProxy {
    everything: bool,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Block { network: IpAddr, bits: u8 },
    Address { address: IpAddr, port: Option<u16> },
    Name { name: String, below_only: bool, port: Option<u16> },
}

impl NoProxy {
    /// Reads the variable's value. What makes no sense is passed over, as in Go.
    pub(crate) fn parse(text: &str) -> Self {
        let mut read = Self::default();
        for entry in text.split(',').map(|entry| entry.trim().to_lowercase()) {
            if entry == "*" {
                read.everything = true;
            } else if !entry.is_empty() {
                read.entries.extend(Entry::parse(&entry));
            }
        }
        read
    }

    /// Whether `url` is reached without a proxy. This machine always is.
    pub(crate) fn holds_for(&self, url: &Url) -> bool {
        let port = url.port_or_known_default();
        let (name, address) = match url.host() {
            None => return true,
            Some(Host::Domain(name)) => (name.to_lowercase(), name.parse().ok()),
            Some(Host::Ipv4(address)) => (address.to_string(), Some(IpAddr::V4(address))),
            Some(Host::Ipv6(address)) => (address.to_string(), Some(IpAddr::V6(address))),
        };
        let is_here = name == "localhost" || address.is_some_and(|address| address.is_loopback());
        let holds = |entry: &Entry| entry.holds_for(&name, address, port);
        is_here || self.everything || self.entries.iter().any(holds)
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        if let Some((network, bits)) = text.split_once('/') {
            let network: IpAddr = network.parse().ok()?;
            let bits = bits.parse().ok().filter(|bits| *bits <= width(network))?;
            return Some(Self::Block { network, bits });
        }
        if let Some(address) = address(text) {
            return Some(Self::Address { address, port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (text, None),
        };
        if let Some(address) = address(host) {
            return Some(Self::Address { address, port });
        }
        let (below, name) = match host.strip_prefix("*.").or(host.strip_prefix('.')) {
            Some(name) => (true, name),
            None => (false, host),
        };
        let name = in_ascii(name);
        (!name.is_empty()).then_some(Self::Name { name, below_only: below, port })
    }

    fn holds_for(&self, host: &str, host_address: Option<IpAddr>, host_port: Option<u16>) -> bool {
        let fits = |port: &Option<u16>| port.is_none() || *port == host_port;
        match self {
            Self::Block { network, bits } => {
                host_address.is_some_and(|address| is_within(address, *network, *bits))
            }
            Self::Address { address, port } => host_address == Some(*address) && fits(port),
            Self::Name { name, below_only, port } => {
                let rest = host.strip_suffix(name.as_str());
                let is_below = rest.is_some_and(|rest| rest.ends_with('.'));
                (is_below || (!below_only && host == name)) && fits(port)
            }
        }
    }
}

/// An address as it is written, in brackets or not.
fn address(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.unwrap_or(text).parse().ok()
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    };
    // A shift by the whole width is none in Rust.
    let differing = number(address) ^ number(network);
    address.is_ipv4() == network.is_ipv4()
        && differing.checked_shr(u32::from(128 - bits)).unwrap_or(0) == 0
}

/// The name as URLs have it.
fn in_ascii(name: &str) -> String {
    if name.is_ascii() {
        return name.to_owned();
    }
    Host::parse(name).map_or_else(|_| name.to_owned(), |host| host.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_holds_for_what_it_holds_for_in_go() {
        for (text, direct, proxied) in [
            (
                "",
                vec!["http://localhost:5000", "http://127.9.9.9", "http://[::1]:80"],
                vec!["http://a.example", "http://10.0.0.1", "http://localhost.example"],
            ),
            ("*", vec!["http://a.example", "https://10.0.0.1", "https://[fd00::1]"], vec![]),
            ("x.test, *", vec!["http://a.example"], vec![]),
            (
                "corp.test",
                vec!["https://corp.test", "https://CORP.TEST:5000", "https://a.b.corp.test"],
                vec!["https://xcorp.test", "https://corp.test.example"],
            ),
            (".corp.test", vec!["https://a.corp.test"], vec!["https://corp.test"]),
            ("*.corp.test", vec!["https://a.corp.test:80"], vec!["https://corp.test"]),
            (
                "corp.test:5000",
                vec!["https://corp.test:5000", "http://a.corp.test:5000"],
                vec!["https://corp.test", "http://corp.test:5001"],
            ),
            ("corp.test:443", vec!["https://corp.test"], vec!["http://corp.test"]),
            (".corp.test:80", vec!["http://a.corp.test"], vec!["https://a.corp.test"]),
            ("10.0.0.0/8", vec!["http://10.255.0.1:5000"], vec!["http://11.0.0.1"]),
            ("10.1.2.3/0", vec!["http://8.8.8.8"], vec!["http://[fd00::1]"]),
            ("10.1.2.3/32", vec!["http://10.1.2.3"], vec!["http://10.1.2.2"]),
            ("fd00::/8", vec!["http://[fd12::1]"], vec!["http://[fe80::1]", "http://10.0.0.1"]),
            ("10.0.0.1", vec!["https://10.0.0.1:5000"], vec!["https://10.0.0.2"]),
            ("10.0.0.1:5000", vec!["https://10.0.0.1:5000"], vec!["https://10.0.0.1"]),
            ("fd00::1", vec!["https://[fd00::1]:5000"], vec!["https://[fd00::2]"]),
            ("[fd00::1]:5000", vec!["http://[fd00::1]:5000"], vec!["http://[fd00::1]"]),
            (" A.test ,, b.test ", vec!["http://a.test", "http://x.B.test"], vec!["http://c.test"]),
            ("bücher.test", vec!["https://xn--bcher-kva.test"], vec!["https://bucher.test"]),
            ("10.0.0.0/33, :80, ., a.test:http", vec![], vec!["http://10.0.0.1", "http://a.test"]),
        ] {
            let no_proxy = NoProxy::parse(text);
            let holds = |url: &str| no_proxy.holds_for(&url.parse().unwrap());
            for url in direct {
                assert!(holds(url), "{text:?} holds for {url}");
            }
            for url in proxied {
                assert!(!holds(url), "{text:?} does not hold for {url}");
            }
        }
    }
}
