//! `pullctl doctor`: the daemon, what it runs and what it unpacks into; findings that need a daemon of
//! their own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::doctor::{
    assert_gone, examined, examined_with, finding, no_hosts, node_with_kubelet, sandbox_image,
};
use crate::explain::json_of;
use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, Version};
use crate::support::cri::Cri;
use crate::support::faulty::FaultyRegistry;
use crate::support::fix;
use crate::support::image::Image;

#[test]
fn a_second_daemon_at_a_usual_socket_is_told() {
    let [daemon, other] = [Version::V1_7, Version::V2_1].map(Containerd::shared);
    let hosts = no_hosts();
    let outcome = Pullctl::beside_k0s(&other.socket())
        .on(daemon)
        .args(["doctor", "-o", "json", "--hosts-dir"])
        .args([hosts.path()])
        .run();
    let document = json_of(&outcome);
    let several = finding(&document, "several-daemons");
    let what = several["what"].as_str().unwrap();
    assert!(what.contains("at /run/k0s/containerd.sock"), "{what}");
    assert!(what.contains(&daemon.socket().display().to_string()), "{what}");
    assert!(several["fix"]["text"].as_str().unwrap().contains("-a /run/k0s/containerd.sock"));
}

#[test]
fn a_daemon_that_finds_no_runc_is_told() {
    let daemon = Containerd::without_runc(Version::V1_7);
    let hosts = no_hosts();
    let document = examined(&daemon, hosts.path(), &[]);
    assert_eq!(finding(&document, "no-runc")["severity"], "error");
    assert_eq!(document["runc"], serde_json::Value::Null);
}

/// Settings by which the CRI unpacks into this snapshotter.
fn unpacking_into(version: Version, snapshotter: &str) -> String {
    let table = match version {
        Version::V1_6 | Version::V1_7 => "io.containerd.grpc.v1.cri'.containerd",
        Version::V2_1 | Version::Newer => "io.containerd.cri.v1.images'",
    };
    format!("[plugins.'{table}]\nsnapshotter = '{snapshotter}'\n")
}

#[test]
fn a_snapshotter_that_is_not_there_or_can_not_work_here_is_told() {
    for version in Version::ALL {
        let hosts = no_hosts();
        let settings = unpacking_into(version, "no-such-snapshotter");
        let daemon = Containerd::with_failing_cri(version, &settings);
        let document = examined(&daemon, hosts.path(), &[]);
        let missing = finding(&document, "snapshotter-missing");
        assert!(missing["what"].as_str().unwrap().contains("no-such-snapshotter"), "{missing}");
        let fix = missing["fix"]["text"].as_str().unwrap();
        assert!(fix.contains("overlayfs"), "{version}: {fix}");

        // It wants a file system of its own kind, which this one is not.
        let daemon = Containerd::with_failing_cri(version, &unpacking_into(version, "btrfs"));
        let document = examined(&daemon, hosts.path(), &[]);
        let failed = finding(&document, "snapshotter-failed");
        let what = failed["what"].as_str().unwrap();
        assert!(what.contains("btrfs did not start"), "{version}: {what}");
    }
}

#[test]
fn a_snapshotter_outside_of_the_daemon_that_does_not_answer_is_told() {
    for version in Version::ALL {
        let hosts = no_hosts();
        let nowhere = hosts.path().join("nobody.sock");
        let proxy = format!(
            "[proxy_plugins.stargz]\ntype = 'snapshot'\naddress = '{}'\n{}",
            nowhere.display(),
            unpacking_into(version, "stargz")
        );
        let daemon = Containerd::configured(version, &proxy);
        let document = examined(&daemon, hosts.path(), &[]);
        let failed = finding(&document, "snapshotter-failed");
        let what = failed["what"].as_str().unwrap();
        assert!(what.contains("stargz does not answer at"), "{version}: {what}");
    }
}

#[test]
fn verifiers_beyond_the_limit_and_one_that_never_decides_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let settings = format!(
        "[plugins.'io.containerd.image-verifier.v1.bindir']\nbin_dir = '{}'\nmax_verifiers = 1\n",
        folder.path().display()
    );
    let daemon = Containerd::configured(Version::V2_1, &settings);
    for (name, content) in [("1-waits", "#!/bin/sh\nexec sleep 600\n"), ("2", "#!/bin/sh\n")] {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let hosts = no_hosts();
    let document = examined(&daemon, hosts.path(), &[]);
    let said = finding(&document, "verifiers-left-out")["what"].as_str().unwrap();
    assert!(said.contains("has 2 verifiers, and 1 are run"), "{said}");
    let said = finding(&document, "verifier-slow")["what"].as_str().unwrap();
    assert!(said.contains("1-waits has not decided within"), "{said}");
}

#[test]
fn a_sandbox_image_without_a_pin_is_pinned_by_the_fix_where_pins_count() {
    for version in Version::ALL {
        let daemon = Containerd::private(version);
        let hosts = no_hosts();
        let reference = FaultyRegistry::start().add_new(&Image::small());
        Pullctl::pull(&daemon, &reference).run().succeeded();
        let tag = ["tag", &reference, sandbox_image(&daemon)];
        Pullctl::new().on(&daemon).args(tag).run().succeeded();
        Cri::new(&daemon).image_soon(sandbox_image(&daemon));
        let document = examined(&daemon, hosts.path(), &[]);
        // 1.6 knows no pins, and from 2.0 on the CRI pins it by itself.
        if version != Version::V1_7 {
            assert_gone(&document, "sandbox-image-not-pinned");
            continue;
        }
        fix::apply(&finding(&document, "sandbox-image-not-pinned")["fix"], &daemon);
        assert_gone(&examined(&daemon, hosts.path(), &[]), "sandbox-image-not-pinned");
    }
}

#[test]
fn a_disk_from_which_the_kubelet_will_remove_images_is_told() {
    let daemon = Containerd::with_small_disk(Version::V1_7, "64m");
    fs::write(daemon.root().join("ballast"), vec![1; 8 << 20]).unwrap();
    let document = |percent: u8| {
        let settings = format!("imageGCHighThresholdPercent: {percent}\nevictionHard: {{a: 1%}}\n");
        examined_with(&daemon, node_with_kubelet(&settings).path())
    };
    let filling = document(10);
    let filling = finding(&filling, "disk-filling");
    assert!(filling["why"].as_str().unwrap().starts_with("from 10 % on"), "{filling}");
    assert_gone(&document(90), "disk-filling");
}
