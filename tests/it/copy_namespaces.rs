//! From one namespace of a daemon into another: content is shared, and layers that are unpacked there
//! are not unpacked once more.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::Containerd;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Family, Image, Layer, Packing, Recipe};
use crate::support::left::Left;
use crate::support::store::Store;
use crate::support::tree::{curious, curious_above};
use crate::support::{each_version, unique};

/// Two layers over each other, with one of everything, too large to wait in memory.
fn curious_image() -> Image {
    let own = curious().file(&unique("own"), b"").sparse("holes", 8 << 20, 4 << 20, b"data");
    let layers = [own, curious_above()]
        .map(|tree| Layer::pack(&tree.ballast("ballast").into_tar(), Packing::Gzip));
    Recipe::new(layers.to_vec()).family(Family::Oci).build()
}

/// The image, under `name`, pulled into a namespace of its own.
fn pulled<'a>(daemon: &'a Containerd, name: &str) -> Store<'a> {
    let namespace = unique("from");
    Pullctl::pull(daemon, name).args(["-n", &namespace]).run().succeeded();
    Store::new(daemon, &namespace)
}

fn copied<'a>(daemon: &'a Containerd, from: &Store<'_>, name: &str) -> (Outcome, Store<'a>) {
    let namespace = unique("to");
    let places =
        [from.namespace(), &namespace].map(|namespace| format!("containerd://{namespace}/{name}"));
    let outcome =
        Pullctl::new().on(daemon).args(["copy", &places[0], &places[1]]).run().succeeded();
    (outcome, Store::new(daemon, &namespace))
}

/// The directories of the image's layers, topmost first.
fn directories(store: &Store<'_>, image: &Image) -> Vec<PathBuf> {
    store.with_layers(&image.chain_id(), |_, layers| layers.to_vec())
}

each_version! {
    fn what_is_copied_equals_what_is_pulled(daemon) {
        let (image, registry) = (curious_image(), FaultyRegistry::start());
        let name = registry.add_new(&image);
        let from = pulled(daemon, &name);
        registry.forget_requests();
        let (_, to) = copied(daemon, &from, &name);
        assert_eq!(registry.requests(), []);
        let there = from.snapshots();
        assert_eq!(to.snapshots(), there);
        Left::in_namespace(&to).assert_same(&Left::in_namespace(&from), "copied and pulled");
        // Nothing is left of having looked.
        assert!(from.leases().is_empty(), "{:?}", from.leases());
        assert_eq!(from.snapshots(), there);
    }

    fn the_files_are_taken_from_where_they_lie_and_are_files_of_their_own(daemon) {
        let (image, registry) = (curious_image(), FaultyRegistry::start());
        let name = registry.add_new(&image);
        let from = pulled(daemon, &name);
        let theirs = directories(&from, &image);
        // No archive has these.
        for directory in &theirs {
            fs::write(directory.join("seen-there"), "x").unwrap();
        }
        let (_, to) = copied(daemon, &from, &name);
        let ours = directories(&to, &image);
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_ne!(ours, theirs);
            let [copy, original] =
                [ours, theirs].map(|directory| fs::metadata(directory.join("seen-there")).unwrap());
            assert_ne!(copy.ino(), original.ino());
            // Who has several names is refused by some, and a container sees how many there are.
            assert_eq!(copy.nlink(), 1);
        }
    }

    fn what_can_not_be_taken_is_unpacked(daemon) {
        let (image, registry) = (curious_image(), FaultyRegistry::start());
        let name = registry.add_new(&image);
        let from = pulled(daemon, &name);
        let theirs = directories(&from, &image);
        for directory in &theirs {
            fs::write(directory.join("seen-there"), "x").unwrap();
            fs::create_dir(directory.join("of-a-container")).unwrap();
            let marked = directory.join("of-a-container");
            let (name, value) = ("trusted.overlay.redirect", b"/elsewhere");
            let none = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(marked, name, value, none).unwrap();
        }
        let (_, to) = copied(daemon, &from, &name);
        for directory in directories(&to, &image) {
            assert!(directory.join("ballast").exists(), "{}", directory.display());
            assert!(!directory.join("seen-there").exists(), "{}", directory.display());
        }
    }
}
