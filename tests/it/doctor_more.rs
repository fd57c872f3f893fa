//! `pullctl doctor`: what pulls have left, verifiers, and the registries of the node over the network.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::doctor::{assert_gone, examined, finding, no_hosts};
use crate::mirrors::{NAMED, pull, write_hosts};
use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::faulty::{Fault, FaultyRegistry, dead_authority};
use crate::support::image::{Image, Layer, Recipe, noise};
use crate::support::nginx::Nginx;
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::{fix, unique};

#[test]
fn what_a_pull_that_failed_has_left_is_told_and_ended_by_the_fix() {
    for version in Version::ALL {
        let daemon = Containerd::private(version);
        let registry = FaultyRegistry::start();
        let layers = [300_000, 3 << 20].map(|size| Layer::noise(&unique("layer"), size));
        let image = Recipe::new(layers.to_vec()).build();
        let reference = registry.add_new(&image);
        let last = &image.layers()[1].digest;
        registry.always(&format!("/blobs/{last}"), Fault::Status(404, Vec::new()));
        let failed = Pullctl::pull(&daemon, &reference).args(["--retries", "0"]).run();
        assert_ne!(failed.code, Some(0));
        let hosts = no_hosts();
        let document = examined(&daemon, hosts.path(), &[]);
        let leftovers = finding(&document, "leftovers");
        assert!(leftovers["what"].as_str().unwrap().contains(&reference), "{leftovers}");
        fix::apply(&leftovers["fix"], &daemon);
        assert_gone(&examined(&daemon, hosts.path(), &[]), "leftovers");
        assert!(Store::new(&daemon, KUBERNETES).ingests().is_empty(), "{version}");
        // In another namespace it is another command.
        let elsewhere = ["-n", "elsewhere", "--retries", "0"];
        assert_ne!(Pullctl::pull(&daemon, &reference).args(elsewhere).run().code, Some(0));
        let leftovers = || examined(&daemon, hosts.path(), &["-n", "elsewhere"]);
        let document = leftovers();
        fix::apply(&finding(&document, "leftovers")["fix"], &daemon);
        assert_gone(&leftovers(), "leftovers");
    }
}

/// Begins a blob with the daemon's own client, which is killed when so many bytes of it are there.
fn break_off(daemon: &Containerd, reference: &str, bytes: &[u8]) {
    let mut ingest = Command::new(daemon.version().program("ctr"))
        .arg("--address")
        .arg(daemon.socket())
        .args(["--namespace", KUBERNETES, "content", "ingest", reference])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = ingest.stdin.take().unwrap();
    input.write_all(bytes).unwrap();
    let store = Store::new(daemon, KUBERNETES);
    daemon.wait_until("the first bytes", || {
        store.ingests().get(reference).filter(|it| **it > 0).copied()
    });
    ingest.kill().unwrap();
    ingest.wait().unwrap();
    drop(input);
}

/// Has the last byte of all unfinished blobs have come some hours ago. The daemon takes the later one of
/// what it notes beside them and of their files' times.
fn age_ingests(daemon: &Containerd, hours: i64) {
    let ingests = daemon.root().join("io.containerd.content.v1.content/ingest");
    let then = Timestamp::now() - SignedDuration::from_hours(hours);
    for ingest in fs::read_dir(ingests).unwrap() {
        let place = ingest.unwrap().path();
        fs::write(place.join("updatedat"), then.to_string()).unwrap();
        let data = fs::File::options().write(true).open(place.join("data")).unwrap();
        data.set_modified(then.into()).unwrap();
    }
}

#[test]
fn blobs_that_a_killed_client_never_completed_are_told_until_it_goes_on_with_them() {
    for version in Version::ALL {
        let daemon = Containerd::private(version);
        let hosts = no_hosts();
        let blob = noise(&unique("broken-off"), 5 << 20);
        let reference = unique("layer-broken-off");
        break_off(&daemon, &reference, &blob[..3 << 20]);
        // It may be that it goes on yet.
        assert_gone(&examined(&daemon, hosts.path(), &[]), "unfinished-blobs");
        age_ingests(&daemon, 2);
        let document = examined(&daemon, hosts.path(), &[]);
        let unfinished = finding(&document, "unfinished-blobs");
        let said = unfinished["what"].as_str().unwrap();
        assert!(said.starts_with("1 blobs were never completed, and hold "), "{version}: {said}");
        let fix = unfinished["fix"]["text"].as_str().unwrap();
        assert!(fix.contains("with the client that began it"), "{version}: {fix}");
        assert!(fix.ends_with(&format!("The first is {reference}")), "{version}: {fix}");
        // What pullctl ends is its own alone.
        Pullctl::new().on(&daemon).args(["doctor", "--clean"]).run();
        assert!(Store::new(&daemon, KUBERNETES).ingests().contains_key(&reference), "{version}");
        complete(&daemon, &reference, &blob);
        assert_gone(&examined(&daemon, hosts.path(), &[]), "unfinished-blobs");
        assert!(Store::new(&daemon, KUBERNETES).ingests().is_empty(), "{version}");
    }
}

/// The same client once more, to the end.
fn complete(daemon: &Containerd, reference: &str, bytes: &[u8]) {
    let whole = daemon.scratch("whole").join("blob");
    fs::write(&whole, bytes).unwrap();
    let done = Command::new(daemon.version().program("ctr"))
        .arg("--address")
        .arg(daemon.socket())
        .args(["--namespace", KUBERNETES, "content", "ingest", reference])
        .stdin(fs::File::open(&whole).unwrap())
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn snapshots_that_nobody_fills_any_more_and_directories_of_none_are_told() {
    for version in Version::ALL {
        let daemon = Containerd::private(version);
        daemon.ctr(KUBERNETES, &["snapshots", "prepare", "extract-1-abcd sha256:0"]);
        let hosts = no_hosts();
        let document = examined(&daemon, hosts.path(), &[]);
        assert_gone(&document, "unknown-snapshot-directories");
        let snapshots = daemon.root().join("io.containerd.snapshotter.v1.overlayfs/snapshots");
        fs::create_dir_all(snapshots.join("4711")).unwrap();
        let document = examined(&daemon, hosts.path(), &[]);
        let said = finding(&document, "unknown-snapshot-directories")["what"].as_str().unwrap();
        assert!(said.starts_with("1 directories in "), "{version}: {said}");
        // With it the daemon takes away what is not its own as well.
        fix::apply(&finding(&document, "unfinished-snapshots")["fix"], &daemon);
        assert_gone(&examined(&daemon, hosts.path(), &[]), "unfinished-snapshots");
    }
}

#[test]
fn a_verifier_that_can_not_be_run_is_an_error_where_it_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str, mode: u32| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let settings = format!(
        "[plugins.'io.containerd.image-verifier.v1.bindir']\nbin_dir = '{}'\n",
        folder.path().display()
    );
    let daemon = Containerd::configured(Version::V2_1, &settings);
    let hosts = no_hosts();
    write("allows", "#!/bin/sh\nexit 0\n", 0o755);
    write("refuses", "#!/bin/sh\nexit 1\n", 0o755);
    assert_gone(&examined(&daemon, hosts.path(), &[]), "verifier-broken");

    let locked = write("locked", "#!/bin/sh\nexit 0\n", 0o644);
    let document = examined(&daemon, hosts.path(), &[]);
    let broken = finding(&document, "verifier-broken");
    assert!(broken["what"].as_str().unwrap().contains(locked.to_str().unwrap()), "{broken}");
    fix::apply(&broken["fix"], &daemon);
    assert_gone(&examined(&daemon, hosts.path(), &[]), "verifier-broken");

    write("stale", "#!/no/such/interpreter\n", 0o755);
    let document = examined(&daemon, hosts.path(), &[]);
    let broken = finding(&document, "verifier-broken");
    assert!(broken["what"].as_str().unwrap().contains("stale can't be run"), "{broken}");
}

#[test]
fn a_setting_with_which_the_cri_will_not_start_is_told_before_it_does_not() {
    for version in Version::ALL {
        let daemon = Containerd::private(version);
        let hosts = no_hosts();
        let plugin = version.cri_plugin();
        let old = fs::read_to_string(daemon.config_file()).unwrap();
        let mirrors = format!(
            "[plugins.'{plugin}'.registry]\nconfig_path = '{}'\n\
             [plugins.'{plugin}'.registry.mirrors.'{NAMED}']\nendpoint = ['http://mirror.example']\n",
            hosts.path().display()
        );
        fs::write(daemon.config_file(), old + &mirrors).unwrap();
        let document = examined(&daemon, hosts.path(), &[]);
        assert_eq!(finding(&document, "cri-will-not-start")["severity"], "error", "{version}");
    }
}

#[test]
fn a_file_that_can_not_be_obeyed_is_told_beside_all_the_rest() {
    for version in Version::ALL {
        let daemon = Containerd::private(version);
        let hosts = no_hosts();
        let good = fs::read_to_string(daemon.config_file()).unwrap();
        fs::write(daemon.config_file(), format!("{good}[plugins\n")).unwrap();
        write_domain(hosts.path(), "a.example", "server = \"ftp://a.example\"\n");
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("config.json"), "{\n").unwrap();
        let outcome = Pullctl::new()
            .on(&daemon)
            .args(["doctor", "-o", "json", "--hosts-dir"])
            .args([hosts.path()])
            .env("DOCKER_CONFIG", home.path())
            .run()
            .ended_with(1);
        let document = crate::explain::json_of(&outcome);
        let broken = |file: &str| {
            let findings = document["findings"].as_array().unwrap().iter();
            let mut of_file = findings.filter(|finding| {
                finding["code"] == "settings-broken"
                    && finding["file"].as_str().unwrap().ends_with(file)
            });
            let found = of_file.next().unwrap_or_else(|| panic!("{version} {file}: {document}"));
            assert_eq!(of_file.next(), None, "{version} {file}");
            found
        };
        let line = good.lines().count() + 1;
        assert_eq!(broken("config.toml")["line"], line, "{version}: {document}");
        assert!(broken("config.toml")["why"].as_str().unwrap().contains("does not start"));
        assert!(broken("config.json")["why"].as_str().unwrap().contains("pulls nothing"));
        // What is not of these files is looked at all the same.
        finding(&document, "hosts-file-broken");
        finding(&document, "sandbox-image-missing");
        assert!(document["containerd"].is_string(), "{document}");
    }
}

#[test]
fn a_file_of_hosts_by_another_name_counts_after_the_fix() {
    let registry = Registry::start();
    let repository = unique("misnamed/image");
    registry.push(&Image::small(), &repository, "v1");
    let hosts = no_hosts();
    fs::create_dir(hosts.path().join(NAMED)).unwrap();
    let content = format!("server = \"http://{}\"\n", registry.authority());
    fs::write(hosts.path().join(NAMED).join("host.toml"), content).unwrap();
    let daemon = Containerd::shared(Version::V2_1);
    let document = examined(daemon, hosts.path(), &[]);
    let missing = finding(&document, "hosts-file-missing");
    assert_eq!(missing["severity"], "warning", "{missing}");
    fix::apply(&missing["fix"], daemon);
    let directory = hosts.path().display().to_string();
    let flags = ["--ignore-containerd-config", "--hosts-dir", &directory];
    pull(&format!("{NAMED}/{repository}:v1"), &flags).succeeded();
    assert_gone(&examined(daemon, hosts.path(), &[]), "hosts-file-missing");
}

#[test]
fn a_config_path_that_leads_nowhere_is_told_with_its_line() {
    for version in Version::ALL {
        let plugin = version.cri_plugin();
        let folder = no_hosts();
        let place = folder.path().join("certs.d");
        let settings =
            format!("[plugins.'{plugin}'.registry]\nconfig_path = '{}'\n", place.display());
        let daemon = Containerd::configured(version, &settings);
        let examined = || {
            let outcome = Pullctl::new().on(&daemon).args(["doctor", "-o", "json"]).run();
            crate::explain::json_of(&outcome)
        };
        let document = examined();
        let missing = finding(&document, "config-path-missing");
        assert!(missing["what"].as_str().unwrap().contains(place.to_str().unwrap()), "{missing}");
        let lines = fs::read_to_string(daemon.config_file()).unwrap().lines().count();
        assert_eq!(missing["line"], lines, "{version}: {missing}");
        fs::create_dir(&place).unwrap();
        assert_gone(&examined(), "config-path-missing");
    }
}

#[test]
fn a_login_that_can_not_be_decoded_is_told() {
    let home = tempfile::tempdir().unwrap();
    let content = format!("{{\"auths\": {{\"{NAMED}\": {{\"auth\": \"no base64!\"}}}}}}");
    fs::write(home.path().join("config.json"), content).unwrap();
    let hosts = no_hosts();
    let outcome = Pullctl::new()
        .on(Containerd::shared(Version::V1_7))
        .args(["doctor", "-o", "json", "--hosts-dir"])
        .args([hosts.path()])
        .env("DOCKER_CONFIG", home.path())
        .run();
    let document = crate::explain::json_of(&outcome);
    let unusable = finding(&document, "unusable-login");
    assert!(unusable["what"].as_str().unwrap().contains(NAMED), "{unusable}");
}

/// The findings about this host.
fn about<'a>(document: &'a Value, host: &str) -> Vec<(&'a str, &'a str)> {
    let findings = document["findings"].as_array().unwrap();
    let text = |finding: &'a Value, name: &str| finding[name].as_str().unwrap();
    let said = findings.iter().filter(|finding| finding["what"].as_str().unwrap().contains(host));
    said.map(|finding| (text(finding, "code"), text(finding, "severity"))).collect()
}

fn write_domain(hosts: &Path, domain: &str, content: &str) {
    fs::create_dir_all(hosts.join(domain)).unwrap();
    fs::write(hosts.join(domain).join("hosts.toml"), content).unwrap();
}

#[test]
fn with_probe_every_registry_that_the_node_is_configured_for_is_asked() {
    let registry = Registry::start();
    let page = Nginx::start("location / { default_type text/html; return 200 '<html></html>'; }");
    let [dead, gone] = [dead_authority(), dead_authority()];
    let hosts = no_hosts();
    let good = registry.authority();
    // A mirror that is down before a registry that works, and registries that do not.
    write_hosts(hosts.path(), &format!("server = \"http://{good}\"\n[host.\"http://{dead}\"]\n"));
    write_domain(hosts.path(), "down.example", &format!("server = \"http://{gone}\"\n"));
    let portal = page.authority();
    write_domain(hosts.path(), "portal.example", &format!("server = \"http://{portal}\"\n"));
    let daemon = Containerd::private(Version::V1_7);
    // Of the first the node has an image.
    let repository = unique("probed/image");
    registry.push(&Image::small(), &repository, "v1");
    let reference = format!("{NAMED}/{repository}:v1");
    let directory = hosts.path().display().to_string();
    let pull = ["pull", "--retries", "0", "--hosts-dir", &directory, &reference];
    Pullctl::new().on(&daemon).args(pull).run().succeeded();

    let without = examined(&daemon, hosts.path(), &[]);
    for host in [good, &dead, &gone, portal] {
        assert_eq!(about(&without, host), [], "{without}");
    }
    // The sandbox image's registry is out of reach here, and may take as long as that takes.
    let document = examined(&daemon, hosts.path(), &["--probe", "--stall-timeout", "3s"]);
    assert_eq!(about(&document, &dead), [("connection-refused", "warning")], "{document}");
    assert_eq!(about(&document, &gone), [("connection-refused", "error")], "{document}");
    assert_eq!(about(&document, portal), [("web-page", "error")], "{document}");
    assert_eq!(about(&document, good), [], "{document}");
}
