//! From one namespace of a daemon into another: content is shared, and layers that are unpacked there
//! are not unpacked once more.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, Version};
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

/// Bytes in use on the file system of `place`, once all is written.
fn used(place: &Path) -> u64 {
    assert!(Command::new("sync").arg("-f").arg(place).status().unwrap().success());
    let disk = rustix::fs::statvfs(place).unwrap();
    (disk.f_blocks - disk.f_bfree) * disk.f_frsize
}

/// Where the file system can let two files have the same bytes, none is written a second time. Without
/// such a file system in the kernel there is nothing to see.
#[test]
fn on_a_file_system_with_reflinks_the_bytes_are_shared() {
    const SIZE: usize = 40 << 20;
    for kind in ["xfs", "btrfs"] {
        let Some(daemon) = Containerd::on_file_system(Version::V2_1, kind) else {
            continue;
        };
        let registry = FaultyRegistry::start();
        let image = Recipe::new(vec![Layer::noise(&unique("large"), SIZE)]).build();
        let name = registry.add_new(&image);
        let from = pulled(&daemon, &name);
        let before = used(&daemon.root());
        let (_, to) = copied(&daemon, &from, &name);
        let more = used(&daemon.root()).saturating_sub(before);
        assert!(more < SIZE as u64 / 4, "{kind}: {more} bytes more");
        let [ours, theirs] = [&to, &from].map(|store| directories(store, &image));
        assert_ne!(ours, theirs);
        let is_large = |path: &PathBuf| fs::metadata(path).unwrap().len() > SIZE as u64 / 2;
        let files = fs::read_dir(&ours[0]).unwrap().map(|entry| entry.unwrap().path());
        let large = files.filter(is_large).collect::<Vec<_>>();
        assert_eq!(large.len(), 1, "{large:?}");
        let extents = Command::new("/usr/sbin/filefrag").arg("-v").arg(&large[0]).output().unwrap();
        let extents = String::from_utf8_lossy(&extents.stdout).into_owned();
        assert!(extents.contains("shared"), "{kind}: {extents}");
    }
}
