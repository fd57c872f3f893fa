//! What loaded images are called, and which platform of them is taken.

use serde_json::{Value, json};

use crate::support::archive::{Archive, text};
use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::cri::Cri;
use crate::support::image::{Blob, Family, Image, Layer, Recipe};
use crate::support::store::Store;
use crate::support::{each_version, unique};

fn daemon() -> &'static Containerd {
    Containerd::shared(Version::V2_1)
}

/// Loads `archive`, once from a file and once as it comes by, into a namespace each.
fn loaded(archive: &[u8], flags: &[&str]) -> [(Outcome, Store<'static>); 2] {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive.tar");
    std::fs::write(&path, archive).unwrap();
    let load = |namespace: &str| Pullctl::new().on(daemon()).args(["-n", namespace, "load"]);
    let [file, stream] = ["file", "stream"].map(unique);
    let from_file = load(&file).args(["-i", text(&path)]).args(flags).run();
    let from_stream = load(&stream).input(archive).args(flags).run();
    [(from_file, Store::new(daemon(), &file)), (from_stream, Store::new(daemon(), &stream))]
}

fn platform_image(platform: &str) -> Image {
    let name = unique("platform");
    Recipe::new(vec![Layer::file(&name, name.as_bytes())]).platform(platform).build()
}

/// An entry of `index.json` with annotations.
fn entry(image: &Image, annotations: Value) -> Value {
    let mut entry = image.entry();
    entry["annotations"] = annotations;
    entry
}

#[test]
fn names_are_written_out_and_all_of_them_count() {
    let image = Image::small();
    let full = |name: &str| entry(&image, json!({ "io.containerd.image.name": name }));
    let reference = entry(&image, json!({ "org.opencontainers.image.ref.name": "tools/hello:1" }));
    let entries = vec![full("busybox:1.35"), full("localhost:5000/a"), reference];
    let archive = Archive::new().blobs(&image).index_of(entries).build();
    for (outcome, store) in loaded(&archive, &[]) {
        outcome.succeeded();
        let images = store.images();
        for name in
            ["docker.io/library/busybox:1.35", "localhost:5000/a:latest", "docker.io/tools/hello:1"]
        {
            assert_eq!(images[name].target, image.digest(), "{name}");
        }
        // Each repository's digest, and the ID.
        assert_eq!(images.len(), 3 + 3 + 1, "{images:#?}");
    }
}

#[test]
fn a_bare_tag_needs_a_repository() {
    let image = Image::small();
    let entry = entry(&image, json!({ "org.opencontainers.image.ref.name": "1.35" }));
    let archive = Archive::new().blobs(&image).index_of(vec![entry]).build();
    for (outcome, store) in loaded(&archive, &[]) {
        outcome.ended_with(2).says("--base-name").says("1.35");
        assert!(store.images().is_empty());
    }
    for (outcome, store) in loaded(&archive, &["--base-name", "busybox"]) {
        outcome.succeeded();
        assert!(store.images().contains_key("docker.io/library/busybox:1.35"));
    }
    for (outcome, store) in loaded(&archive, &["--as", "quay.io/a:1", "--as", "quay.io/a:2"]) {
        outcome.succeeded();
        let images = store.images();
        assert!(images.contains_key("quay.io/a:1") && images.contains_key("quay.io/a:2"));
        assert!(!images.keys().any(|name| name.contains("1.35")), "{images:#?}");
    }
}

#[test]
fn one_image_is_named_by_as_and_not_several() {
    let images = [Image::small(), Image::small()];
    let archive = Archive::oci(&[(&images[0], "a:1"), (&images[1], "b:1")]).build();
    for (outcome, store) in loaded(&archive, &["--as", "quay.io/a:1"]) {
        outcome.ended_with(2).says("--as");
        assert!(store.images().is_empty());
    }
}

#[test]
fn a_digest_in_a_name_must_be_the_images() {
    let image = Image::small();
    let right = format!("quay.io/a@{}", image.digest());
    for (outcome, store) in loaded(&Archive::oci(&[(&image, &right)]).build(), &[]) {
        outcome.succeeded();
        assert!(store.images().contains_key(&right));
    }
    let wrong = format!("quay.io/a@{}", image.config_digest());
    for (outcome, store) in loaded(&Archive::oci(&[(&image, &wrong)]).build(), &[]) {
        outcome.ended_with(7).says(&image.digest());
        assert!(store.images().is_empty());
    }
}

each_version! {
    fn an_image_without_a_name_is_known_by_its_id(daemon) {
        let image = Image::small();
        let archive = Archive::oci(&[(&image, "")]).build();
        let outcome = Pullctl::new().on(daemon).args(["load", "--pin"]).input(archive).run();
        let outcome = outcome.succeeded().says("--as NAME");
        assert!(outcome.stdout.starts_with(&image.digest()), "{outcome:?}");
        let id = image.config_digest();
        let images = Store::new(daemon, KUBERNETES).images();
        assert_eq!(images[&id].target, image.digest());
        assert!(!images.keys().any(|name| name.contains(&image.digest())), "{images:#?}");
        assert_eq!(Cri::new(daemon).image_soon(&id).id, id);
        // Nobody is said to have it.
        let content = Store::new(daemon, KUBERNETES).content();
        let labels = &content[&image.layers()[0].digest.to_string()].labels;
        assert!(!labels.keys().any(|key| key.contains("distribution.source")), "{labels:?}");
    }

    fn an_archive_of_one_platform_of_many_is_loaded_for_that(daemon) {
        let [amd, arm] = ["linux/amd64", "linux/arm64"].map(platform_image);
        let index = Image::index(Family::Oci, vec![arm.clone(), amd.clone()]);
        let name = format!("quay.io/test/{}:v1", unique("partial"));
        // As ctr export leaves it: the whole index, and one platform's content.
        let archive = Archive::new().blobs(&amd).blob(&index.root);
        let archive = archive.index(&[(&index, &name)]).build();
        let load = |flags: &[&str]| {
            Pullctl::new().on(daemon).args(["load"]).args(flags).input(&archive).run()
        };
        load(&["--platform", "linux/arm64"]).ended_with(8).says("there is linux/amd64");
        load(&[]).succeeded();
        let store = Store::new(daemon, KUBERNETES);
        assert_eq!(store.images()[&name].target, index.digest());
        assert!(store.snapshots()[&amd.chain_id()].committed);
        assert_eq!(Cri::new(daemon).image_soon(&name).id, amd.config_digest());
        load(&["--all-platforms"]).succeeded().says("left out").says("linux/arm64");
    }
}

#[test]
fn of_all_platforms_all_that_are_there_are_loaded() {
    let [amd, arm, s390] = ["linux/amd64", "linux/arm64", "linux/s390x"].map(platform_image);
    let index = Image::index(Family::Oci, vec![amd.clone(), arm.clone(), s390.clone()]);
    // Newer containerds hold all manifests and configurations.
    let archive = Archive::new().blobs(&amd).blobs(&arm).blob(&s390.root).blob(&s390.blobs[0]);
    let archive = archive.blob(&index.root).index(&[(&index, "quay.io/a:1")]).build();
    for (outcome, store) in loaded(&archive, &["--all-platforms"]) {
        outcome.succeeded().says("linux/s390x");
        let content = store.content();
        for image in [&amd, &arm] {
            assert!(content.contains_key(&image.layers()[0].digest.to_string()));
        }
    }
    for (outcome, _) in loaded(&archive, &["--platform", "linux/s390x"]) {
        outcome.ended_with(3).says(&s390.layers()[0].digest.to_string());
    }
}

#[test]
fn several_entries_of_one_name_are_platforms_of_it() {
    let [amd, arm] = ["linux/amd64", "linux/arm64"].map(platform_image);
    let named =
        |image: &Image| entry(image, json!({ "org.opencontainers.image.ref.name": "quay.io/a:1" }));
    let archive = Archive::new().blobs(&amd).blobs(&arm);
    let archive = archive.index_of(vec![named(&arm), named(&amd)]).build();
    for (outcome, store) in loaded(&archive, &["--platform", "linux/arm64"]) {
        outcome.succeeded();
        assert_eq!(store.images()["quay.io/a:1"].target, arm.digest());
    }
    let twice = Archive::new().blobs(&amd).blobs(&arm);
    let entries = [&amd, &arm].map(|image| {
        let mut entry = named(image);
        entry.as_object_mut().unwrap().remove("platform");
        entry
    });
    for (outcome, store) in loaded(&twice.index_of(entries.to_vec()).build(), &[]) {
        outcome.ended_with(7).says("two images are called quay.io/a:1");
        assert!(store.images().is_empty());
    }
}

#[test]
fn what_an_archive_leaves_out_may_be_there_already() {
    let [base, top] = [3 << 20, 1000].map(|size| Layer::noise(&unique("delta"), size));
    let first = Recipe::new(vec![base.clone()]).build();
    let second = Recipe::new(vec![base.clone(), top]).build();
    let delta = |image: &Image| {
        let without = |blob: &&Blob| blob.digest != base.blob.digest;
        let archive = image.blobs.iter().filter(without).fold(Archive::new(), Archive::blob);
        archive.blob(&image.root).index(&[(image, "quay.io/delta:2")]).build()
    };
    let namespace = unique("delta");
    let load = |archive: Vec<u8>| {
        Pullctl::new().on(daemon()).args(["-n", &namespace, "load"]).input(archive).run()
    };
    load(delta(&second)).ended_with(3).says(&base.blob.digest.to_string());
    assert!(Store::new(daemon(), &namespace).images().is_empty());
    load(Archive::oci(&[(&first, "quay.io/delta:1")]).build()).succeeded();
    load(delta(&second)).succeeded();
    let store = Store::new(daemon(), &namespace);
    assert_eq!(store.images()["quay.io/delta:2"].target, second.digest());
    assert!(store.snapshots()[&second.chain_id()].committed);
}

#[test]
fn all_blobs_that_are_missing_are_listed() {
    let layers = [3 << 20, 1000, 2000].map(|size| Layer::noise(&unique("missing"), size));
    let image = Recipe::new(layers.to_vec()).build();
    let archive = Archive::new().blob(&image.blobs[0]).blob(&image.layers()[1]).blob(&image.root);
    let archive = archive.index(&[(&image, "quay.io/a:1")]).build();
    for (outcome, store) in loaded(&archive, &[]) {
        let [first, _, third] = image.layers() else { panic!() };
        let outcome = outcome.ended_with(3).says("2 blobs").says(&first.digest.to_string());
        outcome.says(&third.digest.to_string()).says("hint: ");
        assert!(store.images().is_empty());
    }
}

#[test]
fn the_list_shows_names_platforms_and_sizes_without_a_daemon() {
    let [amd, arm] = ["linux/amd64", "linux/arm64"].map(platform_image);
    let index = Image::index(Family::Oci, vec![amd.clone(), arm]);
    let small = Image::small();
    let mut entries: Vec<_> = [(&index, "busybox:1.35"), (&small, "")]
        .map(|(image, name)| entry(image, json!({ "io.containerd.image.name": name })))
        .to_vec();
    let other = Image::small();
    entries.push(entry(&other, json!({ "org.opencontainers.image.ref.name": "v2" })));
    let archive = Archive::new().blobs(&amd).blob(&index.root).blobs(&small).blobs(&other);
    let archive = archive.index_of(entries).build();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive.tar");
    std::fs::write(&path, &archive).unwrap();
    let list = || Pullctl::new().args(["load", "--list"]);
    let shown = list().args(["-i", text(&path)]).run().succeeded().stdout;
    assert_eq!(list().input(&archive).run().succeeded().stdout, shown);
    let lines: Vec<_> = shown.lines().collect();
    assert!(lines[1].starts_with("docker.io/library/busybox:1.35"), "{shown}");
    assert!(lines[1].contains("linux/amd64 ") && lines[1].ends_with(&index.digest()), "{shown}");
    assert!(lines[2].starts_with("- ") && lines[3].starts_with(":v2 !"), "{shown}");
    assert!(shown.contains("--base-name") && shown.contains("--as"), "{shown}");

    let json = list().args(["-o", "json", "-i", text(&path)]).run().succeeded().stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["names"], json!(["docker.io/library/busybox:1.35"]));
    assert_eq!(json[0]["platforms"][0]["complete"], true);
    assert_eq!(json[0]["platforms"][1]["platform"], "linux/arm64");
    assert_eq!(json[0]["platforms"][1]["complete"], false);
    assert_eq!(json[2]["tags"], json!(["v2"]));
    assert_eq!(json[1]["digest"], small.digest());
}
