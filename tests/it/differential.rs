//! What pullctl leaves in containerd equals what `ctr images pull` of the same daemon leaves: labels
//! of the content, snapshots with their parents, and the files.

use crate::support::cli::Pullctl;
use crate::support::image::{Family, Image, Layer, Packing, Recipe};
use crate::support::left::Left;
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::tree::{Tree, curious, curious_above};
use crate::support::{each_version, unique};

/// Three layers over each other: one of everything, things taken away, things replaced. Each is too
/// large to wait in memory for those below it.
fn curious_image(packing: Packing, family: Family) -> Image {
    let replaced = Tree::new()
        .file("etc", b"a file where a directory was")
        .directory("empty")
        .file("empty/now-a-directory", b"")
        .whiteout("usr")
        .symlink("usr", "bin");
    let own = curious().file(&unique("own"), b"");
    let layers = [own, curious_above(), replaced]
        .map(|tree| Layer::pack(&tree.ballast("ballast").into_tar(), packing))
        .to_vec();
    Recipe::new(layers).family(family).build()
}

each_version! {
    fn what_is_left_equals_what_ctr_leaves(daemon) {
        let registry = Registry::start();
        for (packing, family) in [
            (Packing::Gzip, Family::Docker),
            (Packing::Gzip, Family::Oci),
            (Packing::Zstd, Family::Oci),
            (Packing::Plain, Family::Oci),
        ] {
            let reference = registry.push_new(&curious_image(packing, family));
            let (ours, theirs) = (unique("ours"), unique("theirs"));
            Pullctl::pull(daemon, &reference).args(["-n", &ours]).run().succeeded();
            daemon.ctr(&theirs, &["images", "pull", "--plain-http", &reference]);

            let [ours, theirs] = [ours, theirs]
                .map(|namespace| Left::in_namespace(&Store::new(daemon, &namespace)));
            ours.assert_same(&theirs, &format!("{packing:?} {family:?}"));
        }
    }

    fn both_unpackers_leave_the_same(daemon) {
        let registry = Registry::start();
        for packing in [Packing::Gzip, Packing::Zstd, Packing::Plain] {
            let reference = registry.push_new(&curious_image(packing, Family::Oci));
            let [direct, daemons] = ["direct", "daemon"].map(|way| {
                let namespace = unique(way);
                let flags = ["-n", &namespace, "--unpacker", way];
                Pullctl::pull(daemon, &reference).args(flags).run().succeeded();
                Store::new(daemon, &namespace)
            });
            assert_eq!(direct.snapshots(), daemons.snapshots(), "{packing:?}");
            let [direct, daemons] = [direct, daemons].map(|store| Left::in_namespace(&store));
            direct.assert_same(&daemons, &format!("{packing:?}"));
        }
    }

    fn where_the_daemons_files_are_out_of_sight_the_daemon_unpacks(daemon) {
        let registry = Registry::start();
        let reference = registry.push_new(&curious_image(Packing::Gzip, Family::Oci));
        let pull = |way: &str| {
            let namespace = unique(way);
            let flags = ["-n", &namespace, "--unpacker", way];
            let pullctl = Pullctl::blind_to(&daemon.root()).on(daemon);
            let outcome = pullctl.args(["pull", "--plain-http", &reference]).args(flags).run();
            (outcome, Store::new(daemon, &namespace))
        };
        let (refused, store) = pull("direct");
        refused.ended_with(1).says("hint: --unpacker auto");
        assert!(store.images().is_empty());

        let (outcome, blind) = pull("auto");
        outcome.succeeded().says("containerd unpacks");
        let seeing = unique("seeing");
        let outcome = Pullctl::pull(daemon, &reference).args(["-n", &seeing]).run().succeeded();
        assert!(!outcome.stderr.contains("containerd unpacks"), "{}", outcome.stderr);
        let seeing = Store::new(daemon, &seeing);
        let [blind, seeing] = [blind, seeing].map(|store| Left::in_namespace(&store));
        blind.assert_same(&seeing, "blind and seeing");
    }

    fn what_is_left_of_an_index_equals_what_ctr_leaves(daemon) {
        let registry = Registry::start();
        let name = unique("arm");
        let arm = Recipe::new(vec![Layer::file(&name, b"arm")]).platform("linux/arm64/v8").build();
        let index = Image::index(Family::Oci, vec![Image::small(), arm]);
        let reference = registry.push_new(&index);
        let (ours, theirs) = (unique("ours"), unique("theirs"));
        Pullctl::pull(daemon, &reference).args(["-n", &ours]).run().succeeded();
        daemon.ctr(&theirs, &["images", "pull", "--plain-http", &reference]);
        let [ours, mut theirs] =
            [ours, theirs].map(|namespace| Left::in_namespace(&Store::new(daemon, &namespace)));
        // Some releases of ctr also keep the other platforms' manifests.
        theirs.content.retain(|digest, _| ours.content.contains_key(digest));
        ours.assert_same(&theirs, "ours and theirs");
    }

    fn ctr_takes_a_pulled_image_for_complete_and_unpacked(daemon) {
        let registry = Registry::start();
        let reference = registry.push_new(&curious_image(Packing::Gzip, Family::Oci));
        let namespace = unique("checked");
        Pullctl::pull(daemon, &reference).args(["-n", &namespace]).run().succeeded();
        let said = daemon.ctr(&namespace, &["images", "check"]);
        let line = said.lines().find(|line| line.contains(&reference)).unwrap_or_default();
        assert!(line.contains("complete (4/4)") && line.trim_end().ends_with("true"), "{said}");
    }
}
