//! A daemon that accepts connections and never answers.

use std::os::unix::net::UnixListener;

use crate::support::cli::Pullctl;
use crate::support::containerd::Version;
use crate::support::image::Image;
use crate::support::registry::Registry;
use crate::support::{each_version, unique};

#[test]
fn every_command_says_what_it_waits_for_and_gives_up() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("silent.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let address = socket.to_str().unwrap();
    std::thread::scope(|scope| {
        for command in [
            ["images", "-q"].as_slice(),
            &["pull", "127.0.0.1:1/a:1"],
            &["rm", "a"],
            &["inspect", "a"],
            &["check"],
            &["explain", "127.0.0.1:1/a:1"],
            &["doctor"],
        ] {
            scope.spawn(move || {
                let outcome = Pullctl::new().args(["--address", address]).args(command).run();
                outcome
                    .ended_with(9)
                    .says("has not answered for 2 s")
                    .says("has not answered for 10 s")
                    .says("hint: see what containerd is doing");
            });
        }
    });
}

each_version! {
    fn a_pin_that_the_kubelet_never_hears_of_is_warned_of(daemon) {
        let registry = Registry::start();
        let reference = registry.push_new(&Image::small());
        let namespace = unique("pinned");
        let pull = || Pullctl::pull(daemon, &reference).args(["-n", &namespace]);
        let pinned = pull().args(["--pin"]).run().succeeded();
        let warned = pinned.stderr.contains("does not tell the kubelet of pins");
        assert_eq!(warned, daemon.version() == Version::V1_6, "{}", pinned.stderr);
        let plain = pull().run().succeeded();
        assert!(!plain.stderr.contains("pins"), "{}", plain.stderr);
    }
}
