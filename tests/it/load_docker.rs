//! `pullctl load` of docker's archives: as docker of old and of late writes them, skopeo, and builders.

use serde_json::{Value, json};

use crate::support::archive::{Archive, run, text};
use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::cri::Cri;
use crate::support::image::{Image, Layer, Packing, Recipe};
use crate::support::left::Left;
use crate::support::store::Store;
use crate::support::tree::{curious, curious_above};
use crate::support::{each_version, unique};

/// An image whose layers are uncompressed, as in docker's archives.
fn image() -> Image {
    let own = curious().file(&unique("own"), b"").ballast("ballast");
    let layers = [own, curious_above().ballast("more")]
        .map(|tree| Layer::pack(&tree.into_tar(), Packing::Plain));
    let large = Layer::noise(&unique("large"), 5 << 20);
    Recipe::new([layers.to_vec(), vec![large]].concat()).build()
}

fn manifest(config: &str, tags: Value, layers: &[String]) -> Vec<u8> {
    json!([{ "Config": config, "RepoTags": tags, "Layers": layers }]).to_string().into_bytes()
}

/// As docker before 25: a directory a layer, by an ID that is no digest; the second of two equal layers
/// is a link; `repositories` at the end.
fn old_docker(image: &Image, name: &str) -> Vec<u8> {
    let config = &image.blobs[0];
    let config_name = format!("{}.json", config.digest.hex());
    let (repository, tag) = name.rsplit_once(':').unwrap();
    let mut archive = Archive::new();
    let mut layers = Vec::new();
    for (number, layer) in image.layers().iter().enumerate() {
        let folder = unique("layer");
        let path = format!("{folder}/layer.tar");
        archive = archive.file(&format!("{folder}/VERSION"), b"1.0");
        archive = archive.file(&format!("{folder}/json"), b"{\"id\":\"v1\"}");
        let same = image.layers()[..number].iter().position(|other| other.digest == layer.digest);
        archive = match same {
            Some(same) => archive.link(&path, &format!("../{}", layers[same])),
            None => archive.file(&path, &layer.bytes),
        };
        layers.push(path);
    }
    archive
        .file(&config_name, &config.bytes)
        .file("manifest.json", &manifest(&config_name, json!([name]), &layers))
        .file("repositories", json!({ repository: { tag: "v1" } }).to_string().as_bytes())
        .build()
}

fn load(daemon: &Containerd, namespace: &str) -> Pullctl {
    Pullctl::new().on(daemon).args(["-n", namespace, "load"])
}

/// What `archive` becomes, from a file and as it comes by, equals what `ctr images import` makes of it.
fn is_as_imported(daemon: &Containerd, archive: &[u8], name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive.tar");
    std::fs::write(&path, archive).unwrap();
    let [file, stream, imported] = ["file", "stream", "imported"].map(unique);
    load(daemon, &file).args(["-i", text(&path)]).run().succeeded();
    load(daemon, &stream).input(archive).run().succeeded();
    daemon.ctr(&imported, &["images", "import", text(&path)]);
    let [file, stream, imported] = [file, stream, imported].map(|namespace| {
        let store = Store::new(daemon, &namespace);
        (store.images()[name].target.clone(), Left::in_namespace(&store))
    });
    for (how, (target, left)) in [("file", &file), ("stream", &stream)] {
        assert_eq!(target, &imported.0, "{how}");
        // ctr keeps every file of the archive for a while, and notes nothing of where a layer came from.
        let theirs = &imported.1.content;
        assert!(left.content.keys().all(|digest| theirs.contains_key(digest)), "{how}");
    }
    file.1.assert_same(&stream.1, "file and stream");
    let snapshots = |left: Left| Left { content: Default::default(), ..left };
    snapshots(file.1).assert_same(&snapshots(imported.1), "ours and ctr's");
}

each_version! {
    fn archives_of_an_old_docker_are_loaded_as_ctr_imports_them(daemon) {
        let mut layers = ["one", "two"].map(|name| Layer::noise(&unique(name), 3 << 20)).to_vec();
        layers.push(layers[0].clone());
        let own = curious().file(&unique("own"), b"").ballast("ballast");
        layers.push(Layer::pack(&own.into_tar(), Packing::Plain));
        let image = Recipe::new(layers).build();
        let name = format!("quay.io/test/{}:v1", unique("old"));
        is_as_imported(daemon, &old_docker(&image, &name), &name);
    }

    fn archives_of_skopeo_are_loaded_as_ctr_imports_them(daemon) {
        let folder = tempfile::tempdir().unwrap();
        let layout = folder.path().join("layout.tar");
        let archive = folder.path().join("docker.tar");
        let name = format!("quay.io/test/{}:v1", unique("skopeo"));
        std::fs::write(&layout, Archive::oci(&[(&image(), "")]).build()).unwrap();
        let [from, to] = [
            format!("oci-archive:{}", layout.display()),
            format!("docker-archive:{}:{name}", archive.display()),
        ];
        run("skopeo", &["copy", &from, &to]);
        is_as_imported(daemon, &std::fs::read(&archive).unwrap(), &name);
    }

    fn the_kubelet_finds_an_image_of_dockers_form(daemon) {
        let image = image();
        let short = unique("short");
        let archive = old_docker(&image, &format!("{short}:1.35"));
        let outcome = load(daemon, KUBERNETES).args(["--pin"]).input(archive).run().succeeded();
        let name = format!("docker.io/library/{short}:1.35");
        assert!(outcome.stdout.starts_with(&name), "{outcome:?}");
        let seen = Cri::new(daemon).image_soon(&name);
        assert_eq!(seen.id, image.config_digest());
        assert!(Store::new(daemon, KUBERNETES).snapshots()[&image.chain_id()].committed);
    }
}

fn daemon() -> &'static Containerd {
    Containerd::shared(Version::V2_1)
}

/// Loads `archive` from a file and as it comes by.
fn loaded(archive: &[u8]) -> [(Outcome, Store<'static>); 2] {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive.tar");
    std::fs::write(&path, archive).unwrap();
    let [file, stream] = ["file", "stream"].map(unique);
    let from_file = load(daemon(), &file).args(["-i", text(&path)]).run();
    let from_stream = load(daemon(), &stream).input(archive).run();
    [(from_file, Store::new(daemon(), &file)), (from_stream, Store::new(daemon(), &stream))]
}

#[test]
fn layers_that_builders_have_packed_stay_packed() {
    let layers = [Packing::Gzip, Packing::Zstd, Packing::Plain]
        .map(|packing| Layer::pack(&curious().ballast(&unique("packed")).into_tar(), packing));
    let image = Recipe::new(layers.to_vec()).build();
    let config = &image.blobs[0];
    let config_name = config.digest.to_string();
    let mut archive = Archive::new().file(&config_name, &config.bytes);
    let mut names = Vec::new();
    for layer in image.layers() {
        let name = format!("{}.tar.gz", layer.digest.hex());
        archive = archive.file(&name, &layer.bytes);
        names.push(name);
    }
    let tags = json!(["quay.io/packed:1", "quay.io/packed:2"]);
    let archive = archive.file("manifest.json", &manifest(&config_name, tags, &names)).build();
    let targets = loaded(&archive).map(|(outcome, store)| {
        outcome.succeeded();
        let (images, content) = (store.images(), store.content());
        assert_eq!(images["quay.io/packed:1"], images["quay.io/packed:2"]);
        for layer in image.layers() {
            assert!(content.contains_key(&layer.digest.to_string()));
        }
        assert!(store.snapshots()[&image.chain_id()].committed);
        images["quay.io/packed:1"].target.clone()
    });
    assert_eq!(targets[0], targets[1]);
}

#[test]
fn an_image_without_a_tag_gets_its_digest() {
    let image = image();
    let config = &image.blobs[0];
    let mut archive = Archive::new().file("config.json", &config.bytes);
    let mut names = Vec::new();
    for (number, layer) in image.layers().iter().enumerate() {
        let name = format!("{number}/layer.tar");
        archive = archive.file(&name, &layer.bytes);
        names.push(name);
    }
    let archive =
        archive.file("manifest.json", &manifest("config.json", Value::Null, &names)).build();
    for (outcome, store) in loaded(&archive) {
        outcome.succeeded().says("--as");
        assert_eq!(store.images().keys().collect::<Vec<_>>(), [&image.config_digest()]);
    }
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let image = image();
    let config = &image.blobs[0];
    let layers: Vec<_> =
        (0..image.layers().len()).map(|number| format!("{number}/layer.tar")).collect();
    let with_layers = |archive: Archive| {
        image
            .layers()
            .iter()
            .zip(&layers)
            .fold(archive, |archive, (layer, name)| archive.file(name, &layer.bytes))
    };
    let manifest = |config: &str, layers: &[String]| manifest(config, json!(["a:1"]), layers);
    let lies = format!("{}.json", image.root.digest.hex());
    let swapped: Vec<_> = layers.iter().rev().cloned().collect();
    for (case, archive, code, says) in [
        (
            "a layer is missing",
            Archive::new()
                .file("c.json", &config.bytes)
                .file("manifest.json", &manifest("c.json", &layers)),
            3,
            "0/layer.tar",
        ),
        (
            "the configuration is missing",
            with_layers(Archive::new()).file("manifest.json", &manifest("c.json", &layers)),
            3,
            "c.json",
        ),
        (
            "the configuration is another one",
            with_layers(Archive::new())
                .file(&lies, &config.bytes)
                .file("manifest.json", &manifest(&lies, &layers)),
            7,
            "is said to be",
        ),
        (
            "fewer layers than diff IDs",
            with_layers(Archive::new())
                .file("c.json", &config.bytes)
                .file("manifest.json", &manifest("c.json", &layers[1..])),
            7,
            "diff IDs",
        ),
        (
            "layers in another order",
            with_layers(Archive::new())
                .file("c.json", &config.bytes)
                .file("manifest.json", &manifest("c.json", &swapped)),
            7,
            "",
        ),
        (
            "a layer that leads out",
            Archive::new()
                .link("x/layer.tar", "../../../etc/passwd")
                .file("c.json", &config.bytes)
                .file(
                    "manifest.json",
                    &manifest("c.json", &vec!["x/layer.tar".to_owned(); layers.len()]),
                ),
            7,
            "leads out",
        ),
        (
            "the form before docker 1.10",
            with_layers(Archive::new()).file("repositories", br#"{"a":{"1":"x"}}"#),
            2,
            "docker before 1.10",
        ),
    ] {
        for (outcome, store) in loaded(&archive.build()) {
            assert_eq!(outcome.code, Some(code), "{case}: {}", outcome.stderr);
            outcome.says(says).says("hint: ");
            assert!(store.images().is_empty(), "{case}");
        }
    }
}
