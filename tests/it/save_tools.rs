//! Archives that pullctl saved, in the hands of other tools: the same digests everywhere.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::save::{file, image, new_file, run, save};
use crate::support::archive::text;
use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, Version};
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Image, Layer, Packing, Recipe};
use crate::support::tree::Tree;
use crate::support::unique;

fn daemon() -> &'static Containerd {
    Containerd::shared(Version::V2_1)
}

/// An archive of `images`, and what they are called.
fn saved(images: &[&Image], archive: &Path, flags: &[&str]) -> Vec<String> {
    let registry = FaultyRegistry::start();
    let references: Vec<String> = images.iter().map(|image| registry.add_new(image)).collect();
    for reference in &references {
        Pullctl::pull(daemon(), reference).run().succeeded();
    }
    let names: Vec<&str> = references.iter().map(String::as_str).collect();
    save(daemon(), archive, &names).args(flags).run().succeeded();
    references
}

#[test]
fn skopeo_finds_two_images_with_one_tag() {
    let (_folder, archive) = new_file("images.tar");
    let images = [image().0, image().0];
    let references = saved(&[&images[0], &images[1]], &archive, &[]);
    for (image, reference) in images.iter().zip(&references) {
        let place = format!("oci-archive:{}:{reference}", archive.display());
        let manifest = run("skopeo", &["inspect", "--raw", &place]);
        assert_eq!(manifest.as_bytes(), image.root.bytes);
        // What docker reads: the layers are packed anew there, the configuration stays.
        let place = format!("docker-archive:{}:{reference}", archive.display());
        let config = run("skopeo", &["inspect", "--raw", "--config", &place]);
        assert_eq!(config.as_bytes(), image.blobs[0].bytes);
    }
}

#[test]
fn skopeo_and_umoci_find_one_image_by_its_tag() {
    let (folder, archive) = new_file("images.tar");
    let layer = Layer::file("etc/motd", unique("hello").as_bytes());
    let image = Recipe::new(vec![layer]).build();
    let references = saved(&[&image], &archive, &[]);
    let tag = references[0].rsplit(':').next().unwrap();
    let place = format!("oci-archive:{}:{tag}", archive.display());
    let manifest = run("skopeo", &["inspect", "--raw", &place]);
    assert_eq!(manifest.as_bytes(), image.root.bytes);

    let layout = folder.path().join("layout");
    std::fs::create_dir(&layout).unwrap();
    run("tar", &["-C", layout.to_str().unwrap(), "-xf", archive.to_str().unwrap()]);
    let bundle = folder.path().join("bundle");
    let place = format!("{}:{tag}", layout.display());
    run("umoci", &["unpack", "--image", &place, bundle.to_str().unwrap()]);
    assert!(std::fs::read(bundle.join("rootfs/etc/motd")).unwrap().starts_with(b"hello"));
}

/// A podman with a store of its own.
struct Podman(TempDir);

impl Podman {
    /// One that has loaded `archive`.
    fn with(archive: &Path) -> Self {
        let podman = Self(tempfile::tempdir().unwrap());
        podman.run(&["load", "-q", "-i", text(archive)]);
        podman
    }

    fn run(&self, arguments: &[&str]) -> String {
        let [store, state] = ["store", "state"].map(|name| self.0.path().join(name));
        let places = ["--root", text(&store), "--runroot", text(&state)];
        run("podman", &[&places[..], &["--storage-driver", "vfs"], arguments].concat())
    }

    /// Its images: configurations and names.
    fn images(&self) -> Vec<(String, String)> {
        let format = "{{.ID}} {{.Repository}}:{{.Tag}}";
        let listed = self.run(&["images", "--no-trunc", "--format", format]);
        let pair = |line: &str| {
            let (id, name) = line.split_once(' ').unwrap();
            (id.to_owned(), name.to_owned())
        };
        let mut images: Vec<_> = listed.lines().map(pair).collect();
        images.sort_by(|a, b| a.1.cmp(&b.1));
        images
    }
}

#[test]
fn podman_loads_all_images_of_either_form() {
    let (_folder, archive) = new_file("images.tar");
    let images = [image().0, image().0];
    for flags in [&[][..], &["--format", "docker"], &["--compress", "zstd"]] {
        let references = saved(&[&images[0], &images[1]], &archive, flags);
        let mut expected: Vec<_> = images
            .iter()
            .zip(&references)
            .map(|(image, reference)| (image.config_digest(), reference.clone()))
            .collect();
        expected.sort_by(|a, b| a.1.cmp(&b.1));
        assert_eq!(Podman::with(&archive).images(), expected, "{flags:?}");
    }
}

#[test]
fn what_podman_saves_is_loaded_again() {
    let (folder, archive) = new_file("images.tar");
    let images = [image().0, image().0];
    let references = saved(&[&images[0], &images[1]], &archive, &[]);
    let podman = Podman::with(&archive);
    let [first, second] = [&*references[0], &*references[1]];
    for (form, names) in [
        (&["docker-archive", "--multi-image-archive"][..], &[first, second][..]),
        (&["oci-archive"], &[first]),
        (&["oci-dir"], &[second]),
    ] {
        let place = folder.path().join(form[0]);
        podman.run(&[&["save", "-q", "-o", text(&place), "--format"], form, names].concat());
        let namespace = unique("podman");
        let load = || Pullctl::new().on(daemon()).args(["-n", &namespace, "load", "-i"]);
        load().args([&place]).run().succeeded();
        let listed = Pullctl::new().on(daemon()).args(["-n", &namespace, "images", "-o", "json"]);
        let listed: Vec<Value> = serde_json::from_str(&listed.run().succeeded().stdout).unwrap();
        assert_eq!(listed.len(), names.len(), "{form:?}");
        let snapshots = daemon().ctr(&namespace, &["snapshots", "ls"]);
        for name in names {
            let has_name =
                |entry: &&Value| entry["names"].as_array().unwrap().contains(&json!(name));
            let entry =
                listed.iter().find(has_name).unwrap_or_else(|| panic!("{form:?}: {listed:?}"));
            assert_eq!(entry["complete"], true, "{form:?}");
            // podman packs layers anew, and writes configurations in OCI's form anew: the files stay.
            let at = references.iter().position(|it| it == name).unwrap();
            assert!(snapshots.contains(&images[at].chain_id()), "{form:?}");
            if form[0] == "docker-archive" {
                assert_eq!(entry["id"], images[at].config_digest());
            }
        }
    }
}

#[test]
fn dockers_form_has_one_platform_and_no_zstd() {
    let (folder, archive) = new_file("docker.tar");
    let (image, _, index) = image();
    let references = saved(&[&image], &archive, &["--format", "docker"]);
    let table = file(&archive, "manifest.json");
    assert_eq!(table[0]["RepoTags"][0], *references[0]);
    assert_eq!(table[0]["Config"], format!("{}.json", image.blobs[0].digest.hex()));
    let place = format!("docker-archive:{}", archive.display());
    let config = run("skopeo", &["inspect", "--raw", "--config", &place]);
    assert_eq!(config.as_bytes(), image.blobs[0].bytes);

    let registry = FaultyRegistry::start();
    let both = registry.add_new(&index);
    Pullctl::pull(daemon(), &both).args(["--all-platforms"]).run().succeeded();
    let none = folder.path().join("none.tar");
    let flags = ["--format", "docker", "--all-platforms"];
    save(daemon(), &none, &[&both]).args(flags).run().ended_with(2).says("one platform");

    let tar = Tree::new().file(&unique("zstd"), b"").into_tar();
    let zstd = Recipe::new(vec![Layer::pack(&tar, Packing::Zstd)]).build();
    let zstd = registry.add_new(&zstd);
    Pullctl::pull(daemon(), &zstd).run().succeeded();
    let refused = save(daemon(), &none, &[&zstd]).args(["--format", "docker"]).run();
    refused.ended_with(2).says("zstd").says("leave out --format docker");
    assert!(!none.exists());
}
