//! Archives that are broken, or meant to break something: nothing of them is visible, nothing is written
//! outside, and each has its exit code and its hint.

use std::io::Write as _;

use crate::support::archive::{Archive, blob_name, text};
use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, Version};
use crate::support::image::{Family, Image, Layer, Recipe};
use crate::support::store::Store;
use crate::support::unique;

const NAME: &str = "quay.io/hostile:1";

fn daemon() -> &'static Containerd {
    Containerd::shared(Version::V2_1)
}

/// An image with a small layer and one that goes into a file of its own.
fn image() -> Image {
    let layers = [1000, 3 << 20].map(|size| Layer::noise(&unique("layer"), size));
    Recipe::new(layers.to_vec()).build()
}

/// `archive` is refused with `code` and the words `says`, from a file, as it comes by, and packed.
#[track_caller]
fn is_refused(case: &str, archive: &[u8], code: i32, says: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive.tar");
    std::fs::write(&path, archive).unwrap();
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(archive).unwrap();
        encoder.finish().unwrap()
    };
    for (how, input) in [("file", None), ("stream", Some(archive)), ("gzip", Some(&gzip))] {
        let namespace = unique("hostile");
        let load = Pullctl::new().on(daemon()).args(["-n", &namespace, "load"]);
        let load = load.below(folder.path());
        let outcome = match input {
            None => load.args(["-i", text(&path)]).run(),
            Some(input) => load.input(input).run(),
        };
        assert_eq!(outcome.code, Some(code), "{case}, {how}: {}", outcome.stderr);
        outcome.says(says).says("hint: ");
        let store = Store::new(daemon(), &namespace);
        assert!(store.images().is_empty(), "{case}, {how}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{case}: {left:?}");
}

#[test]
fn an_archive_that_ends_early() {
    let image = image();
    let whole = Archive::oci(&[(&image, NAME)]).build();
    for length in [700, whole.len() / 2, whole.len() - 3000] {
        is_refused("cut", &whole[..length], 7, "");
    }
    let index = Archive::new().index(&[(&image, NAME)]).build();
    // Without the end of the index's own content.
    is_refused("in the index", &index[..600], 7, "ends within an entry");
}

#[test]
fn an_archive_that_lies_about_digests_and_sizes() {
    for position in [0, 1] {
        // What one namespace has, another need not read.
        let image = image();
        let layer = &image.layers()[position];
        let others = || {
            let kept = image.blobs.iter().filter(|blob| blob.digest != layer.digest);
            kept.fold(Archive::new(), Archive::blob).blob(&image.root)
        };
        let altered = {
            let mut bytes = layer.bytes.clone();
            bytes[5000 % layer.bytes.len()] ^= 1;
            bytes
        };
        for (case, content) in [
            ("altered", &altered[..]),
            ("longer", &[&layer.bytes[..], b"more"].concat()),
            ("shorter", &layer.bytes[1..]),
        ] {
            let archive = others().file(&blob_name(layer), content).index(&[(&image, NAME)]);
            is_refused(case, &archive.build(), 7, &layer.digest.to_string());
        }
    }
    let image = image();
    let archive = Archive::new().blobs(&image).index_of({
        let mut entry = image.entry();
        entry["size"] = (image.root.bytes.len() + 1).into();
        vec![entry]
    });
    is_refused("the size of a manifest", &archive.build(), 7, &image.digest());
    let manifest = Archive::new()
        .file(&blob_name(&image.root), b"{\"schemaVersion\":2}")
        .index(&[(&image, NAME)]);
    is_refused("another manifest", &manifest.build(), 7, &image.root.digest.hex());
}

#[test]
fn names_that_lead_out() {
    let image = image();
    for name in ["../outside", "/tmp/pullctl-outside", "blobs/../../outside", "a/../../b"] {
        let archive = Archive::new().file(name, b"outside").blobs(&image).index(&[(&image, NAME)]);
        is_refused(name, &archive.build(), 7, "leads out of the archive");
        assert!(!std::path::Path::new("/tmp/pullctl-outside").exists());
    }
}

#[test]
fn two_entries_of_one_name() {
    let image = image();
    let other = Image::small();
    let twice = Archive::new().blobs(&image).blobs(&other);
    let twice = twice.index(&[(&image, NAME)]).index(&[(&other, NAME)]);
    is_refused("two indexes", &twice.build(), 7, "two entries are called");
    let blob = &image.layers()[0];
    let twice = Archive::new().file(&blob_name(blob), &blob.bytes).blobs(&image);
    is_refused("two blobs", &twice.index(&[(&image, NAME)]).build(), 7, "two entries");
}

#[test]
fn a_blob_that_is_a_link_out_of_the_archive() {
    let image = image();
    let layer = &image.layers()[0];
    let others = image.blobs.iter().filter(|blob| blob.digest != layer.digest);
    for target in ["/etc/passwd", "../../../etc/passwd"] {
        let archive = others.clone().fold(Archive::new(), Archive::blob).blob(&image.root);
        let archive = archive.link(&blob_name(layer), target).index(&[(&image, NAME)]).build();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive.tar");
        std::fs::write(&path, archive).unwrap();
        let namespace = unique("link");
        let load = Pullctl::new().on(daemon()).args(["-n", &namespace, "load", "-i"]);
        load.args([text(&path)]).run().ended_with(7).says("leads out of the archive");
        assert!(Store::new(daemon(), &namespace).images().is_empty());
    }
}

#[test]
fn a_layer_that_is_missing() {
    let image = image();
    let layer = &image.layers()[1];
    let others = image.blobs.iter().filter(|blob| blob.digest != layer.digest);
    let archive = others.fold(Archive::new(), Archive::blob).blob(&image.root);
    let archive = archive.index(&[(&image, NAME)]).build();
    is_refused("a layer", &archive, 3, &layer.digest.to_string());
    let archive = Archive::new().index(&[(&image, NAME)]).build();
    is_refused("the manifest", &archive, 3, &image.digest());
}

#[test]
fn an_index_without_the_platform() {
    let other = Recipe::new(vec![Layer::noise(&unique("s390x"), 1000)]);
    let other = other.platform("linux/s390x").build();
    let inner = Image::index(Family::Oci, vec![other]);
    let index = Image::index(Family::Oci, vec![inner]);
    let archive = Archive::oci(&[(&index, NAME)]).build();
    is_refused("s390x alone", &archive, 8, "linux/s390x");
}

#[test]
fn an_index_of_ten_gigabytes_is_not_read() {
    for name in ["index.json", "./manifest.json", "repositories"] {
        let archive = Archive::new().file_of_size(name, &[b' '; 4096], 10 << 30);
        is_refused(name, &archive, 7, "");
    }
    // With all of its bytes, of which nobody has to keep any.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.tar");
    let archive = Archive::new().file_of_size("index.json", b"{", 10 << 30);
    std::fs::write(&path, archive).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len((10 << 30) + 2048).unwrap();
    let outcome = Pullctl::measured().args(["load", "--list", "-i", text(&path)]).run();
    let outcome = outcome.ended_with(7).says("10737418240 bytes");
    assert!(outcome.peak_memory_bytes() < 64 << 20, "{outcome:?}");
}

#[test]
fn what_is_no_archive_of_images() {
    for (case, content, says) in [
        ("text", b"<html>no archive</html>\n".repeat(50), "no tar archive"),
        ("empty", Vec::new(), "empty"),
        ("another tar", Archive::new().file("etc/passwd", b"root").build(), "something else"),
        ("xz", b"\xfd7zXZ\0 and more".to_vec(), "xz -dc"),
    ] {
        is_refused_as_such(case, &content, says);
    }
    let missing = Pullctl::new().on(daemon()).args(["load", "-i", "/no/such.tar"]).run();
    missing.ended_with(2).says("/no/such.tar").says("hint: ");
    let folder = tempfile::tempdir().unwrap();
    let directory = Pullctl::new().on(daemon()).args(["load", "-i", text(folder.path())]).run();
    directory.ended_with(2).says("no OCI image layout").says("hint: ");
}

#[track_caller]
fn is_refused_as_such(case: &str, content: &[u8], says: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, content).unwrap();
    for list in [&["load"][..], &["load", "--list"]] {
        let from_file = Pullctl::new().on(daemon()).args(list).args(["-i", text(&path)]).run();
        let streamed = Pullctl::new().on(daemon()).args(list).input(content).run();
        for outcome in [from_file, streamed] {
            assert_eq!(outcome.code, Some(2), "{case}: {}", outcome.stderr);
            outcome.says(says).says("hint: ");
        }
    }
}

#[test]
fn a_packed_archive_that_is_damaged() {
    let archive = Archive::oci(&[(&image(), NAME)]).build();
    let zstd = zstd::encode_all(&*archive, 1).unwrap();
    let mut damaged = zstd.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 40].fill(0);
    for (case, content) in [("cut", &zstd[..zstd.len() - 10]), ("damaged", &damaged)] {
        let namespace = unique("packed");
        let load = Pullctl::new().on(daemon()).args(["-n", &namespace, "load"]);
        let outcome = load.input(content).run();
        assert_eq!(outcome.code, Some(7), "{case}: {}", outcome.stderr);
        outcome.says("hint: ");
        let store = Store::new(daemon(), &namespace);
        assert!(store.images().is_empty() && store.leases().is_empty(), "{case}");
    }
}
