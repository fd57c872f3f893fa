//! `pullctl explain --probe`: the ways to a host: names, addresses, and proxies of every kind.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::explain::json_of;
use crate::explain_probe::{host, probe_by, step};
use crate::mirrors::NAMED;
use crate::support::cli::Pullctl;
use crate::support::faulty::{FaultyRegistry, dead_authority};
use crate::support::image::Image;
use crate::support::nginx::Nginx;
use crate::support::registry::Registry;
use crate::support::tunnels::Tunnel;
use crate::support::{Validity, unique};

/// A name server that knows no name at all, for as long as it is held.
struct KnowsNothing(Arc<AtomicBool>);

impl KnowsNothing {
    fn at(address: &str) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while !over.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut question) else { continue };
                // The question again, as an answer that there is no such name (NXDOMAIN).
                question[2] = 0x81;
                question[3] = 0x83;
                let _ = socket.send_to(&question[..length], from);
            }
        });
        Self(is_over)
    }
}

impl Drop for KnowsNothing {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn directory_of(domain: &str, content: &str) -> tempfile::TempDir {
    let hosts = tempfile::tempdir().unwrap();
    fs::create_dir(hosts.path().join(domain)).unwrap();
    fs::write(hosts.path().join(domain).join("hosts.toml"), content).unwrap();
    hosts
}

#[test]
fn a_name_that_the_name_servers_do_not_know_is_told_from_servers_that_are_silent() {
    let registry = Registry::start();
    let repository = unique("unknown/image");
    registry.push(&Image::small(), &repository, "v1");
    let (_, port) = registry.authority().split_once(':').unwrap();
    let domain = format!("{NAMED}:{port}");
    let hosts = directory_of(&domain, &format!("server = \"http://{domain}\"\n"));
    let _server = KnowsNothing::at("127.0.0.78:53");
    let files = tempfile::tempdir().unwrap();
    let [resolv, known] = ["resolv.conf", "hosts"].map(|name| files.path().join(name));
    fs::write(&resolv, "nameserver 127.0.0.78\noptions timeout:5 attempts:1\n").unwrap();
    fs::write(&known, "127.0.0.1 localhost\n").unwrap();
    let reference = format!("{domain}/{repository}:v1");
    let probed = || {
        let pullctl = Pullctl::with_name_service(&resolv, &known);
        probe_by(pullctl, &reference, hosts.path(), &["--stall-timeout", "20s"])
    };
    let document = json_of(&probed().ended_with(5));
    assert_eq!(document["probe"]["verdict"]["code"], "name-not-found", "{document}");
    assert_eq!(step(host(&document, 0), "dns")["details"]["name"], NAMED);
    fs::write(&known, format!("127.0.0.1 localhost {NAMED}\n")).unwrap();
    probed().succeeded();
}

#[test]
fn a_port_with_nothing_behind_it_is_told_from_an_address_that_nothing_answers_at() {
    let silent = "192.0.2.7";
    for (server, code, said) in [
        (dead_authority(), "connection-refused", "refused"),
        (format!("{silent}:5000"), "connection-timeout", "2s"),
    ] {
        let hosts = directory_of(NAMED, &format!("server = \"http://{server}\"\n"));
        let pullctl = Pullctl::alone_with("192.0.2.0/24");
        let flags = ["--stall-timeout", "2s"];
        let outcome = probe_by(pullctl, &format!("{NAMED}/a:1"), hosts.path(), &flags);
        let document = json_of(&outcome.ended_with(5));
        let verdict = &document["probe"]["verdict"];
        assert_eq!(verdict["code"], code, "{document}");
        let tcp = step(host(&document, 0), "tcp")["text"].as_str().unwrap();
        assert!(tcp.contains(&server) && tcp.contains(said), "{tcp}");
        assert!(verdict["fix"].as_str().unwrap().contains(&server), "{verdict}");
    }
}

/// A registry with TLS at `registry.example`, and an image of it.
fn behind_tls() -> (Registry, Nginx, String, String) {
    let registry = Registry::start();
    let repository = unique("behind/image");
    registry.push(&Image::small(), &repository, "v1");
    let nginx = Nginx::start_tls(&Nginx::proxy(registry.authority(), ""), NAMED, Validity::Now);
    let (_, port) = nginx.authority().split_once(':').unwrap();
    let domain = format!("{NAMED}:{port}");
    let reference = format!("{domain}/{repository}:v1");
    (registry, nginx, domain, reference)
}

/// The probe by the proxy at `url`, with the authorities in `content`.
fn by_proxy(url: &str, reference: &str, hosts: &Path) -> crate::support::cli::Outcome {
    let pullctl = Pullctl::new().env("ALL_PROXY", url);
    probe_by(pullctl, reference, hosts, &["--stall-timeout", "10s"])
}

#[track_caller]
fn shows_the_chain(document: &Value) {
    let tls = step(host(document, 0), "tls");
    let names = tls["details"]["chain"][0]["names"].as_array().unwrap();
    assert!(names.contains(&NAMED.into()), "{tls}");
    assert!(tls["details"]["chain"][0]["not_after"].is_string(), "{tls}");
    assert_eq!(tls["details"]["version"], "TLS 1.3", "{tls}");
}

#[test]
fn the_handshake_goes_through_a_socks_proxy_as_well() {
    let (_registry, nginx, domain, reference) = behind_tls();
    let files = tempfile::tempdir().unwrap();
    // The name is known where the proxy is, and nowhere else.
    let known = files.path().join("hosts");
    fs::write(&known, format!("127.0.0.1 localhost {NAMED}\n")).unwrap();
    let proxy = Tunnel::socks(&known, "me", "hunter2");
    let server = format!("server = \"https://{domain}\"\n");
    let hosts = directory_of(&domain, &server);
    let url = format!("socks5://me:hunter2@{}", proxy.authority());
    let outcome = by_proxy(&url, &reference, hosts.path()).ended_with(5);
    let document = json_of(&outcome);
    assert_eq!(host(&document, 0)["code"], "unknown-authority", "{document}");
    let tls = step(host(&document, 0), "tls");
    assert_eq!(tls["details"]["missing_authority"], "CN=test authority");
    shows_the_chain(&document);
    assert!(!outcome.stdout.contains("hunter2"), "{}", outcome.stdout);

    let hosts = directory_of(&domain, &format!("{server}ca = {:?}\n", nginx.ca()));
    let document = json_of(&by_proxy(&url, &reference, hosts.path()).succeeded());
    assert_eq!(document["probe"]["verdict"]["code"], "pull-works", "{document}");
    shows_the_chain(&document);

    let url = format!("socks5://me:wrong@{}", proxy.authority());
    let document = json_of(&by_proxy(&url, &reference, hosts.path()).ended_with(5));
    assert_eq!(host(&document, 0)["code"], "proxy-failed", "{document}");
    let said = host(&document, 0)["problem"].as_str().unwrap();
    assert!(said.contains("refuses the login") && said.contains(proxy.authority()), "{said}");
}

#[test]
fn the_handshake_goes_through_a_proxy_that_speaks_tls_itself() {
    let (_registry, nginx, domain, reference) = behind_tls();
    let inner = FaultyRegistry::start();
    inner.tunnel(&domain, nginx.authority());
    let proxy = Tunnel::tls(&inner.authority());
    let url = format!("https://me:hunter2@{}", proxy.authority());
    let server = format!("server = \"https://{domain}\"\n");
    let pem = |path: &Path| fs::read_to_string(path).unwrap();
    let with = |authorities: &str| {
        let hosts = directory_of(&domain, &format!("{server}ca = \"all.crt\"\n"));
        fs::write(hosts.path().join(&domain).join("all.crt"), authorities).unwrap();
        hosts
    };
    // What is not believed of the proxy is no fault of the host's.
    let hosts = with(&pem(&nginx.ca()));
    let document = json_of(&by_proxy(&url, &reference, hosts.path()).ended_with(5));
    assert_eq!(host(&document, 0)["code"], "proxy-failed", "{document}");
    let said = host(&document, 0)["problem"].as_str().unwrap();
    assert!(said.contains(proxy.authority()) && said.contains("authority"), "{said}");
    // The proxy is believed, and the host is not: its chain is shown.
    let hosts = with(&pem(&proxy.ca()));
    let document = json_of(&by_proxy(&url, &reference, hosts.path()).ended_with(5));
    assert_eq!(host(&document, 0)["code"], "unknown-authority", "{document}");
    shows_the_chain(&document);
    let hosts = with(&format!("{}{}", pem(&nginx.ca()), pem(&proxy.ca())));
    let outcome = by_proxy(&url, &reference, hosts.path()).succeeded();
    let document = json_of(&outcome);
    assert_eq!(document["probe"]["verdict"]["code"], "pull-works", "{document}");
    shows_the_chain(&document);
    assert!(!outcome.stdout.contains("hunter2"), "{}", outcome.stdout);
}
