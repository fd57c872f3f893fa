//! `pullctl doctor`: the image that the sandboxes of pods start from. Each story ends with a pod.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::doctor::{assert_gone, examined, finding, no_hosts};
use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::cri::Cri;
use crate::support::faulty::{Fault, FaultyRegistry, dead_authority};
use crate::support::fix;
use crate::support::image::Image;
use crate::support::pod::Pod;
use crate::support::store::Store;

/// An image that a sandbox can start from, and stays as long as one is wanted.
fn pause() -> Image {
    Image::busybox(&["/bin/sleep", "100000"])
}

/// Has the CRI run a sandbox, and sees that it is one of `image`.
#[track_caller]
fn assert_pods_start_from(daemon: &Containerd, image: &Image) {
    let pod = Pod::run(daemon);
    let snapshots = Store::new(daemon, KUBERNETES).snapshots();
    assert_eq!(snapshots[pod.id()].parent, image.chain_id(), "{snapshots:#?}");
}

/// Sees that pods start from `image`, which is called `name`, and that nothing is found any more.
#[track_caller]
fn assert_mended(daemon: &Containerd, hosts: &Path, name: &str, image: &Image) {
    Cri::new(daemon).image_soon(name);
    assert_pods_start_from(daemon, image);
    let document = examined(daemon, hosts, &[]);
    for code in ["sandbox-image-missing", "sandbox-image-not-read", "settings-not-read"] {
        assert_gone(&document, code);
    }
}

#[test]
fn a_sandbox_image_that_the_daemon_has_not_read_is_read_after_the_fix() {
    for version in Version::ALL {
        let registry = FaultyRegistry::start();
        let [before, after] = [pause(), pause()];
        let [old, new] = [&before, &after].map(|image| registry.add_new(image));
        let daemon = Containerd::starting_pods_from(version, &old);
        Pullctl::pull(&daemon, &old).args(["--pin", &new]).run().succeeded();
        Cri::new(&daemon).image_soon(&old);
        let hosts = no_hosts();
        // What was written until a moment after its start counts as read by the daemon.
        thread::sleep(Duration::from_millis(400));
        let written = fs::read_to_string(daemon.config_file()).unwrap();
        fs::write(daemon.config_file(), written.replace(&old, &new)).unwrap();
        // Pods know nothing of it.
        assert_pods_start_from(&daemon, &before);
        let document = examined(&daemon, hosts.path(), &[]);
        // From 2.0 on the daemon does not tell which it has read.
        let code = match version {
            Version::V1_6 | Version::V1_7 => "sandbox-image-not-read",
            Version::V2_1 | Version::Newer => "settings-not-read",
        };
        fix::apply(&finding(&document, code)["fix"], &daemon);
        assert_mended(&daemon, hosts.path(), &new, &after);
    }
}

#[test]
fn a_sandbox_image_out_of_reach_is_replaced_by_one_that_is_here() {
    for version in Version::ALL {
        let away = format!("{}/pause:9", dead_authority());
        let daemon = Containerd::starting_pods_from(version, &away);
        let hosts = no_hosts();
        let refused = Pod::try_run(&daemon).err().unwrap_or_default();
        assert!(refused.contains(&away), "{version}: {refused}");
        let missing = examined(&daemon, hosts.path(), &[]);
        let said = finding(&missing, "sandbox-image-missing")["what"].as_str().unwrap();
        assert!(said.contains(&away), "{said}");
        // Another one is here.
        let registry = FaultyRegistry::start();
        let image = pause();
        let here = registry.add(&image, "team/pause", "3");
        Pullctl::pull(&daemon, &here).args(["--pin"]).run().succeeded();
        let probed = examined(&daemon, hosts.path(), &["--probe", "--stall-timeout", "3s"]);
        let unreachable = finding(&probed, "sandbox-image-unreachable");
        assert_eq!(unreachable["severity"], "error");
        fix::apply(&unreachable["fix"], &daemon);
        assert_mended(&daemon, hosts.path(), &here, &image);
    }
}

#[test]
fn a_sandbox_image_out_of_reach_is_brought_by_hand_where_none_is_here() {
    for version in Version::ALL {
        let away = format!("{}/pause:9", dead_authority());
        let daemon = Containerd::starting_pods_from(version, &away);
        let hosts = no_hosts();
        let probed = examined(&daemon, hosts.path(), &["--probe", "--stall-timeout", "3s"]);
        let unreachable = finding(&probed, "sandbox-image-unreachable");
        let commands = unreachable["fix"]["commands"].as_array().unwrap();
        let [copy, load] = &commands[..] else { panic!("two commands: {unreachable}") };
        assert!(copy.as_str().unwrap().contains(&away), "{copy}");
        // As on the machine that reaches the registry: there it answers.
        let image = pause();
        let reachable = FaultyRegistry::start_on(away.split('/').next().unwrap());
        reachable.add(&image, "pause", "9");
        let place = daemon.scratch("carried");
        fix::run_in(&place, copy.as_str().unwrap(), &daemon);
        reachable.always("", Fault::Status(503, Vec::new()));
        fix::run_in(&place, load.as_str().unwrap(), &daemon);
        Cri::new(&daemon).image_soon(&away);
        assert_pods_start_from(&daemon, &image);
        assert_gone(&examined(&daemon, hosts.path(), &[]), "sandbox-image-missing");
    }
}
