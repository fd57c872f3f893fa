//! Which daemon is talked to, and what is done without its CRI.

use std::path::Path;

use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::cri::Cri;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::Image;
use crate::support::store::Store;
use crate::support::{each_version, unique};

/// Where containerd's packages, k3s and RKE2, MicroK8s, and k0s have the socket, in the order of
/// preference.
const USUAL_PLACES: [&str; 4] = [
    "/run/containerd/containerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/var/snap/microk8s/common/run/containerd.sock",
    "/run/k0s/containerd.sock",
];

each_version! {
    fn the_first_usual_socket_that_exists_is_taken(daemon) {
        let namespace = unique("usual");
        let registry = FaultyRegistry::start();
        let image = Image::small();
        let reference = registry.add_new(&image);
        Pullctl::pull(daemon, &reference).args(["-n", &namespace]).run().succeeded();
        let socket = daemon.socket();
        // Exists, and answers nobody.
        let dead = tempfile::NamedTempFile::new().unwrap();
        for (position, place) in USUAL_PLACES.iter().enumerate() {
            let later = USUAL_PLACES.iter().skip(position + 1).map(|&place| (place, dead.path()));
            let sockets: Vec<(&str, &Path)> =
                std::iter::once((*place, socket.as_path())).chain(later).collect();
            let list = Pullctl::with_sockets_at(&sockets).args(["-n", &namespace, "images", "-q"]);
            let listed = list.run().succeeded().stdout;
            assert_eq!(listed.trim(), image.config_digest(), "{place}");
        }
    }

    fn an_address_that_is_given_beats_the_variable_and_the_usual_sockets(daemon) {
        let reference = FaultyRegistry::start().add_new(&Image::small());
        let socket = daemon.socket();
        let given = || Pullctl::with_sockets_at(&[(USUAL_PLACES[0], socket.as_path())]);
        let nowhere = "/nowhere/containerd.sock";
        let images = given().on(daemon).args(["images"]).env("CONTAINERD_ADDRESS", nowhere);
        images.run().succeeded();
        let images = given().args(["images", "-a", nowhere]).env("CONTAINERD_ADDRESS", &socket);
        images.run().ended_with(9).says(nowhere);
        let pull = given().args(["pull", &reference]).env("CONTAINERD_ADDRESS", nowhere);
        pull.run().ended_with(9).says(nowhere);
    }
}

#[test]
fn without_any_usual_socket_all_are_named_and_the_way_without_one() {
    let outcome = Pullctl::with_sockets_at(&[]).args(["pull", "busybox"]).run().ended_with(9);
    for place in USUAL_PLACES {
        assert!(outcome.stderr.contains(place), "{place} in: {}", outcome.stderr);
    }
    outcome.says("--to oci:");
}

/// As docker's packages configure containerd.
#[test]
fn a_daemon_without_the_cri_gets_overlayfs_snapshots() {
    for version in Version::ALL {
        let daemon = &Containerd::without_cri(version);
        assert!(!Cri::new(daemon).runtime_is_ready(), "{version}");
        let registry = FaultyRegistry::start();
        let image = Image::small();
        let reference = registry.add_new(&image);
        Pullctl::pull(daemon, &reference).run().succeeded();
        let store = Store::new(daemon, KUBERNETES);
        assert_eq!(store.images()[&reference].target, image.digest(), "{version}");
        assert!(store.snapshots()[&image.chain_id()].committed, "{version}");
    }
}
