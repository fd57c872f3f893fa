//! Images saved from containerd: what other tools make of the archive.

use std::path::Path;
use std::process::Command;

use pullctl::oci::Digest;
use serde_json::Value;

use crate::support::cli::Pullctl;
use crate::support::containerd::Containerd;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Family, Image, Layer, Recipe};
use crate::support::store::Store;
use crate::support::{each_version, unique};

fn save(daemon: &Containerd, archive: &Path, references: &[&str]) -> Pullctl {
    Pullctl::new().on(daemon).args(["save", "-o"]).args([archive]).args(references)
}

/// What `program` says, which must succeed.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn path(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Names of the archive's entries, in order.
fn entries(archive: &Path) -> Vec<String> {
    let listed = run("tar", &["-tf", archive.to_str().unwrap()]);
    listed.lines().map(str::to_owned).collect()
}

/// A file of the archive.
fn file(archive: &Path, name: &str) -> Value {
    let text = run("tar", &["-xOf", archive.to_str().unwrap(), name]);
    serde_json::from_str(&text).unwrap()
}

/// An image of two layers, in an index with another platform's, of which nothing is pulled.
fn image() -> (Image, Image) {
    let name = unique("saved");
    let layers = vec![Layer::file(&name, name.as_bytes()), Layer::noise(&name, 3 << 20)];
    let image = Recipe::new(layers).build();
    let other = Recipe::new(vec![Layer::file("other", name.as_bytes())]);
    let other = other.platform("linux/s390x").build();
    let index = Image::index(Family::Oci, vec![other, image.clone()]);
    (image, index)
}

each_version! {
    fn what_is_saved_is_imported_by_ctr(daemon) {
        let registry = FaultyRegistry::start();
        let (image, index) = image();
        let reference = registry.add_new(&index);
        Pullctl::pull(daemon, &reference).run().succeeded();
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("images.tar");
        let saved = save(daemon, &archive, &[&reference]).run().succeeded();
        assert!(saved.stdout.contains(&reference), "{}", saved.stdout);
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
}
