//! Without a daemon: an OCI image layout which other tools read.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::cli::Pullctl;
use crate::support::containerd::KUBERNETES;
use crate::support::faulty::{Fault, FaultyRegistry, Gate};
use crate::support::image::{Family, Image, Layer, Packing, Recipe, noise};
use crate::support::store::Store;
use crate::support::tree::Tree;
use crate::support::{each_version, unique};

fn pull_to(directory: &Path, references: &[&str]) -> Pullctl {
    let to = format!("oci:{}", directory.display());
    Pullctl::new().args(["pull", "--plain-http", "--to", &to]).args(references)
}

/// The descriptors in a layout's index.
fn entries(directory: &Path) -> Vec<Value> {
    let index = std::fs::read(directory.join("index.json")).unwrap_or_default();
    let index: Value = serde_json::from_slice(&index).unwrap_or_default();
    index["manifests"].as_array().cloned().unwrap_or_default()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn with_file(name: &str, content: &[u8]) -> Image {
    let tar = Tree::new().file(name, content).into_tar();
    Recipe::new(vec![Layer::pack(&tar, Packing::Gzip)]).build()
}

#[test]
fn skopeo_and_umoci_read_the_layout() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("layout");
    let registry = FaultyRegistry::start();
    let image = with_file("etc/motd", b"hello");
    let reference = registry.add_new(&image);
    pull_to(&directory, &[&reference]).run().succeeded();

    let named = format!("{}:{reference}", directory.display());
    let inspected = run("skopeo", &["inspect", "--raw", &format!("oci:{named}")]);
    assert_eq!(inspected.trim_end().as_bytes(), image.root.bytes);
    let copy = folder.path().join("copy");
    run("skopeo", &["copy", &format!("oci:{named}"), &format!("dir:{}", copy.display())]);

    // umoci takes no name with a port.
    let short = folder.path().join("short");
    let renamed = format!("oci:{}:latest", short.display());
    run("skopeo", &["copy", &format!("oci:{named}"), &renamed]);
    let bundle = folder.path().join("bundle");
    let image = format!("{}:latest", short.display());
    run("umoci", &["unpack", "--image", &image, bundle.to_str().unwrap()]);
    assert_eq!(std::fs::read(bundle.join("rootfs/etc/motd")).unwrap(), b"hello");
}

#[test]
fn several_images_and_platforms_share_a_layout() {
    let folder = tempfile::tempdir().unwrap();
    let registry = FaultyRegistry::start();
    let [amd, arm] = ["linux/amd64", "linux/arm64/v8"]
        .map(|platform| Recipe::new(vec![Layer::file("f", b"x")]).platform(platform).build());
    let index = Image::index(Family::Oci, vec![amd.clone(), arm.clone()]);
    let both = registry.add_new(&index);
    let single = registry.add_new(&Image::small());
    pull_to(folder.path(), &[&both]).args(["--all-platforms"]).run().succeeded();
    pull_to(folder.path(), &[&single]).run().succeeded();
    pull_to(folder.path(), &[&single]).run().succeeded();

    assert_eq!(entries(folder.path()).len(), 2, "{:?}", entries(folder.path()));
    for image in [&amd, &arm, &index] {
        let path = format!("blobs/{}", image.digest().replace(':', "/"));
        assert_eq!(std::fs::read(folder.path().join(path)).unwrap(), image.root.bytes);
    }
}

#[test]
fn a_repeated_pull_fetches_no_blob() {
    let folder = tempfile::tempdir().unwrap();
    let registry = FaultyRegistry::start();
    let reference = registry.add_new(&Image::small());
    pull_to(folder.path(), &[&reference]).run().succeeded();
    registry.forget_requests();
    pull_to(folder.path(), &[&reference]).run().succeeded();
    assert_eq!(registry.requests_for("/blobs/"), []);
}

#[test]
fn a_killed_pull_shows_nothing_and_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let registry = FaultyRegistry::start();
    let image = Recipe::new(vec![Layer::noise(&unique("layer"), 8 << 20)]).build();
    let layer = &image.layers()[0];
    let reference = registry.add_new(&image);
    let gate = Gate::new();
    let stall = Some(Fault::Stall(1000, gate.clone()));
    registry.script(&layer.digest.to_string(), vec![None, None, None, stall]);
    let pull = || {
        // One connection, so that what comes before the stalled range has arrived.
        pull_to(folder.path(), &[&reference]).args(["--chunk-size", "1MiB", "--concurrency", "1"])
    };
    let running = pull().spawn();
    gate.wait_until_reached();
    let arrived = || partial_bytes(folder.path()) > 0;
    crate::support::wait_until("bytes in the layout", || arrived().then_some(()));
    running.signal(rustix::process::Signal::KILL);
    running.wait();
    assert_eq!(entries(folder.path()), Vec::<Value>::new());

    registry.heal();
    gate.open();
    registry.forget_requests();
    pull().run().succeeded();
    let length = layer.bytes.len() as u64;
    let starts: Vec<u64> = registry
        .requests_for(&layer.digest.to_string())
        .iter()
        .map(|request| request.range(length).map_or(0, |range| *range.start()))
        .collect();
    assert!(starts.iter().all(|start| *start > 0), "{starts:?}");
    let path = folder.path().join("blobs").join(layer.digest.to_string().replace(':', "/"));
    assert!(std::fs::read(path).unwrap() == layer.bytes);
}

/// Bytes of unfinished downloads: files of the layout that are no blobs.
fn partial_bytes(directory: &Path) -> u64 {
    let folders = std::fs::read_dir(directory).into_iter().flatten().flatten();
    folders
        .filter(|entry| entry.file_name() != "blobs" && entry.path().is_dir())
        .flat_map(|entry| std::fs::read_dir(entry.path()).into_iter().flatten().flatten())
        .filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

#[test]
fn a_corrupt_blob_is_not_in_the_layout() {
    let folder = tempfile::tempdir().unwrap();
    let registry = FaultyRegistry::start();
    let image = with_file("noise", &noise("corrupt", 100_000));
    let layer = image.layers()[0].digest.to_string();
    let reference = registry.add_new(&image);
    registry.always(&layer, Fault::Corrupt(5000));
    pull_to(folder.path(), &[&reference]).run().ended_with(7).says("127.0.0.1");
    assert_eq!(entries(folder.path()), Vec::<Value>::new());
    assert!(!folder.path().join("blobs").join(layer.replace(':', "/")).exists());
}

#[test]
fn a_folder_with_other_things_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.tex"), "important").unwrap();
    let registry = FaultyRegistry::start();
    let reference = registry.add_new(&Image::small());
    let outcome = pull_to(folder.path(), &[&reference]).run();
    assert_ne!(outcome.code, Some(0));
    outcome.says(folder.path().to_str().unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_full_disk_is_named_as_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().to_str().unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=1m", "none", directory]);
    let registry = FaultyRegistry::start();
    let image = with_file("noise", &noise("full disk", 3_000_000));
    let reference = registry.add_new(&image);
    let outcome = pull_to(folder.path(), &[&reference]).run();
    run("umount", &[directory]);
    assert!(outcome.ended_with(10).stderr.contains("hint: "));
}

each_version! {
    fn ctr_imports_the_layout(daemon) {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("layout");
        let registry = FaultyRegistry::start();
        let name = unique("imported");
        let image = with_file(&name, b"imported");
        let reference = registry.add_new(&image);
        pull_to(&directory, &[&reference]).run().succeeded();
        let archive = folder.path().join("layout.tar");
        run("tar", &["-C", directory.to_str().unwrap(), "-cf", archive.to_str().unwrap(), "."]);
        daemon.ctr(KUBERNETES, &["images", "import", archive.to_str().unwrap()]);
        let images = Store::new(daemon, KUBERNETES).images();
        assert_eq!(images[&reference].target, image.digest());
    }
}
