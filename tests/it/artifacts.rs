//! Things in registries that are no container images: kept as they are, or refused with the tool's name.

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::support::cli::Pullctl;
use crate::support::containerd::Containerd;
use crate::support::each_version;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Blob, Family, Image, Layer, Recipe};
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::unique;

const HELM: &str = "application/vnd.cncf.helm.config.v1+json";
const CHART: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A chart as helm pushes it.
fn chart() -> Image {
    let config = br#"{"name":"app","version":"1.0.0"}"#;
    let name = unique("chart");
    let mut chart =
        Recipe::new(vec![Layer::file(&name, name.as_bytes())]).build().edit_manifest(|manifest| {
            manifest["config"] = json!({
                "mediaType": HELM, "digest": digest_of(config), "size": config.len(),
            });
            manifest["layers"][0]["mediaType"] = json!(CHART);
        });
    chart.blobs.push(Blob::new(HELM, config.to_vec()));
    chart
}

fn names(daemon: &Containerd, namespace: &str) -> Vec<String> {
    Store::new(daemon, namespace).images().into_keys().collect()
}

each_version! {
    fn a_chart_is_refused_with_the_name_of_its_tool_and_kept_where_nothing_is_unpacked(daemon) {
        let registry = Registry::start();
        let chart = chart();
        let reference = registry.push_new(&chart);
        let namespace = unique("chart");
        let pull = || Pullctl::pull(daemon, &reference).args(["-n", &namespace]);
        let outcome = pull().run().ended_with(7).says("a Helm chart").says(HELM);
        outcome.says("helm pull oci://").says("--no-unpack");
        assert_eq!(names(daemon, &namespace), [""; 0]);

        pull().args(["--no-unpack"]).run().succeeded();
        let name = reference.strip_suffix(":v1").unwrap();
        let expected = [reference.clone(), format!("{name}@{}", chart.digest())];
        assert_eq!(names(daemon, &namespace), expected);
        let content = Store::new(daemon, &namespace).content();
        for layer in chart.layers() {
            assert!(content.contains_key(&layer.digest.to_string()), "{}", layer.digest);
        }
    }

    fn what_has_another_type_and_diff_ids_is_unpacked_as_an_image_is(daemon) {
        let registry = Registry::start();
        let name = unique("volume");
        let mut volume = Recipe::new(vec![Layer::file(&name, name.as_bytes())]).build();
        let config = volume.config_digest();
        volume = volume.edit_manifest(|manifest| {
            manifest["artifactType"] = json!("application/vnd.example.volume");
            manifest["config"]["mediaType"] = json!("application/vnd.example.volume.v1+json");
        });
        let reference = registry.push_new(&volume);
        let namespace = unique("volume");
        Pullctl::pull(daemon, &reference).args(["-n", &namespace]).run().succeeded();
        assert!(names(daemon, &namespace).contains(&config));
        let snapshots = Store::new(daemon, &namespace).snapshots();
        assert!(snapshots.contains_key(&volume.chain_id()), "{snapshots:?}");
    }
}

#[test]
fn a_layout_keeps_a_chart_as_it_is() {
    let registry = Registry::start();
    let chart = chart();
    let reference = registry.push_new(&chart);
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("chart");
    let to = format!("oci:{}", layout.display());
    let outcome =
        Pullctl::new().args(["pull", "--plain-http", "--to", &to, &reference]).run().succeeded();
    assert!(!outcome.stderr.contains("warning"), "{}", outcome.stderr);
    let index = std::fs::read_to_string(layout.join("index.json")).unwrap();
    assert!(index.contains(&chart.digest()), "{index}");
    for blob in &chart.layers()[..1] {
        let path = layout.join("blobs/sha256").join(blob.digest.hex());
        assert_eq!(std::fs::read(path).unwrap(), blob.bytes);
    }
}

#[test]
fn what_descriptors_bring_along_is_not_asked_for() {
    use base64::Engine as _;
    let registry = FaultyRegistry::start();
    let name = unique("embedded");
    let image = Recipe::new(vec![Layer::file(&name, name.as_bytes())]).build();
    let layer = image.layers()[0].clone();
    let data = base64::engine::general_purpose::STANDARD.encode(&layer.bytes);
    let embedded = image.edit_manifest(|manifest| manifest["layers"][0]["data"] = json!(data));
    let wrong = embedded.clone().edit_manifest(|manifest| {
        manifest["layers"][0]["data"] = json!(data.replacen('H', "I", 1));
    });
    for (image, requests) in [(embedded, 0), (wrong, 1)] {
        registry.forget_requests();
        let reference = registry.add_new(&image);
        let folder = tempfile::tempdir().unwrap();
        let to = format!("oci:{}", folder.path().join("image").display());
        Pullctl::new().args(["pull", "--plain-http", "--to", &to, &reference]).run().succeeded();
        let asked = registry.requests_for(&layer.digest.to_string());
        assert_eq!(asked.len(), requests, "{asked:?}");
        let path = folder.path().join("image/blobs/sha256").join(layer.digest.hex());
        assert_eq!(std::fs::read(path).unwrap(), layer.bytes);
    }
}

#[test]
fn documents_that_descriptors_bring_along_are_not_asked_for_nor_believed_when_they_lie() {
    use base64::Engine as _;
    let encoded = |blob: &Blob| base64::engine::general_purpose::STANDARD.encode(&blob.bytes);
    let registry = FaultyRegistry::start();
    for (lies, asked) in [(false, [0, 0]), (true, [1, 1])] {
        let name = unique("embedded");
        let image = Recipe::new(vec![Layer::file(&name, name.as_bytes())]).build();
        // Of the same length, and other bytes.
        let told = |data: String| if lies { data.replacen('e', "f", 1) } else { data };
        let id = image.config_digest();
        let config = image.blobs.iter().find(|blob| blob.digest.to_string() == id).unwrap();
        let data = told(encoded(config));
        let image = image.edit_manifest(|manifest| manifest["config"]["data"] = json!(data));
        let mut entry = image.entry();
        entry["data"] = json!(told(encoded(&image.root)));
        let documents = [image.digest(), image.config_digest()];
        let index = Image::index_of(Family::Oci, vec![entry], vec![image]);
        let reference = registry.add_new(&index);
        let folder = tempfile::tempdir().unwrap();
        let to = format!("oci:{}", folder.path().join("image").display());
        for command in [["pull", "--to", &to], ["lock", "-o", "-"]] {
            registry.forget_requests();
            Pullctl::new().args(command).args(["--plain-http", &reference]).run().succeeded();
            let requests = documents.each_ref().map(|it| registry.requests_for(it).len());
            assert_eq!(requests, asked, "{command:?}: {:#?}", registry.requests());
        }
    }
}
