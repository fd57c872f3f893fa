//! Layers that come in before those below them: they are extracted apart, and move into place when
//! the layers below are there, or stay where the daemon can do that. What a crash leaves of them belongs
//! to a lease.

use std::fs::read_dir;
use std::path::PathBuf;

use pullctl::oci::Digest;
use rustix::process::Signal;
use serde_json::json;

use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, Version};
use crate::support::faulty::{Fault, FaultyRegistry, Gate};
use crate::support::image::{Image, Layer, Packing, Recipe, noise};
use crate::support::left::Left;
use crate::support::store::Store;
use crate::support::tree::{Tree, curious, curious_above};
use crate::support::{each_version, unique};

/// Size of a file whose layer takes the way through the daemon's file, in bytes.
const LARGE: usize = 3_000_000;

/// An image whose base layer waits at a gate, so that all others are there before it.
struct BaseHeldBack {
    registry: FaultyRegistry,
    image: Image,
    reference: String,
    gate: Gate,
}

impl BaseHeldBack {
    fn new(image: Image) -> Self {
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        let gate = Gate::new();
        let base = image.layers()[0].digest.to_string();
        // Every request, for a client whose first one stalls may ask again.
        registry.always(&base, Fault::Stall(1000, gate.clone()));
        Self { registry, image, reference, gate }
    }

    fn pull(&self, daemon: &Containerd, namespace: &str) -> Pullctl {
        let flags = ["-n", namespace, "--unpacker", "direct"];
        Pullctl::pull(daemon, &self.reference).args(flags)
    }

    /// Waits until the layers above the base are stored.
    fn wait_until_stored(&self, daemon: &Containerd, namespace: &str) {
        let store = Store::new(daemon, namespace);
        self.gate.wait_until_reached();
        daemon.wait_until("the upper layers in the store", || {
            let content = store.content();
            let mut upper = self.image.layers().iter().skip(1);
            upper.all(|layer| content.contains_key(&layer.digest.to_string())).then_some(())
        });
    }

    /// The same; answers the folders of the snapshots that they were extracted to, lowest layer
    /// first.
    fn wait_until_staged(&self, daemon: &Containerd, namespace: &str) -> Vec<PathBuf> {
        self.wait_until_stored(daemon, namespace);
        let store = Store::new(daemon, namespace);
        let chain_ids = self.image.chain_ids();
        let snapshots = store.snapshots();
        assert!(chain_ids.iter().all(|chain_id| !snapshots.contains_key(chain_id)));
        let directory_of = |chain_id: &String| {
            let mut found = snapshots.iter().filter(|(key, _)| key.ends_with(chain_id));
            let (key, snapshot) = found.next().expect("the layer has a snapshot to work in");
            assert_eq!((snapshot.parent.as_str(), snapshot.committed), ("", false), "{key}");
            store.directory(key)
        };
        chain_ids.iter().skip(1).map(directory_of).collect()
    }
}

/// Layers above others with all that matters when a layer moves: nothing but the base could say what
/// the implied directories are like, and the root is described, replaced in part, and opaque.
fn moving_image() -> Image {
    let base = curious()
        .owner(7, 8)
        .mode(0o3711)
        .modified(1_400_000_000, 5)
        .xattr("user.of", b"the base")
        .directory("implied/inner")
        .owner(9, 9)
        .mode(0o700)
        .directory("implied")
        .file("implied/inner/below", b"below")
        .file(&unique("own"), b"");
    let implying = curious_above()
        .file("implied/inner/above", b"above")
        .file("implied/new/file", b"new")
        .symlink("bin/link", "setuid")
        .hard_link("bin/again", "empty")
        .fifo("top-pipe")
        .file("large", &noise(&unique("noise"), LARGE));
    let rooted = Tree::new()
        .owner(12, 34)
        .mode(0o700)
        .modified(1_300_000_000, 1)
        .xattr("user.of", b"the root")
        .directory("./")
        .opaque(".")
        .directory("etc")
        .file("etc/only", b"this")
        .ballast("ballast");
    let last = Tree::new()
        .mode(0o711)
        .directory("./")
        .file("etc/added", b"added")
        .file("implied/inner/last", b"last")
        .whiteout("ballast")
        .ballast("other");
    let layers = [base, implying, rooted, last]
        .map(|tree| Layer::pack(&tree.into_tar(), Packing::Gzip))
        .to_vec();
    Recipe::new(layers).build()
}

/// A layer whose last entry has a name, as it is written, that is longer than we take: the file is
/// an ordinary one to containerd. What comes before is extracted by then.
fn refused_by_us(tree: Tree) -> Tree {
    let name = format!("{}refused/by-us", "./".repeat(2100));
    tree.record("path", &name).file("long", b"by containerd")
}

/// Three layers, the one at `position` of which only containerd unpacks.
fn partly_refused_image(position: usize, is_large: bool) -> Image {
    let mut trees = [curious().file(&unique("own"), b""), curious_above(), Tree::new()];
    for (place, tree) in trees.iter_mut().enumerate() {
        let mut own = std::mem::replace(tree, Tree::new()).file("a-file", b"of each layer");
        if is_large || place == 0 {
            own = own.ballast("ballast");
        }
        *tree = if place == position { refused_by_us(own) } else { own };
    }
    let layers = trees.map(|tree| Layer::pack(&tree.into_tar(), Packing::Gzip));
    Recipe::new(layers.to_vec()).build()
}

/// Removes what keeps the parts of a failed pull, and looks whether anything is left of them.
fn nothing_outlives_the_leases(store: &Store<'_>, daemon: &Containerd) {
    let leases: Vec<String> = store.leases().into_keys().collect();
    assert_eq!(leases.len(), 1, "{leases:?}");
    daemon.ctr(store.namespace(), &["leases", "rm", "--sync", &leases[0]]);
    assert_eq!(store.snapshots().len(), 0, "{:#?}", store.snapshots());
    assert_eq!(store.content().len(), 0, "{:#?}", store.content());
}

/// Compares what is in `namespace` with what ctr makes of the same image.
fn is_as_ctr_leaves_it(held_back: &BaseHeldBack, namespace: &str, daemon: &Containerd) {
    held_back.registry.heal();
    let theirs = unique("theirs");
    daemon.ctr(&theirs, &["images", "pull", "--plain-http", &held_back.reference]);
    let [ours, theirs] =
        [namespace, &theirs].map(|namespace| Left::in_namespace(&Store::new(daemon, namespace)));
    ours.assert_same(&theirs, "ours and theirs");
}

each_version! {
    fn layers_that_come_before_the_base_end_up_as_ctr_leaves_them(daemon) {
        let held_back = BaseHeldBack::new(moving_image());
        let ours = unique("ours");
        let running = held_back.pull(daemon, &ours).spawn();
        let staged = held_back.wait_until_staged(daemon, &ours);
        assert_eq!(staged.len(), 3);
        held_back.gate.open();
        running.wait().succeeded();

        // Debian's daemons can't put on its parent what was made without one: there, the files have
        // moved.
        let stays = daemon.version() == Version::Newer;
        for directory in staged {
            let has_files = read_dir(&directory).is_ok_and(|mut files| files.next().is_some());
            assert_eq!(has_files, stays, "{}", directory.display());
        }
        is_as_ctr_leaves_it(&held_back, &ours, daemon);
    }

    fn what_a_killed_pull_has_extracted_goes_with_its_lease(daemon) {
        let held_back = BaseHeldBack::new(moving_image());
        let namespace = unique("killed");
        let store = Store::new(daemon, &namespace);
        let running = held_back.pull(daemon, &namespace).spawn();
        let staged = held_back.wait_until_staged(daemon, &namespace);
        running.signal(Signal::KILL);
        assert_eq!(running.wait().code, None);
        held_back.gate.open();

        assert!(staged.iter().all(|directory| directory.exists()));
        let active = store.snapshots();
        assert!(active.len() >= staged.len(), "{active:#?}");
        nothing_outlives_the_leases(&store, daemon);
        for directory in staged {
            assert!(!directory.exists(), "{} is left", directory.display());
        }

        held_back.pull(daemon, &namespace).run().succeeded();
        assert!(store.snapshots()[&held_back.image.chain_id()].committed);
    }

    fn a_layer_that_only_containerd_unpacks_is_left_to_it_in_the_midst(daemon) {
        for (position, is_large) in [(0, true), (1, true), (2, false)] {
            let held_back = BaseHeldBack::new(partly_refused_image(position, is_large));
            let namespace = unique("fallback");
            let flags = ["-n", &namespace, "--progress", "json"];
            let running = Pullctl::pull(daemon, &held_back.reference).args(flags).spawn();
            held_back.wait_until_stored(daemon, &namespace);
            held_back.gate.open();
            let events = running.wait().succeeded().events();
            let warnings: Vec<_> =
                events.iter().filter_map(|event| event["code"].as_str()).collect();
            assert_eq!(warnings, ["unpacker-fallback"], "layer {position}");
            is_as_ctr_leaves_it(&held_back, &namespace, daemon);

            let refused = unique("refused");
            let outcome = held_back.pull(daemon, &refused).run().ended_with(7);
            outcome.says("longer than 4096 bytes").says("hint: --unpacker auto");
            let store = Store::new(daemon, &refused);
            assert!(!store.snapshots().contains_key(&held_back.image.chain_ids()[position]));
            nothing_outlives_the_leases(&store, daemon);
        }
    }

    fn stored_layers_are_unpacked_without_the_registry(daemon) {
        let held_back = BaseHeldBack::new(moving_image());
        held_back.gate.open();
        let namespace = unique("stored");
        let stored = Pullctl::pull(daemon, &held_back.reference).args(["-n", &namespace]);
        stored.args(["--no-unpack"]).run().succeeded();
        assert!(Store::new(daemon, &namespace).snapshots().is_empty());
        held_back.registry.forget_requests();
        held_back.pull(daemon, &namespace).run().succeeded();
        assert_eq!(held_back.registry.requests_for("/blobs/"), []);
        is_as_ctr_leaves_it(&held_back, &namespace, daemon);
    }

    fn a_layer_that_is_not_the_configurations_is_refused_before_its_snapshot_is_made(daemon) {
        // Extracted apart; and held in memory, where it would have to move.
        for above in [curious_above().ballast("ballast"), curious_above()] {
            let base = curious().file(&unique("own"), b"");
            let layers = [base, above].map(|tree| Layer::pack(&tree.into_tar(), Packing::Gzip));
            let diff_ids = [layers[0].diff_id.to_string(), Digest::of(b"another").to_string()];
            let rootfs = json!({ "type": "layers", "diff_ids": diff_ids });
            let image = Recipe::new(layers.to_vec()).config("rootfs", rootfs).build();
            let held_back = BaseHeldBack::new(image);
            let namespace = unique("mistaken");
            let running = held_back.pull(daemon, &namespace).spawn();
            held_back.wait_until_stored(daemon, &namespace);
            held_back.gate.open();
            running.wait().ended_with(7).says("has diff ID");
            let store = Store::new(daemon, &namespace);
            assert!(store.images().is_empty());
            // Other clients believe the label.
            let blob = &store.content()[&held_back.image.layers()[1].digest.to_string()];
            assert!(!blob.labels.contains_key("containerd.io/uncompressed"), "{blob:?}");
            assert!(!store.snapshots().contains_key(&held_back.image.chain_id()));
            nothing_outlives_the_leases(&store, daemon);
        }
    }
}
