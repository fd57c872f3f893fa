//! Names of registries are looked up as the node's owner says: `/etc/hosts`, `nsswitch.conf`, and the
//! servers, search domains and options of `resolv.conf`.

use std::fs;

use tempfile::TempDir;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::dns::NameServer;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::Image;
use crate::support::unique;

/// What Debian has in `nsswitch.conf`.
const FILES_FIRST: &str = "hosts: files dns\n";

/// A machine with its own files in `/etc`, as far as they decide about names.
struct Machine {
    etc: TempDir,
}

impl Machine {
    fn new(resolv: &str, hosts: &str, nsswitch: &str) -> Self {
        let etc = tempfile::tempdir().unwrap();
        for (name, text) in [("resolv.conf", resolv), ("hosts", hosts), ("nsswitch.conf", nsswitch)]
        {
            fs::write(etc.path().join(name), text).unwrap();
        }
        Self { etc }
    }

    /// Pulls what `registry` serves, by the name `host` and the registry's port.
    fn pull(&self, registry: &FaultyRegistry, host: &str) -> Outcome {
        let repository = unique("named/image");
        registry.add(&Image::small(), &repository, "v1");
        let reference = format!("{}/{repository}:v1", at(host, registry));
        let folder = tempfile::tempdir().unwrap();
        let layout = format!("oci:{}", folder.path().join("layout").display());
        let pullctl = Pullctl::with_etc(self.etc.path());
        let command = ["pull", "--plain-http", "--ignore-containerd-config", "--retries", "0"];
        pullctl.args(command).args(["--to", &layout, &reference]).run()
    }
}

/// `host:port` with the registry's port.
fn at(host: &str, registry: &FaultyRegistry) -> String {
    let authority = registry.authority();
    let (_, port) = authority.rsplit_once(':').unwrap();
    format!("{host}:{port}")
}

/// Whether `registry` was asked, and never by another name than `host`.
fn was_asked_as(registry: &FaultyRegistry, host: &str) -> bool {
    let requests = registry.requests();
    let host = at(host, registry);
    assert!(requests.iter().all(|request| request.header("host") == Some(&host)), "{requests:?}");
    !requests.is_empty()
}

#[test]
fn a_short_name_is_completed_by_the_search_domains_in_their_order() {
    let registry = FaultyRegistry::start();
    let dns = NameServer::knowing(&[("registry.nodes.test", "127.0.0.1")]);
    let resolv = format!("nameserver {}\nsearch nowhere.test nodes.test\n", dns.address());
    let machine = Machine::new(&resolv, "127.0.0.1 localhost\n", FILES_FIRST);
    machine.pull(&registry, "registry").succeeded();
    assert!(was_asked_as(&registry, "registry"));
    assert_eq!(dns.asked(), ["registry.nowhere.test", "registry.nodes.test"]);
}

#[test]
fn ndots_says_whether_a_name_with_a_dot_is_completed_before_it_is_asked_for_as_it_is() {
    for (ndots, asked) in [(1, "registry.shop.test"), (3, "registry.shop.test.nodes.test")] {
        let registry = FaultyRegistry::start();
        let both = ["registry.shop.test", "registry.shop.test.nodes.test"];
        let dns = NameServer::knowing(&both.map(|name| (name, "127.0.0.1")));
        let resolv =
            format!("nameserver {}\nsearch nodes.test\noptions ndots:{ndots}\n", dns.address());
        let machine = Machine::new(&resolv, "127.0.0.1 localhost\n", FILES_FIRST);
        machine.pull(&registry, "registry.shop.test").succeeded();
        assert!(was_asked_as(&registry, "registry.shop.test"));
        assert_eq!(dns.asked(), [asked], "ndots:{ndots}");
    }
}

#[test]
fn nsswitch_says_which_of_the_hosts_file_and_the_name_servers_is_right() {
    for (nsswitch, right, is_dns_asked) in
        [(FILES_FIRST, "127.0.0.1", false), ("hosts: dns files\n", "127.0.0.2", true)]
    {
        let by_files = FaultyRegistry::start();
        let by_dns = FaultyRegistry::start_on(&at("127.0.0.2", &by_files));
        let dns = NameServer::knowing(&[("both.test", "127.0.0.2")]);
        let resolv = format!("nameserver {}\n", dns.address());
        let machine = Machine::new(&resolv, "127.0.0.1 localhost both.test\n", nsswitch);
        let [found, other] =
            if right == "127.0.0.1" { [&by_files, &by_dns] } else { [&by_dns, &by_files] };
        machine.pull(found, "both.test").succeeded();
        assert!(was_asked_as(found, "both.test"), "{nsswitch}");
        assert!(!was_asked_as(other, "both.test"), "{nsswitch}");
        assert_eq!(!dns.asked().is_empty(), is_dns_asked, "{nsswitch}");
    }
}

#[test]
fn name_servers_are_not_asked_where_nsswitch_leaves_them_out() {
    let registry = FaultyRegistry::start();
    let dns = NameServer::knowing(&[("only.dns.test", "127.0.0.1")]);
    let resolv = format!("nameserver {}\n", dns.address());
    let machine = Machine::new(&resolv, "127.0.0.1 localhost\n", "hosts: files\n");
    machine.pull(&registry, "only.dns.test").ended_with(5).says(&at("only.dns.test", &registry));
    assert!(registry.requests().is_empty());
    assert!(dns.asked().is_empty());
    // The same machine, once its owner lets it.
    let machine = Machine::new(&resolv, "127.0.0.1 localhost\n", FILES_FIRST);
    machine.pull(&registry, "only.dns.test").succeeded();
}

#[test]
fn a_name_server_that_is_gone_is_passed_over() {
    let registry = FaultyRegistry::start();
    let dns = NameServer::knowing(&[("registry.nodes.test", "127.0.0.1")]);
    let gone = "127.53.0.0";
    let resolv =
        format!("nameserver {gone}\nnameserver {}\noptions timeout:1 attempts:1\n", dns.address());
    let machine = Machine::new(&resolv, "127.0.0.1 localhost\n", FILES_FIRST);
    machine.pull(&registry, "registry.nodes.test").succeeded();
    assert!(dns.asked().contains(&"registry.nodes.test".to_owned()));
}
