//! Daemons that are missing, refuse, die or have no room. Each ends in its own exit code and says
//! what to do.

use std::process::Command;

use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::faulty::{Fault, FaultyRegistry, Gate};
use crate::support::image::{Image, Layer, Packing, Recipe};
use crate::support::store::Store;
use crate::support::tree::Tree;
use crate::support::{each_version, unique};

#[test]
fn without_a_daemon_the_error_names_the_socket_and_the_way_out() {
    let registry = FaultyRegistry::start();
    let reference = registry.add_new(&Image::small());
    let outcome = Pullctl::new()
        .args(["-a", "/nowhere/containerd.sock", "pull", &reference])
        .run()
        .ended_with(9)
        .says("/nowhere/containerd.sock");
    assert!(outcome.stderr.contains("--to oci:"), "{}", outcome.stderr);
    assert_eq!(registry.requests(), [], "nothing is asked of a registry in vain");
}

#[test]
fn a_socket_that_nobody_listens_to_is_told_from_a_missing_one() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("containerd.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let outcome = Pullctl::new().args(["-a", socket.to_str().unwrap(), "images"]).run();
    outcome.ended_with(9).says("refused").says(socket.to_str().unwrap());
}

each_version! {
    fn a_socket_without_permission_asks_for_root(daemon) {
        let folder = Pullctl::copy_for_everybody(daemon);
        let program = folder.path().join("pullctl");
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program)
            .arg("-a")
            .arg(daemon.socket())
            .arg("images")
            .env_clear()
            .env("HOME", folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(9), "{said}");
        assert!(said.contains("denied") && said.contains("root"), "{said}");
    }
}

/// A pull whose layer stalls while the daemon is killed.
fn kill_in_mid_pull(version: Version) {
    let daemon = Containerd::private(version);
    let image = Recipe::new(vec![Layer::noise(&unique("layer"), 4_000_000)]).build();
    let layer = image.layers()[0].digest.to_string();
    let registry = FaultyRegistry::start();
    let reference = registry.add_new(&image);
    let gate = Gate::new();
    registry.script(&layer, vec![None, None, Some(Fault::Stall(1000, gate.clone()))]);
    let pull = || Pullctl::pull(&daemon, &reference).args(["--chunk-size", "1MiB"]);

    let running = pull().spawn();
    gate.wait_until_reached();
    daemon.kill();
    gate.open();
    running.wait().ended_with(9).says("containerd");

    daemon.restart();
    assert!(!Store::new(&daemon, KUBERNETES).images().contains_key(&reference));
    pull().run().succeeded();
    let store = Store::new(&daemon, KUBERNETES);
    assert!(store.images().contains_key(&reference));
    assert!(store.snapshots()[&image.chain_id()].committed);
}

#[test]
fn a_daemon_killed_in_mid_pull_ends_it_and_the_next_one_succeeds() {
    for version in Version::ALL {
        kill_in_mid_pull(version);
    }
}

/// Pulls `layer`, by the command that `pull` makes for a reference, into a daemon whose disk is too
/// small for it.
fn fill_the_disk(version: Version, layer: Layer, pull: fn(&Containerd, &str) -> Pullctl) {
    let daemon = Containerd::with_small_disk(version, "12m");
    let image = Recipe::new(vec![layer]).build();
    let registry = FaultyRegistry::start();
    let reference = registry.add_new(&image);
    let outcome = pull(&daemon, &reference).args(["--no-space-check"]).run();
    assert_eq!(outcome.code, Some(10), "containerd {version}: {}", outcome.stderr);
    assert!(outcome.stderr.contains("hint: "), "containerd {version}: {}", outcome.stderr);
    let images = Store::new(&daemon, KUBERNETES).images();
    assert!(images.is_empty(), "containerd {version}: {images:?}");
    // The daemon may lack the room even to forget an unfinished one, which goes with the lease.
    let snapshots = Store::new(&daemon, KUBERNETES).snapshots();
    let is_unfinished = snapshots.values().all(|snapshot| !snapshot.committed);
    assert!(is_unfinished, "containerd {version}: {snapshots:?}");
}

/// A layer whose blob is large.
fn large_blob() -> Layer {
    Layer::noise(&unique("large"), 20_000_000)
}

/// A layer whose blob is small and whose files are large.
fn large_files() -> Layer {
    let tar = Tree::new().file(&unique("zeros"), &vec![0; 20_000_000]).into_tar();
    Layer::pack(&tar, Packing::Gzip)
}

#[test]
fn a_disk_too_small_for_a_layers_blob_is_named_as_the_cause() {
    for version in Version::ALL {
        fill_the_disk(version, large_blob(), Pullctl::pull);
    }
}

#[test]
fn a_disk_too_small_for_a_layers_files_is_named_as_the_cause() {
    for version in Version::ALL {
        fill_the_disk(version, large_files(), Pullctl::pull);
    }
}

#[test]
fn a_disk_too_small_for_a_blob_that_containerd_writes_is_named_as_the_cause() {
    for version in Version::ALL {
        // Whoever can't see the daemon's files sends it the bytes.
        fill_the_disk(version, large_blob(), |daemon, reference| {
            let arguments = ["pull", "--plain-http", "--no-unpack", reference];
            Pullctl::blind_to(&daemon.root()).on(daemon).args(arguments)
        });
    }
}

#[test]
fn a_disk_too_small_for_files_that_containerd_unpacks_is_named_as_the_cause() {
    for version in Version::ALL {
        fill_the_disk(version, large_files(), |daemon, reference| {
            Pullctl::pull(daemon, reference).args(["--unpacker", "daemon"])
        });
    }
}
