//! Archives that come by: in which order, how much memory they take, and what they leave when they break
//! off.

use serde_json::Value;

use crate::support::archive::{Archive, text};
use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, Version};
use crate::support::image::{Family, Image, Layer, Recipe};
use crate::support::store::Store;
use crate::support::{each_version, unique};

/// An image of layers of all sizes.
fn image() -> Image {
    let sizes = [1000, 200_000, 3 << 20, 500, 5 << 20, 2 << 20, 3 << 20];
    Recipe::new(sizes.map(|size| Layer::noise(&unique("layer"), size)).to_vec()).build()
}

fn load(daemon: &Containerd, namespace: &str, archive: &[u8]) -> Outcome {
    let flags = ["-n", namespace, "load", "--progress", "json"];
    Pullctl::new().on(daemon).args(flags).input(archive).run()
}

fn is_complete(daemon: &Containerd, namespace: &str, image: &Image, name: &str) {
    let store = Store::new(daemon, namespace);
    assert_eq!(store.images()[name].target, image.digest());
    let content = store.content();
    for blob in &image.blobs {
        assert!(content.contains_key(&blob.digest.to_string()), "{}", blob.media_type);
    }
    assert!(store.leases().is_empty());
}

each_version! {
    fn the_order_of_entries_is_of_no_account(daemon) {
        let name = "quay.io/test/order:1";
        type Order = fn(&Image) -> Archive;
        let orders: [(&str, Order); 4] = [
            ("documents first", |image| {
                let archive = Archive::new().index(&[(image, "quay.io/test/order:1")]);
                archive.blob(&image.root).blobs(image)
            }),
            ("index first, manifest last", |image| {
                let archive = Archive::new().index(&[(image, "quay.io/test/order:1")]);
                image.blobs.iter().rev().fold(archive, Archive::blob).blob(&image.root)
            }),
            ("index in the middle", |image| {
                let (some, rest) = image.blobs.split_at(4);
                let archive = some.iter().rev().fold(Archive::new(), Archive::blob);
                let archive = archive.blob(&image.root);
                let archive = archive.index(&[(image, "quay.io/test/order:1")]);
                rest.iter().rev().fold(archive, Archive::blob)
            }),
            ("as ctr", |image| Archive::oci(&[(image, "quay.io/test/order:1")])),
        ];
        for (case, order) in orders {
            let image = image();
            let namespace = unique("order");
            let outcome = load(daemon, &namespace, &order(&image).build());
            assert_eq!(outcome.code, Some(0), "{case}: {}", outcome.stderr);
            is_complete(daemon, &namespace, &image, name);
            let snapshots = Store::new(daemon, &namespace).snapshots();
            assert!(snapshots[&image.chain_id()].committed, "{case}");
            let finished = outcome.events().into_iter().find(|event| event["event"] == "finished");
            let fetched = finished.unwrap()["fetched_bytes"].as_u64().unwrap();
            let layers: usize = image.layers().iter().map(|layer| layer.bytes.len()).sum();
            assert!(fetched as usize >= layers, "{case}: {fetched} of {layers}: {}", outcome.stderr);
        }
    }
}

fn daemon() -> &'static Containerd {
    Containerd::shared(Version::V2_1)
}

#[test]
fn what_breaks_off_behind_its_images_shows_none_of_them() {
    let image = image();
    let archive = Archive::new().index(&[(&image, "quay.io/test/broken:1")]).blob(&image.root);
    let archive = archive.blobs(&image).file("trailer", &[b'x'; 5000]).build();
    let cut = &archive[..archive.len() - 4000];
    let namespace = unique("broken");
    load(daemon(), &namespace, cut).ended_with(7);
    let store = Store::new(daemon(), &namespace);
    assert!(store.images().is_empty());
}

#[test]
fn nothing_is_kept_of_what_no_image_names() {
    let (image, stranger) = (image(), Layer::noise(&unique("stranger"), 3 << 20));
    let archive = Archive::new().blob(&stranger.blob).blobs(&image);
    let archive = archive.index(&[(&image, "quay.io/test/stranger:1")]).build();
    let namespace = unique("stranger");
    load(daemon(), &namespace, &archive).succeeded();
    is_complete(daemon(), &namespace, &image, "quay.io/test/stranger:1");
    let digest = stranger.blob.digest.to_string();
    let gone = || {
        let content = Store::new(daemon(), &namespace).content();
        (!content.contains_key(&digest)).then_some(())
    };
    daemon().wait_until("the end of a blob that nobody names", gone);
}

#[test]
fn images_of_one_stream_share_their_layers() {
    let base = Layer::noise(&unique("base"), 3 << 20);
    let with = |name: &str| {
        let own = Layer::noise(&unique(name), 3 << 20);
        Recipe::new(vec![base.clone(), own]).build()
    };
    let images = ["a", "b", "c"].map(with);
    let named: Vec<_> = images.iter().zip(["quay.io/a:1", "quay.io/b:1", "quay.io/c:1"]).collect();
    let first = images.iter().fold(Archive::new().index(&named), |a, i| a.blob(&i.root).blobs(i));
    for archive in [first.build(), Archive::oci(&named).build()] {
        let namespace = unique("shared");
        load(daemon(), &namespace, &archive).succeeded();
        for (image, name) in &named {
            is_complete(daemon(), &namespace, image, name);
        }
    }
}

#[test]
fn memory_is_bounded_whatever_the_archives_size() {
    let layers = (0..6).map(|_| Layer::noise(&unique("layer"), 24 << 20)).collect();
    let image = Recipe::new(layers).build();
    let archive = Archive::oci(&[(&image, "quay.io/test/large:1")]).build();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive.tar");
    std::fs::write(&path, &archive).unwrap();
    let [file, stream] = ["file", "stream"].map(unique);
    let path = path.display().to_string();
    let measured = |namespace: &str| {
        Pullctl::measured().on(daemon()).args(["-n", namespace, "load", "--progress", "none"])
    };
    for outcome in
        [measured(&file).args(["-i", &path]).run(), measured(&stream).input(archive).run()]
    {
        let outcome = outcome.succeeded();
        let peak = outcome.peak_memory_bytes();
        assert!(peak < 100 << 20, "{} MiB", peak >> 20);
    }
}

#[test]
fn an_image_index_of_all_platforms_comes_by() {
    let platforms = ["linux/amd64", "linux/arm64", "linux/s390x"];
    let images = platforms.map(|platform| {
        Recipe::new(vec![Layer::noise(&unique("platform"), 3 << 20)]).platform(platform).build()
    });
    let index = Image::index(Family::Oci, images.to_vec());
    let archive = Archive::new().index(&[(&index, "quay.io/test/index:1")]);
    let archive = archive.blob(&index.root).blobs(&index).build();
    let namespace = unique("platforms");
    let flags = ["-n", &namespace, "load", "--all-platforms"];
    Pullctl::new().on(daemon()).args(flags).input(&archive).run().succeeded();
    is_complete(daemon(), &namespace, &index, "quay.io/test/index:1");
    let namespace = unique("platform");
    load(daemon(), &namespace, &archive).succeeded();
    let content = Store::new(daemon(), &namespace).content();
    let there = |image: &Image| content.contains_key(&image.layers()[0].digest.to_string());
    assert!(there(&images[0]));
}

#[test]
fn a_broken_stream_fails_the_images_of_it_and_no_others() {
    let [good, bad] = [image(), image()];
    let folder = tempfile::tempdir().unwrap();
    let [plain, packed] = ["good.tar", "bad.tar.zst"].map(|name| folder.path().join(name));
    std::fs::write(&plain, Archive::oci(&[(&good, "quay.io/good:1")]).build()).unwrap();
    let archive = Archive::oci(&[(&bad, "quay.io/bad:1")]).build();
    let zstd = zstd::encode_all(&archive[..archive.len() / 2], 1).unwrap();
    std::fs::write(&packed, zstd).unwrap();
    let namespace = unique("mixed");
    let flags = ["-n", &namespace, "load", "--progress", "json"];
    let inputs = ["-i", text(&plain), "-i", text(&packed)];
    let outcome = Pullctl::new().on(daemon()).args(flags).args(inputs).run().ended_with(11);
    let failed: Vec<Value> =
        outcome.events().into_iter().filter(|event| event["event"] == "failed").collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0]["exit_code"], 7);
    let images = Store::new(daemon(), &namespace).images();
    assert_eq!(images["quay.io/good:1"].target, good.digest());
    assert!(!images.contains_key("quay.io/bad:1"));
}
