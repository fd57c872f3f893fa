//! Layers as only odd tools make them: both unpackers make the same of each, and where they refuse one,
//! it is said whose fault that is.

use std::fs;

use rustix::fs::XattrFlags;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::Containerd;
use crate::support::image::{Family, Image, Layer, Packing, Recipe};
use crate::support::left::Left;
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::tree::Tree;
use crate::support::{each_version, unique};

/// An image with `top` over a layer for it to refer to.
fn over_another(top: Tree) -> Image {
    let below = Tree::new().directory("dir").file("dir/below", b"below").file("f", b"f");
    let own = below.file(&unique("own"), b"");
    let layers = [own, top].map(|tree| Layer::pack(&tree.into_tar(), Packing::Gzip));
    Recipe::new(layers.to_vec()).build()
}

/// Pulls into a namespace of its own.
fn pull<'d>(daemon: &'d Containerd, reference: &str, way: &str) -> (Outcome, Store<'d>) {
    let namespace = unique(way);
    let flags = ["-n", &namespace, "--unpacker", way];
    let outcome = Pullctl::pull(daemon, reference).args(flags).run();
    (outcome, Store::new(daemon, &namespace))
}

/// What both unpackers make files of.
fn unpackable() -> Vec<(&'static str, Tree)> {
    vec![
        ("a file named as a directory", Tree::new().file("d/", b"x")),
        ("a directory of before ustar", Tree::new().typed(0, "d/", b"")),
        ("a directory of before ustar, with content", Tree::new().typed(0, "d/", b"x")),
        ("a link named as a directory", Tree::new().symlink("l/", "f")),
        ("a whiteout before its file", Tree::new().whiteout("a").file("a", b"a")),
        ("an opaque root", Tree::new().file(".wh..wh..opq", b"").file("new", b"x")),
        ("an opaque root by its other name", Tree::new().opaque(".").file("new", b"x")),
        ("a whiteout as overlayfs has it", Tree::new().character_device("f", 0, 0)),
        ("a block device 0:0", Tree::new().block_device("f", 0, 0)),
        ("an attribute of no name space", Tree::new().xattr("foo.bar", b"x").file("x", b"x")),
        ("an attribute of the system's", Tree::new().xattr("system.foo", b"x").file("x", b"x")),
    ]
}

/// An image of each of those.
pub(crate) fn unpackable_images() -> Vec<Image> {
    unpackable().into_iter().map(|(_, tree)| over_another(tree)).collect()
}

/// What neither does.
fn impossible() -> Vec<(&'static str, Tree)> {
    let typed = |letter| Tree::new().typed(letter, "odd", b"x");
    vec![
        ("contiguous", typed(b'7')),
        ("a volume's name", Tree::new().typed(b'V', "volume", b"")),
        ("an ACL of Solaris", typed(b'A')),
        ("a dump of a directory", typed(b'D')),
        ("a lone block of zeros", Tree::new().file("a", b"a").zero_block().file("b", b"b")),
        ("a whiteout after its file", Tree::new().file("a", b"a").whiteout("a")),
        ("a whiteout after its directory", Tree::new().file("q/a", b"a").whiteout("q")),
        ("a hard link to the layer below", Tree::new().hard_link("h", "f")),
        ("a hard link within a directory below", Tree::new().hard_link("dir/h", "dir/below")),
        ("a hard link to nothing", Tree::new().hard_link("h", "nothing")),
    ]
}

each_version! {
    fn both_unpackers_make_the_same_of_odd_entries(daemon) {
        let registry = Registry::start();
        for (what, tree) in unpackable() {
            let reference = registry.push_new(&over_another(tree));
            let [direct, daemons] = ["direct", "daemon"].map(|way| {
                let (outcome, store) = pull(daemon, &reference, way);
                outcome.succeeded();
                Left::in_namespace(&store)
            });
            direct.assert_same(&daemons, what);
        }
    }

    fn what_nobody_unpacks_is_the_images_fault(daemon) {
        let registry = Registry::start();
        for (what, tree) in impossible() {
            let reference = registry.push_new(&over_another(tree));
            for way in ["direct", "daemon", "auto"] {
                let (outcome, store) = pull(daemon, &reference, way);
                let said = &outcome.stderr;
                assert_eq!(outcome.code, Some(7), "{what}, {way}: {said}");
                assert!(said.contains("hint: ") && said.contains("again"), "{what}, {way}: {said}");
                assert!(store.images().is_empty(), "{what}, {way}");
            }
        }
    }

    fn a_sparse_file_of_old_gnu_tar_is_unpacked_by_us_alone_with_a_warning(daemon) {
        let registry = Registry::start();
        let tree = Tree::new().old_sparse("sparse", 100_000, 4096, b"data");
        let reference = registry.push_new(&over_another(tree));
        for way in ["direct", "auto"] {
            let (outcome, store) = pull(daemon, &reference, way);
            outcome.succeeded().says("\"sparse\"").says("old GNU tar").says("--format=posix");
            let whole = Left::in_namespace(&store).snapshots.into_keys();
            let sizes = whole.map(|chain_id| {
                store.with_layers(&chain_id, |point, _| {
                    fs::read(point.join("sparse")).map(|content| (content.len(), content[4096..4100].to_vec())).ok()
                })
            });
            assert!(sizes.flatten().any(|found| found == (100_000, b"data".to_vec())));
        }
        let (outcome, _) = pull(daemon, &reference, "daemon");
        outcome.ended_with(9).says("old GNU tar").says("hint: --unpacker direct");
    }

    fn dockers_zstd_layers_are_unpacked_by_every_daemon(daemon) {
        let registry = Registry::start();
        let tree = Tree::new().file(&unique("zstd"), b"zstd");
        let layers = vec![Layer::pack(&tree.into_tar(), Packing::Zstd)];
        let reference = registry.push_new(&Recipe::new(layers).family(Family::Docker).build());
        let [direct, daemons] = ["direct", "daemon"].map(|way| {
            let (outcome, store) = pull(daemon, &reference, way);
            let said = outcome.succeeded().stderr;
            // The image is in place, but the kubelet could not have pulled it.
            let warned = said.contains("zstd under docker's media type");
            assert_eq!(warned, !daemon.version().is_two(), "{said}");
            Left::in_namespace(&store)
        });
        direct.assert_same(&daemons, "zstd");
    }

    fn an_attribute_too_large_for_the_file_system_is_no_full_disk(daemon) {
        let registry = Registry::start();
        // More than any file system takes, and more than ext4 does by default.
        for bytes in [70_000, 5_000] {
            let value = vec![b'x'; bytes];
            let probe = daemon.scratch("attribute");
            if rustix::fs::setxattr(&probe, "user.large", &value, XattrFlags::empty()).is_ok() {
                continue;
            }
            let tree = Tree::new().xattr("user.large", &value).file("x", b"x");
            let reference = registry.push_new(&over_another(tree));
            for way in ["direct", "daemon", "auto"] {
                let (outcome, _) = pull(daemon, &reference, way);
                let outcome = outcome.ended_with(1).says("attribute").says("hint: keep containerd's");
                assert!(!outcome.stderr.contains("free space"), "{}", outcome.stderr);
            }
        }
    }
}
