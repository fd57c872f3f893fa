//! Where pullctl must not write a layer's files itself, it leaves that to containerd, or says why it
//! can't be done.

use crate::support::cli::Pullctl;
use crate::support::containerd::Containerd;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Layer, Packing, Recipe};
use crate::support::left::Left;
use crate::support::store::Store;
use crate::support::tree::{curious, curious_above};
use crate::support::{each_version, unique};

/// Has `pullctl`, made anew for each run, pull both ways: `auto` pulls what ctr pulls, `direct` is
/// refused for `reason`.
fn leaves_it_to_the_daemon(daemon: &Containerd, reason: &str, pullctl: impl Fn() -> Pullctl) {
    let layers = [curious().file(&unique("own"), b""), curious_above().ballast("ballast")];
    let layers = layers.map(|tree| Layer::pack(&tree.into_tar(), Packing::Gzip)).to_vec();
    let registry = FaultyRegistry::start();
    let reference = registry.add_new(&Recipe::new(layers).build());
    let pull = |way: &str| {
        let namespace = unique(way);
        let pull = pullctl().on(daemon).args(["pull", "--plain-http", "-v", &reference]);
        let outcome = pull.args(["-n", &namespace, "--unpacker", way]).run();
        (outcome, Store::new(daemon, &namespace))
    };

    let (refused, store) = pull("direct");
    refused.ended_with(1).says(reason).says("hint: --unpacker auto");
    assert!(store.images().is_empty());
    // One that was being prepared when the run ended may be left, but belongs to its lease.
    let snapshots = store.snapshots();
    assert!(snapshots.values().all(|snapshot| !snapshot.committed), "{snapshots:#?}");

    let (outcome, ours) = pull("auto");
    outcome.succeeded();
    let theirs = unique("theirs");
    daemon.ctr(&theirs, &["images", "pull", "--plain-http", &reference]);
    let [ours, theirs] =
        [ours, Store::new(daemon, &theirs)].map(|store| Left::in_namespace(&store));
    ours.assert_same(&theirs, "ours and theirs");
}

each_version! {
    fn a_directory_that_only_looks_like_the_daemons_is_not_written_to(daemon) {
        let snapshots = daemon.root().join("io.containerd.snapshotter.v1.overlayfs/snapshots");
        leaves_it_to_the_daemon(daemon, "is not the directory that containerd means", || {
            Pullctl::deceived_about(&snapshots, &daemon.scratch("deceived"))
        });
    }

    fn root_of_a_user_namespace_leaves_the_files_to_the_daemon(daemon) {
        leaves_it_to_the_daemon(daemon, "user namespace", Pullctl::in_user_namespace);
    }

    fn somebody_else_than_root_leaves_the_files_to_the_daemon(daemon) {
        let folder = Pullctl::copy_for_everybody(daemon);
        let program = folder.path().join("pullctl");
        leaves_it_to_the_daemon(daemon, "does not run as root", || {
            let home = folder.path();
            Pullctl::in_roots_group(&program).env("HOME", home).env("DOCKER_CONFIG", home)
        });
    }
}
