//! Layers in the order and with the headers that image builders write them: both unpackers make the
//! same of each. What is here are the sequences of headers, made anew, not the builders' output.

use crate::support::cli::Pullctl;
use crate::support::containerd::Containerd;
use crate::support::image::{Layer, Packing, Recipe};
use crate::support::left::Left;
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::tree::Tree;
use crate::support::{each_version, unique};

/// What lies below a builder's layer, for it to replace, remove and add to.
fn below() -> Tree {
    Tree::new()
        .owner(1, 2)
        .mode(0o2750)
        .directory("etc")
        .file("etc/passwd", b"root")
        .file("etc/group", b"root")
        .directory("lib")
        .file("lib/a", b"a")
        .file("lib/b", b"b")
        .mode(0o1777)
        .directory("var/cache")
        .file("var/cache/old", b"old")
        .owner(3, 4)
        .mode(0o711)
        .modified(1_400_000_000, 77)
        .directory("opt/app")
        .owner(5, 6)
        .mode(0o700)
        .directory("ko-app")
        .symlink("usr/bin", "../bin")
        .directory("bin")
        .file("bin/tool", b"older")
}

/// docker: sorted by name, so that whiteouts stand between their siblings, under the names of what
/// they hide; the sign of an opaque directory is of a directory's type. A directory that changed
/// last comes after its files; storage drivers of old left files of their own.
fn docker() -> Tree {
    Tree::new()
        .file(".wh..wh.aufs", b"")
        .slashless_directory(".wh..wh.plnk")
        .mode(0o755)
        .directory("etc")
        .file("etc/alias", b"before the whiteout")
        .mode(0o600)
        .whiteout("etc/group")
        .file("etc/hosts", b"after the whiteout")
        .whiteout("etc/passwd")
        .directory("lib")
        .whiteout("lib/b")
        .file("lib/c", b"c")
        .file("late/file", b"first")
        .mode(0o700)
        .modified(1_450_000_000, 0)
        .directory("late")
        .directory("var/")
        .mode(0o1777)
        .directory("var/cache")
        .slashless_directory("var/cache/.wh..wh..opq")
        .file("var/cache/new", b"new")
}

/// buildkit: PAX throughout, with three times an entry; whiteouts have times as well. Layers that
/// are merged lack the directories of others.
fn buildkit() -> Tree {
    let timed = |tree: Tree| {
        tree.modified(1_600_000_000, 123_456_789)
            .record("atime", "1600000001.5")
            .record("ctime", "1600000002.25")
    };
    let tree = timed(Tree::new()).record("uid", "2100000").record("gid", "2100001");
    let tree = tree.file("opt/app/bin/run", b"in a directory from below, and one from nowhere");
    let tree = timed(timed(tree).hard_link("opt/app/bin/stop", "opt/app/bin/run"));
    let tree = timed(tree.whiteout("etc/passwd"));
    let tree = timed(tree.mode(0o555).directory("opt/app/share/empty"));
    let tree = timed(tree.symlink("opt/app/current", "share/empty"));
    // Through the link of the layer itself, and, where it is not hidden, through one of below.
    timed(timed(tree.file("opt/app/current/through", b"a link")).file("var/cache/new", b"new"))
        .opaque("var/cache")
}

/// kaniko: whiteouts first, names and targets of hard links with a leading `/`, files twice where
/// two snapshots met, the second of which is no longer the one that the hard link meant.
fn kaniko() -> Tree {
    Tree::new()
        .whiteout("/etc/passwd")
        .whiteout("/lib")
        .directory("/")
        .directory("/etc/")
        .file("/etc/new", b"first")
        .file("/usr/local/bin/perl", b"perl")
        .hard_link("/usr/local/bin/perl5", "/usr/local/bin/perl")
        .file("/etc/new", b"second")
        .file("/usr/local/bin/perl", b"another perl")
        .hard_link("/usr/local/bin/newer", "usr/local/bin/perl")
        .directory("/usr/local/bin")
        .symlink("/etc/link", "/etc/new")
        .file("/etc/link", b"instead of the link")
}

/// ko: files before their directories or without any, all of them for reading only and of 1970.
fn ko() -> Tree {
    Tree::new()
        .modified(0, 0)
        .mode(0o555)
        .file("/var/run/ko/templates/index.html", b"<html>")
        .modified(0, 0)
        .mode(0o555)
        .directory("/var/run/ko")
        .modified(0, 0)
        .mode(0o555)
        .directory("/var/run")
        .modified(0, 0)
        .mode(0o555)
        .file("/ko-app/app", b"binary")
        .modified(0, 0)
        .mode(0o555)
        .directory("/ko-app")
}

/// Jib: sorted, every directory described, one second after 1970; modes say the type of file too.
fn jib() -> Tree {
    let mut tree = Tree::new();
    for path in ["app", "app/classes", "app/classes/com", "opt", "opt/app"] {
        tree = tree.modified(1, 0).mode(0o40_755).directory(path);
    }
    let long = format!("opt/app/{}", "com.example.long.package.".repeat(6));
    for path in ["app/classes/com/Main.class", &long] {
        tree = tree.modified(1, 0).mode(0o100_644).file(path, path.as_bytes());
    }
    tree
}

/// Bazel: `./` before every name, the root itself among them, directories again and again.
fn bazel() -> Tree {
    let read_only = |tree: Tree| tree.modified(0, 0).mode(0o555);
    let tree = read_only(Tree::new()).owner(11, 12).directory("./");
    let tree = read_only(read_only(tree).directory("./bin")).file("./bin/tool", b"newer");
    let tree = read_only(tree).symlink("./bin/link", "./tool");
    let tree = read_only(tree).hard_link("./bin/hard", "./bin/tool");
    let tree = read_only(read_only(tree).directory("./bin")).file("./bin/last", b"last");
    read_only(read_only(tree).directory("./")).directory("./lib/../srv")
}

/// A builder's layer as the base, held in memory, and extracted apart or in place.
fn stacked(layer: fn() -> Tree) -> Recipe {
    let large = || layer().ballast("ballast");
    let trees = [layer().file("base", unique("base").as_bytes()), below(), large(), layer()];
    Recipe::new(trees.map(|tree| Layer::pack(&tree.into_tar(), Packing::Gzip)).to_vec())
}

/// An image of each builder.
pub(crate) fn recipes() -> Vec<Recipe> {
    [docker, buildkit, kaniko, ko, jib, bazel].map(stacked).into()
}

fn is_unpacked_alike(builder: &str, layer: fn() -> Tree, daemon: &Containerd, registry: &Registry) {
    let reference = registry.push_new(&stacked(layer).build());
    let [direct, daemons] = ["direct", "daemon"].map(|way| {
        let namespace = unique(way);
        let flags = ["-n", &namespace, "--unpacker", way];
        Pullctl::pull(daemon, &reference).args(flags).run().succeeded();
        Left::in_namespace(&Store::new(daemon, &namespace))
    });
    direct.assert_same(&daemons, builder);
}

each_version! {
    fn layers_of_every_builder_are_unpacked_as_the_daemon_does_it(daemon) {
        let registry = Registry::start();
        is_unpacked_alike("docker", docker, daemon, &registry);
        is_unpacked_alike("buildkit", buildkit, daemon, &registry);
        is_unpacked_alike("kaniko", kaniko, daemon, &registry);
        is_unpacked_alike("ko", ko, daemon, &registry);
        is_unpacked_alike("jib", jib, daemon, &registry);
        is_unpacked_alike("bazel", bazel, daemon, &registry);
    }

    fn a_hard_link_to_a_later_entry_is_refused_by_both(daemon) {
        let registry = Registry::start();
        let name = unique("later");
        let layer = Tree::new().hard_link("/usr/bin/perl5", "/usr/bin/perl").file("/usr/bin/perl", name.as_bytes());
        let layer = Layer::pack(&layer.into_tar(), Packing::Gzip);
        let reference = registry.push_new(&Recipe::new(vec![layer]).build());
        for way in ["direct", "daemon", "auto"] {
            let outcome = Pullctl::pull(daemon, &reference).args(["--unpacker", way]).run();
            assert_ne!(outcome.code, Some(0), "{way}: {}", outcome.stderr);
            let said = outcome.stderr.to_lowercase();
            assert!(said.contains("no such file"), "{way}: {said}");
        }
    }
}
