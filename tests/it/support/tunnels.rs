//! Proxies that carry connections: SOCKS by microsocks, and TLS before a proxy by stunnel.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use super::certificates::{Certificates, Validity};
use super::faulty::dead_authority;
use super::supervisor::{Supervised, fresh_directory};

/// A proxy that runs.
pub(crate) struct Tunnel {
    daemon: Supervised,
    authority: String,
}

impl Tunnel {
    /// A SOCKS5 proxy for somebody with this login, on a machine whose `/etc/hosts` is `hosts`.
    pub(crate) fn socks(hosts: &Path, user: &str, password: &str) -> Self {
        Self::start("socks", |_, port| {
            let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
            let hosts = hosts.display().to_string();
            ["unshare", "-m", "sh", "-c", script, &hosts, "microsocks", "-i", "127.0.0.1"]
                .into_iter()
                .chain(["-p", port, "-u", user, "-P", password])
                .map(str::to_owned)
                .collect()
        })
    }

    /// TLS with a certificate for 127.0.0.1 of a private authority, before whatever is at `target`.
    pub(crate) fn tls(target: &str) -> Self {
        Self::start("stunnel", |directory, port| {
            let certificates = Certificates::issue(directory, &["127.0.0.1"], Validity::Now);
            let config = format!(
                "foreground = yes\npid =\n[proxy]\naccept = 127.0.0.1:{port}\nconnect = {target}\n\
                 cert = {}\nkey = {}\n",
                certificates.certificate.display(),
                certificates.key.display()
            );
            let path = directory.join("stunnel.conf");
            fs::write(&path, config).expect("the folder is ours");
            vec!["stunnel".to_owned(), path.display().to_string()]
        })
    }

    fn start(name: &str, command: impl FnOnce(&Path, &str) -> Vec<String>) -> Self {
        let directory = fresh_directory(name);
        let authority = dead_authority();
        let (_, port) = authority.split_once(':').expect("an authority has a port");
        let command = command(&directory, port);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let daemon = Supervised::start(directory, &command);
        daemon.wait_until(name, || TcpStream::connect(&*authority).ok());
        Self { daemon, authority }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// The file of the authority that [`tls`](Self::tls) made.
    pub(crate) fn ca(&self) -> PathBuf {
        self.daemon.directory().join("ca.crt")
    }
}
