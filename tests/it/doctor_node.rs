//! `pullctl doctor`: the node's own files and disks: leases, inodes, logins that only the kubelet shows.

use std::fs;
use std::path::Path;
use std::time::Duration;

use pullctl::containerd::{Client, Labels, Lease};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::doctor::{assert_gone, examined, examined_with, finding, no_hosts, node_with_kubelet};
use crate::mirrors::{NAMED, write_hosts};
use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::faulty::{FaultyRegistry, Login};
use crate::support::image::Image;
use crate::support::store::Store;
use crate::support::{block_on, fix};

/// The daemon's own collection takes expired leases along: the one at its start would race with the test.
const NO_COLLECTION_AT_THE_START: &str =
    "[plugins.'io.containerd.gc.v1.scheduler']\nstartup_delay = '1h'\n";

/// Takes a lease that is over at once.
fn take_expired(daemon: &Containerd, id: &str, labels: &Labels) {
    block_on(async {
        let client = Client::connect(&daemon.socket(), KUBERNETES).await.unwrap();
        client.leases().create(id, Duration::ZERO, labels).await.unwrap();
    });
}

/// The labels of a lease of ours whose process is in a container: nothing is known of it.
fn of_a_container() -> (String, Labels) {
    let Lease { id, mut labels } = Lease::ours(["registry.example/seeded:1".to_owned()]);
    let owner = labels["pullctl.io/owner"].clone();
    let mut parts: Vec<&str> = owner.split('/').collect();
    parts[1] = "1";
    labels.insert("pullctl.io/owner".to_owned(), parts.join("/"));
    (id, labels)
}

#[test]
fn leases_that_have_expired_and_are_still_there_are_ended_by_the_fix() {
    for version in Version::ALL {
        let daemon = Containerd::configured(version, NO_COLLECTION_AT_THE_START);
        let hosts = no_hosts();
        assert_gone(&examined(&daemon, hosts.path(), &[]), "expired-leases");
        // One of ours that goes on is none of them, whatever its time.
        let Lease { id: living, labels } = Lease::ours([]);
        take_expired(&daemon, &living, &labels);
        let (seeded, labels) = of_a_container();
        take_expired(&daemon, &seeded, &labels);
        take_expired(&daemon, "another's", &Labels::new());
        let document = examined(&daemon, hosts.path(), &[]);
        let expired = finding(&document, "expired-leases");
        let said = expired["what"].as_str().unwrap();
        assert!(said.starts_with("2 leases have expired and are still there, 1 of them"), "{said}");
        fix::apply(&expired["fix"], &daemon);
        assert_gone(&examined(&daemon, hosts.path(), &[]), "expired-leases");
        let left = Store::new(&daemon, KUBERNETES).leases();
        assert!(!left.contains_key(&seeded) && !left.contains_key("another's"), "{left:?}");
        // None of ours.
        take_expired(&daemon, "another's", &Labels::new());
        let document = examined(&daemon, hosts.path(), &[]);
        let expired = finding(&document, "expired-leases");
        assert!(expired["what"].as_str().unwrap().starts_with("1 leases of other programs"));
        fix::apply(&expired["fix"], &daemon);
        assert_gone(&examined(&daemon, hosts.path(), &[]), "expired-leases");
    }
}

#[test]
fn inodes_are_counted_by_the_thresholds_of_this_nodes_kubelet() {
    // Five hundred inodes in all.
    let daemon = Containerd::with_small_disk(Version::V1_7, "64m,nr_inodes=500");
    let document = |thresholds: &str| {
        let settings = format!("imageGCHighThresholdPercent: 100\nevictionHard:\n{thresholds}");
        examined_with(&daemon, node_with_kubelet(&settings).path())
    };
    let few = document("  imagefs.inodesFree: '499'\n");
    let inodes = finding(&few, "inodes-nearly-used");
    assert!(inodes["what"].as_str().unwrap().contains("of 500 inodes"), "{inodes}");
    assert!(inodes["what"].as_str().unwrap().contains(daemon.root().to_str().unwrap()), "{inodes}");
    assert!(inodes["why"].as_str().unwrap().contains("imagefs.inodesFree"), "{inodes}");
    assert_gone(&document("  imagefs.inodesFree: 1%\n"), "inodes-nearly-used");
    // Who writes one threshold has written them all.
    let only = document("  imagefs.available: 1Mi\n");
    assert_gone(&only, "inodes-nearly-used");
    // The disk of pods is another one, and has thresholds of its own.
    let pods = document("  nodefs.available: 100%\n");
    let full = finding(&pods, "disk-nearly-full");
    assert!(full["why"].as_str().unwrap().contains("nodefs.available"), "{full}");
    assert!(full["what"].as_str().unwrap().contains("var/lib/kubelet"), "{full}");
    // All of them are used up.
    let folder = daemon.root().join("many");
    fs::create_dir(&folder).unwrap();
    (0..500).any(|number| fs::write(folder.join(number.to_string()), "").is_err());
    let used = document("  imagefs.inodesFree: 5%\n");
    let said = finding(&used, "inodes-nearly-used")["what"].as_str().unwrap();
    assert!(said.starts_with("0 of 500 inodes are free"), "{said}");
}

/// A registry that gives nothing without a login, and an image of it on the node.
fn behind_a_login(daemon: &Containerd) -> (FaultyRegistry, String) {
    let registry = FaultyRegistry::start();
    let reference = registry.add_new(&Image::small());
    Pullctl::pull(daemon, &reference).run().succeeded();
    registry.require(Login::Basic { user: "ann".to_owned(), password: "hunter2".to_owned() });
    (registry, reference)
}

#[test]
fn a_registry_that_the_kubelet_asks_with_a_secret_has_a_login_after_the_fix() {
    let daemon = Containerd::private(Version::V1_7);
    let (registry, reference) = behind_a_login(&daemon);
    let root = node_with_kubelet("");
    assert_gone(&examined_with(&daemon, root.path()), "host-without-login");
    // What the kubelet writes down of a pull.
    let (name, _) = reference.rsplit_once(':').unwrap();
    let id = crate::support::cri::Cri::new(&daemon).image_soon(&reference).id;
    let record = json!({
        "kind": "ImagePulledRecord", "apiVersion": "kubelet.config.k8s.io/v1alpha1",
        "imageRef": id, "lastUpdatedTime": "2026-11-01T00:00:00Z",
        "credentialMapping": {name: {"kubernetesSecrets": [
            {"namespace": "team", "name": "pull-secret", "uid": "1", "credentialHash": "x"}
        ]}},
    });
    let pulled = root.path().join("var/lib/kubelet/image_manager/pulled");
    fs::create_dir_all(&pulled).unwrap();
    let file = format!("sha256-{}", hex::encode(Sha256::digest(&id)));
    fs::write(pulled.join(file), record.to_string()).unwrap();
    let document = examined_with(&daemon, root.path());
    let without = finding(&document, "host-without-login");
    let said = without["what"].as_str().unwrap();
    assert!(said.contains("team/pull-secret") && said.contains(&registry.authority()), "{said}");
    let command = format!("pullctl login {}", registry.authority());
    assert_eq!(without["fix"]["commands"][0], command);
    let home = tempfile::tempdir().unwrap();
    let login = ["login", &registry.authority(), "-u", "ann", "--password-stdin", "--plain-http"];
    let by_ann = || Pullctl::new().env("DOCKER_CONFIG", home.path());
    by_ann().args(login).input("hunter2").run().succeeded();
    let hosts = no_hosts();
    let outcome = by_ann()
        .on(&daemon)
        .args(["doctor", "-o", "json", "--hosts-dir"])
        .args([hosts.path()])
        .env("PULLCTL_NODE_ROOT", root.path())
        .run();
    assert_gone(&crate::explain::json_of(&outcome), "host-without-login");
}

/// The severities of the findings with this code about a host.
fn severities(document: &Value, code: &str, host: &str) -> Vec<String> {
    let findings = document["findings"].as_array().unwrap().iter();
    let said = |finding: &&Value| {
        finding["code"] == code && finding["what"].as_str().unwrap().contains(host)
    };
    findings.filter(said).map(|it| it["severity"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn with_probe_a_registry_that_wants_a_login_is_told_where_there_is_none() {
    let daemon = Containerd::private(Version::V1_7);
    let here = FaultyRegistry::start();
    let repository = here.add_new(&Image::small());
    let (_, path) = repository.split_once('/').unwrap();
    let hosts = no_hosts();
    write_hosts(hosts.path(), &format!("server = \"http://{}\"\n", here.authority()));
    let directory = hosts.path().display().to_string();
    let reference = format!("{NAMED}/{path}");
    let pull = ["pull", "--hosts-dir", &directory, &reference];
    Pullctl::new().on(&daemon).args(pull).run().succeeded();
    let other = FaultyRegistry::start();
    write_domain(hosts.path(), "other.example", &other.authority());
    for registry in [&here, &other] {
        registry.require(Login::Basic { user: "ann".to_owned(), password: "hunter2".to_owned() });
    }
    let document = examined(&daemon, hosts.path(), &["--probe", "--stall-timeout", "3s"]);
    assert_eq!(severities(&document, "login-required", &here.authority()), ["warning"]);
    // Of the other one nothing is here: it was asked for what nobody has.
    assert_eq!(severities(&document, "login-required", &other.authority()), ["note"]);
    let fix = finding(&document, "login-required")["fix"]["text"].as_str().unwrap();
    assert!(fix.contains(&format!("pullctl login {}", here.authority())), "{fix}");
}

fn write_domain(hosts: &Path, domain: &str, authority: &str) {
    fs::create_dir_all(hosts.join(domain)).unwrap();
    let content = format!("server = \"http://{authority}\"\n");
    fs::write(hosts.join(domain).join("hosts.toml"), content).unwrap();
}
