//! Images saved from containerd: what is in the archive, and that `ctr` makes the same images of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use pullctl::oci::Digest;
use serde_json::Value;

use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Family, Image, Layer, Packing, Recipe, noise};
use crate::support::store::Store;
use crate::support::tree::Tree;
use crate::support::{each_version, unique};

/// `pullctl save` of images of `daemon`.
pub(crate) fn save(daemon: &Containerd, archive: &Path, references: &[&str]) -> Pullctl {
    Pullctl::new().on(daemon).args(["save", "-o"]).args([archive]).args(references)
}

/// What `program` says, which must succeed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A folder, and a file in it that is not there yet.
pub(crate) fn new_file(name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    (folder, path)
}

/// What is in a folder.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Where the blob is in an archive.
pub(crate) fn path(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Names of the archive's entries, in order.
pub(crate) fn entries(archive: &Path) -> Vec<String> {
    let listed = run("tar", &["-tf", archive.to_str().unwrap()]);
    listed.lines().map(str::to_owned).collect()
}

/// A table of contents of the archive.
pub(crate) fn file(archive: &Path, name: &str) -> Value {
    let text = run("tar", &["-xOf", archive.to_str().unwrap(), name]);
    serde_json::from_str(&text).unwrap()
}

/// An image of two layers, and an index that lists it after another platform's.
pub(crate) fn image() -> (Image, Image, Image) {
    let name = unique("saved");
    let layers = vec![Layer::file(&name, name.as_bytes()), Layer::noise(&name, 3 << 20)];
    let image = Recipe::new(layers).build();
    let other = Recipe::new(vec![Layer::file("other", name.as_bytes())]);
    let other = other.platform("linux/s390x").build();
    let index = Image::index(Family::Oci, vec![other.clone(), image.clone()]);
    (image, other, index)
}

each_version! {
    fn what_is_saved_is_imported_by_ctr(daemon) {
        let registry = FaultyRegistry::start();
        let (image, _, index) = image();
        let reference = registry.add_new(&index);
        Pullctl::pull(daemon, &reference).run().succeeded();
        let (_folder, archive) = new_file("images.tar");
        let saved = save(daemon, &archive, &[&reference]).run().succeeded();
        // What is told is what is in the archive.
        assert!(saved.stdout.contains(&format!("{reference} {}", image.digest())));

        let names = entries(&archive);
        let [documents, layers] = [0..7, 7..9].map(|range| names.get(range).unwrap_or_default());
        assert_eq!(documents[..3], ["oci-layout", "index.json", "manifest.json"]);
        let paths = image.layers().iter().map(|layer| path(layer.digest));
        assert_eq!(layers, paths.collect::<Vec<_>>(), "{names:?}");
        let entry = &file(&archive, "index.json")["manifests"][0];
        assert_eq!(entry["digest"], image.digest());
        assert_eq!(entry["annotations"]["io.containerd.image.name"], *reference);

        let namespace = unique("imported");
        daemon.ctr(&namespace, &["images", "import", archive.to_str().unwrap()]);
        let store = Store::new(daemon, &namespace);
        assert_eq!(store.images()[&reference].target, image.digest());
        assert!(store.snapshots()[&image.chain_id()].committed);
        for layer in image.layers() {
            assert!(store.blob(&layer.digest.to_string()) == layer.bytes);
        }
    }

    fn all_platforms_keep_the_index(daemon) {
        let registry = FaultyRegistry::start();
        let (_, other, index) = image();
        let reference = registry.add_new(&index);
        Pullctl::pull(daemon, &reference).args(["--all-platforms"]).run().succeeded();
        let (_folder, archive) = new_file("images.tar");
        save(daemon, &archive, &[&reference]).args(["--all-platforms"]).run().succeeded();
        let namespace = unique("imported");
        let import = ["images", "import", "--all-platforms", archive.to_str().unwrap()];
        daemon.ctr(&namespace, &import);
        let store = Store::new(daemon, &namespace);
        assert_eq!(store.images()[&reference].target, index.digest());
        assert!(store.content().contains_key(&other.layers()[0].digest.to_string()));

        let both = ["--platform", "linux/amd64", "--platform", "linux/s390x"];
        let again = archive.with_file_name("again.tar");
        save(daemon, &again, &[&reference]).args(both).run().succeeded();
        assert!(std::fs::read(&archive).unwrap() == std::fs::read(&again).unwrap());
    }

    fn by_its_digest_an_index_is_told_as_it_is(daemon) {
        let registry = FaultyRegistry::start();
        let (_, _, index) = image();
        let tagged = registry.add_new(&index);
        Pullctl::pull(daemon, &tagged).run().succeeded();
        let by_digest = format!("{}@{}", tagged.rsplit_once(':').unwrap().0, index.digest());
        let (_folder, archive) = new_file("images.tar");
        save(daemon, &archive, &[&by_digest]).run().succeeded();
        let namespace = unique("imported");
        daemon.ctr(&namespace, &["images", "import", archive.to_str().unwrap()]);
        let images = Store::new(daemon, &namespace).images();
        assert_eq!(images[&by_digest].target, index.digest());
    }
}

fn daemon() -> &'static Containerd {
    Containerd::shared(Version::V2_1)
}

#[test]
fn of_an_index_is_told_what_is_there() {
    let registry = FaultyRegistry::start();
    let (image, other, index) = image();
    let third = Recipe::new(vec![Layer::file("third", b"")]).platform("linux/riscv64").build();
    let index = Image::index(Family::Oci, vec![index.clone(), third]);
    let reference = registry.add_new(&index);
    let both = ["--platform", "linux/amd64", "--platform", "linux/s390x"];
    Pullctl::pull(daemon(), &reference).args(both).run().succeeded();
    let (_folder, archive) = new_file("images.tar");
    save(daemon(), &archive, &[&reference]).args(both).run().succeeded();
    let target = file(&archive, "index.json")["manifests"][0]["digest"].clone();
    let target: Digest = target.as_str().unwrap().parse().unwrap();
    let listed = file(&archive, &path(target));
    let digests: Vec<&Value> =
        listed["manifests"].as_array().unwrap().iter().map(|entry| &entry["digest"]).collect();
    assert_eq!(digests, [&other.digest(), &image.digest()]);
}

#[test]
fn a_platform_that_is_not_there_is_named_with_the_way_to_get_it() {
    let registry = FaultyRegistry::start();
    let (_, _, index) = image();
    let reference = registry.add_new(&index);
    Pullctl::pull(daemon(), &reference).run().succeeded();
    let (folder, archive) = new_file("images.tar");
    let refused = save(daemon(), &archive, &[&reference]).args(["--all-platforms"]).run();
    let advice =
        format!("pullctl -n {KUBERNETES} pull --no-unpack --platform linux/s390x {reference}");
    refused.ended_with(3).says("linux/s390x").says(&advice);
    assert_eq!(names_in(folder.path()), Vec::<String>::new());
    let bring = ["--no-unpack", "--platform", "linux/s390x"];
    Pullctl::pull(daemon(), &reference).args(bring).run().succeeded();
    save(daemon(), &archive, &[&reference]).args(["--all-platforms"]).run().succeeded();
}

#[test]
fn layers_that_were_let_go_of_are_noticed_before_anything_is_written() {
    let daemon = Containerd::private(Version::V2_1);
    let registry = FaultyRegistry::start();
    let (image, _, _) = image();
    let reference = registry.add_new(&image);
    Pullctl::pull(&daemon, &reference).run().succeeded();
    // As with `discard_unpacked_layers`: the snapshots are there.
    daemon.ctr("k8s.io", &["content", "rm", &image.layers()[1].digest.to_string()]);
    let (folder, archive) = new_file("images.tar");
    let refused = save(&daemon, &archive, &[&reference]).run();
    refused.ended_with(3).says("linux/amd64").says("--no-unpack");
    assert_eq!(names_in(folder.path()), Vec::<String>::new());
    let bring = ["--no-unpack", "--platform", "linux/amd64"];
    Pullctl::pull(&daemon, &reference).args(bring).run().succeeded();
    save(&daemon, &archive, &[&reference]).run().succeeded();
}

#[test]
fn the_same_images_give_the_same_bytes_and_share_their_blobs() {
    let registry = FaultyRegistry::start();
    let (image, _, _) = image();
    let top = Layer::file("top", unique("top").as_bytes());
    let base = Layer::pack(
        &Tree::new().file("base", &noise(&unique("base"), 2 << 20)).into_tar(),
        Packing::Gzip,
    );
    let on_base = Recipe::new(vec![base.clone(), top]).build();
    let base = Recipe::new(vec![base]).build();
    let references = [&image, &base, &on_base].map(|image| registry.add_new(image));
    let references = references.each_ref().map(String::as_str);
    for reference in references {
        Pullctl::pull(daemon(), reference).run().succeeded();
    }
    let (folder, archive) = new_file("1.tar");
    save(daemon(), &archive, &references).run().succeeded();
    let names = entries(&archive);
    let shared = path(base.layers()[0].digest);
    assert_eq!(names.iter().filter(|name| **name == shared).count(), 1);

    let same = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    save(daemon(), &folder.path().join("2.tar"), &references).run().succeeded();
    assert!(same("1.tar") == same("2.tar"), "a second time");
    // Over gRPC, from another place, by another way.
    let apart = Pullctl::blind_to(&daemon().root()).on(daemon()).args(["save", "-q", "-o"]);
    apart.args([folder.path().join("3.tar")]).args(references).run().succeeded();
    assert!(same("1.tar") == same("3.tar"), "over gRPC");
    let registries = Pullctl::new().args(["save", "--from", "registry", "--plain-http", "-o"]);
    registries.args([folder.path().join("4.tar")]).args(references).run().succeeded();
    assert!(same("1.tar") == same("4.tar"), "from registries");

    // Whoever may read the folder may read the file.
    let mode = std::os::unix::fs::PermissionsExt::mode(&archive.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o644);
    assert_eq!(names_in(folder.path()).len(), 4);
}

#[test]
fn packed_as_a_whole_it_is_the_same_archive() {
    let registry = FaultyRegistry::start();
    let reference = registry.add_new(&image().0);
    Pullctl::pull(daemon(), &reference).run().succeeded();
    let (folder, bare) = new_file("a.tar");
    save(daemon(), &bare, &[&reference]).run().succeeded();
    let bare = std::fs::read(bare).unwrap();
    for (name, flags, program) in [
        ("a.tar.gz", &[][..], "gzip"),
        ("a.tzst", &[], "zstd"),
        ("a.zstd", &["--compress", "zstd"], "zstd"),
        ("b.gzip", &["--compress", "gzip"], "gzip"),
    ] {
        let packed = folder.path().join(name);
        save(daemon(), &packed, &[&reference]).args(flags).run().succeeded();
        let mut unpack = Command::new(program);
        unpack.arg("-dc").stdin(std::fs::File::open(&packed).unwrap());
        assert!(unpack.output().unwrap().stdout == bare, "{name}");
        let again = folder.path().join("again");
        save(daemon(), &again, &[&reference]).args(["--compress", program]).run().succeeded();
        assert!(std::fs::read(again).unwrap() == std::fs::read(packed).unwrap(), "{name}");
    }
}
