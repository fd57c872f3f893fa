//! dnsmasq at an address of its own on loopback, which knows the names that it is told and remembers
//! what it was asked for.

use std::sync::atomic::{AtomicU8, Ordering};

use super::supervisor::{Supervised, fresh_directory};

/// The network below which name servers of tests listen: loopback, and nobody else's.
const NETWORK: &str = "127.53";

/// A running name server.
pub(crate) struct NameServer {
    daemon: Supervised,
    address: String,
}

impl NameServer {
    /// One that knows these names and their IPv4 addresses, and no other.
    pub(crate) fn knowing(names: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        // Port 53 is the only one that resolv.conf can name.
        let process = std::process::id() % 256;
        let address = format!("{NETWORK}.{process}.{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let listen = format!("--listen-address={address}");
        let mut command = vec![
            "dnsmasq".to_owned(),
            "--keep-in-foreground".to_owned(),
            "--conf-file=/dev/null".to_owned(),
            "--pid-file=".to_owned(),
            "--user=root".to_owned(),
            "--log-facility=-".to_owned(),
            "--log-queries".to_owned(),
            "--bind-interfaces".to_owned(),
            listen,
            // There is nobody else to ask.
            "--no-resolv".to_owned(),
            "--no-hosts".to_owned(),
            "--local=/test/".to_owned(),
            "--local=//".to_owned(),
        ];
        command.extend(names.iter().map(|(name, ip)| format!("--host-record={name},{ip}")));
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let daemon = Supervised::start(fresh_directory("dns"), &command);
        daemon.wait_until("readiness of dnsmasq", || {
            daemon.log().contains(": started, version").then_some(())
        });
        Self { daemon, address }
    }

    /// The address to be put into resolv.conf.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The names of which an IPv4 address was asked for, in their order, each once.
    pub(crate) fn asked(&self) -> Vec<String> {
        let log = self.daemon.log();
        let mut asked = Vec::new();
        for line in log.lines() {
            let Some((_, question)) = line.split_once("query[A] ") else { continue };
            let name = question.split(' ').next().unwrap_or_default().to_owned();
            if !asked.contains(&name) {
                asked.push(name);
            }
        }
        asked
    }
}
