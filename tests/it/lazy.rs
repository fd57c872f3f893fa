//! Snapshotters that fetch layers by themselves: they are told where from, and what they have is
//! neither fetched nor unpacked.

use std::collections::BTreeMap;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::cri::Cri;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Image, Layer, Packing, Recipe, noise};
use crate::support::pod::Pod;
use crate::support::soci::{HIDDEN, REGISTRY, SANDBOX, Soci};
use crate::support::store::Store;
use crate::support::tree::Tree;
use crate::support::{each_version, unique};

/// Bytes of the file `data`; few enough for a layer that is fetched by one request.
const SIZE: usize = 1 << 20;

/// A label that SOCI gives to the snapshots whose files it mounts.
const MOUNTED: (&str, &str) = ("containerd.io/snapshot/remote", "remote snapshot");

const SINCE_2_3: [&str; 2] =
    ["containerd.io/snapshot/diff-id", "containerd.io/snapshot/parent-chain-id"];

/// Content of the file `data`.
fn data(seed: &str) -> Vec<u8> {
    noise(seed, SIZE)
}

fn large_layer(seed: &str) -> Layer {
    let tar = Tree::new().file("data", &data(seed)).into_tar();
    Layer::pack(&tar, Packing::Gzip)
}

/// Three layers; the one in the middle has the file `data`.
fn image(seed: &str) -> Image {
    let above = Layer::file(&unique("above"), b"above");
    Recipe::new(vec![Layer::busybox(), large_layer(seed), above]).build()
}

/// Labels of the snapshots of `image` by chain ID, as containerd's own clients give them when they
/// pull it as `reference`.
fn labels(image: &Image, reference: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let digests: Vec<_> = image.layers().iter().map(|layer| layer.digest.to_string()).collect();
    let chain_ids = image.chain_ids().into_iter().enumerate();
    chain_ids
        .map(|(position, chain_id)| {
            let labels = [
                ("containerd.io/snapshot.ref", chain_id.clone()),
                ("containerd.io/snapshot/cri.image-ref", reference.to_owned()),
                ("containerd.io/snapshot/cri.manifest-digest", image.digest()),
                ("containerd.io/snapshot/cri.layer-digest", digests[position].clone()),
                ("containerd.io/snapshot/cri.image-layers", digests[position..].join(",")),
            ];
            (chain_id, labels.map(|(key, value)| (key.to_owned(), value)).into())
        })
        .collect()
}

/// The same, for snapshots that SOCI mounts.
fn labels_when_mounted(
    image: &Image,
    reference: &str,
) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut labels = labels(image, reference);
    for labels in labels.values_mut() {
        labels.extend([(MOUNTED.0.to_owned(), MOUNTED.1.to_owned())]);
    }
    labels
}

/// Labels of the snapshots that there are, all of which are committed. Those that containerd 2.3 has
/// more than the others are left to [`super::snapshots`].
fn committed(store: &Store<'_>) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut snapshots = store.snapshots();
    assert!(snapshots.values().all(|snapshot| snapshot.committed), "{snapshots:#?}");
    for snapshot in snapshots.values_mut() {
        snapshot.labels.retain(|key, _| !SINCE_2_3.contains(&key.as_str()));
    }
    snapshots.into_iter().map(|(chain_id, snapshot)| (chain_id, snapshot.labels)).collect()
}

/// Which of the image's layers are stored, base first.
fn stored_layers(store: &Store<'_>, image: &Image) -> Vec<bool> {
    let content = store.content();
    image.layers().iter().map(|layer| content.contains_key(&layer.digest.to_string())).collect()
}

/// Requests for layers of `image`.
fn for_layers(requests: &[String], image: &Image) -> Vec<String> {
    let is_for_a_layer = |request: &&String| {
        image.layers().iter().any(|layer| request.ends_with(&layer.digest.to_string()))
    };
    requests.iter().filter(is_for_a_layer).cloned().collect()
}

/// The states through which the blobs of a pull with `--progress json` went.
fn states(outcome: &Outcome) -> Vec<String> {
    let blobs = outcome.events().into_iter().filter(|event| event["event"] == "blob");
    blobs.map(|event| event["state"].as_str().unwrap().to_owned()).collect()
}

each_version! {
    fn layers_that_the_snapshotter_has_are_neither_fetched_nor_unpacked(helper) {
        let soci = Soci::shared(helper.version());
        let seed = unique("seed");
        let image = image(&seed);
        let pushed = soci.push_indexed(&image, helper);
        let reference = format!("{REGISTRY}/{pushed}");
        let namespace = unique("lazily");
        let before = soci.requests_by_pullctl(&pushed).len();
        let flags = ["-n", &namespace, "--snapshotter", "soci", "--progress", "json"];
        let outcome = soci.pull(&reference).args(flags).run().succeeded();

        assert_eq!(states(&outcome), ["exists"; 3], "{outcome:?}");
        let requests = &soci.requests_by_pullctl(&pushed)[before..];
        assert!(!requests.is_empty());
        assert_eq!(for_layers(requests, &image), [""; 0]);
        let store = soci.store(&namespace);
        assert_eq!(stored_layers(&store, &image), [false; 3]);
        let labels = labels_when_mounted(&image, &reference);
        assert_eq!(committed(&store), labels);
        store.with_mounted(&image.chain_id(), |root| {
            assert!(std::fs::read(root.join("data")).unwrap() == data(&seed), "data differs");
            assert_eq!(std::fs::read_link(root.join("bin/sh")).unwrap().to_str(), Some("busybox"));
        });
        assert_ne!(for_layers(&soci.requests_by_others(&pushed), &image), [""; 0]);

        // The kubelet's own pull leaves the same.
        Cri::new(&soci.daemon).pull(&reference);
        let mut by_cri = committed(&soci.store(KUBERNETES));
        by_cri.retain(|chain_id, _| labels.contains_key(chain_id));
        assert_eq!(by_cri, labels);
    }

    fn under_another_name_the_snapshotter_is_told_where_the_layers_are(helper) {
        let soci = Soci::shared(helper.version());
        let image = image(&unique("seed"));
        let pushed = soci.push_indexed(&image, helper);
        let reference = format!("{REGISTRY}/{pushed}");
        let (namespace, name) = (unique("renamed"), unique("nowhere.example/app:v"));
        let flags = ["--as", &name, "-n", &namespace, "--snapshotter", "soci"];
        let outcome = soci.pull(&reference).args(flags).args(["--progress", "json"]).run();

        assert_eq!(states(&outcome.succeeded()), ["exists"; 3]);
        let store = soci.store(&namespace);
        assert_eq!(committed(&store), labels_when_mounted(&image, &reference));
        assert!(store.images().contains_key(&name));
    }

    fn a_pod_runs_from_layers_that_nobody_has_fetched(helper) {
        let soci = Soci::shared(helper.version());
        let seed = unique("seed");
        let (sandbox, image) = (Recipe::new(vec![Layer::busybox()]), image(&seed));
        let sandbox = sandbox.config("config", serde_json::json!({ "Cmd": ["/bin/sleep", "100000"] }));
        let (repository, tag) = SANDBOX.split_once(':').unwrap();
        soci.registry.push(&sandbox.build(), repository, tag);
        let references = [SANDBOX.to_owned(), soci.push_indexed(&image, helper)]
            .map(|pushed| format!("{REGISTRY}/{pushed}"));
        // The snapshotter is the CRI's.
        soci.pull(&references[0]).args([&references[1]]).run().succeeded();
        assert_eq!(stored_layers(&soci.store(KUBERNETES), &image), [false; 3]);

        let cri = Cri::new(&soci.daemon);
        cri.image_soon(&references[0]);
        let found = cri.image_soon(&references[1]);
        assert_eq!(found.id, image.config_digest());
        let pod = Pod::run(&soci.daemon);
        let said = pod.output_of(&found.id, &["/bin/sha256sum", "/data"]);
        let digest = pullctl::oci::Digest::of(&data(&seed));
        assert_eq!(said, format!("{}  /data", digest.hex()));
    }

    fn layers_that_the_snapshotter_can_not_get_are_fetched_and_unpacked_into_it(helper) {
        let soci = Soci::shared(helper.version());
        // In the first it finds no index, the second it does not reach.
        for name in [REGISTRY, HIDDEN] {
            let seed = unique("seed");
            let image = image(&seed);
            let pushed = soci.push(&image);
            let reference = format!("{name}/{pushed}");
            let namespace = unique("fetched");
            let flags = ["-n", &namespace, "--snapshotter", "soci"];
            soci.pull(&reference).args(flags).run().succeeded();

            let mut requests = for_layers(&soci.requests_by_pullctl(&pushed), &image);
            requests.sort_unstable();
            let expected = image.layers().iter().map(|layer| format!("GET blobs/{}", layer.digest));
            let mut expected: Vec<_> = expected.collect();
            expected.sort_unstable();
            assert_eq!(requests, expected, "{name}");
            let store = soci.store(&namespace);
            assert_eq!(stored_layers(&store, &image), [true; 3], "{name}");
            assert_eq!(committed(&store), labels(&image, &reference), "{name}");
            store.with_mounted(&image.chain_id(), |root| {
                let found = std::fs::read(root.join("data")).unwrap();
                assert!(found == data(&seed), "{name}: data differs");
            });
        }
    }

    fn only_layers_above_those_that_the_snapshotter_has_are_fetched(helper) {
        let soci = Soci::shared(helper.version());
        let layers = vec![Layer::busybox(), large_layer(&unique("seed"))];
        let known = Recipe::new(layers.clone()).build();
        let own = Layer::file(&unique("own"), b"own");
        let image = Recipe::new([layers, vec![own]].concat()).build();
        let (below, pushed) = (soci.push_indexed(&known, helper), soci.push(&image));
        let (below, reference) = (format!("{REGISTRY}/{below}"), format!("{HIDDEN}/{pushed}"));
        let namespace = unique("above");
        let flags = ["-n", &namespace, "--snapshotter", "soci"];
        for reference in [&below, &reference] {
            soci.pull(reference).args(flags).run().succeeded();
        }

        let requests = for_layers(&soci.requests_by_pullctl(&pushed), &image);
        assert_eq!(requests, [format!("GET blobs/{}", image.layers()[2].digest)]);
        let store = soci.store(&namespace);
        assert_eq!(stored_layers(&store, &image), [false, false, true]);
        let mut expected = labels(&image, &reference);
        expected.extend(labels_when_mounted(&known, &below));
        assert_eq!(committed(&store), expected);
    }

    fn a_layer_that_images_of_a_run_share_is_asked_for_once(helper) {
        let soci = Soci::shared(helper.version());
        let image = image(&unique("seed"));
        let pushed = soci.push(&image);
        let (repository, _) = pushed.split_once(':').unwrap();
        let tags = ["v2", "v3", "v4", "v5", "v6"];
        for tag in tags {
            soci.registry.push(&image, repository, tag);
        }
        let namespace = unique("shared");
        let flags = ["-n", &namespace, "--snapshotter", "soci"];
        let references = tags.map(|tag| format!("{HIDDEN}/{repository}:{tag}"));
        soci.pull(&format!("{HIDDEN}/{pushed}")).args(references).args(flags).run().succeeded();
        assert_eq!(committed(&soci.store(&namespace)).len(), 3);
        let asked: Vec<_> = image.layers().iter().map(|layer| soci.vain_requests(layer)).collect();
        assert_eq!(asked, [1; 3]);
        let requests = for_layers(&soci.requests_by_pullctl(&pushed), &image);
        assert_eq!(requests.len(), 3, "{requests:?}");
    }

    fn a_repeated_lazy_pull_asks_for_the_manifest_and_changes_nothing(helper) {
        let soci = Soci::shared(helper.version());
        let image = image(&unique("seed"));
        let pushed = soci.push_indexed(&image, helper);
        let reference = format!("{REGISTRY}/{pushed}");
        let namespace = unique("again");
        let flags = ["-n", &namespace, "--snapshotter", "soci"];
        soci.pull(&reference).args(flags).run().succeeded();
        let store = soci.store(&namespace);
        let (times, requests) = (store.times(), soci.requests_by_pullctl(&pushed).len());
        soci.pull(&reference).args(flags).run().succeeded();
        assert_eq!(soci.requests_by_pullctl(&pushed)[requests..], ["HEAD manifests/v1"]);
        assert_eq!(store.times(), times);
        assert!(store.leases().is_empty());

        let command = |arguments: &[&str]| {
            let on = Pullctl::new().on(&soci.daemon).args(arguments).args(["-n", &namespace]);
            on.run().succeeded().stdout
        };
        assert!(command(&["images"]).contains(&reference));
        assert!(command(&["rm", &reference]).contains(&reference));
        assert!(store.images().is_empty());
    }

    fn a_snapshotter_is_asked_for_nothing_when_nothing_is_unpacked(helper) {
        let soci = Soci::shared(helper.version());
        let image = image(&unique("seed"));
        let pushed = soci.push_indexed(&image, helper);
        let namespace = unique("stored");
        let flags = ["-n", &namespace, "--snapshotter", "soci", "--no-unpack"];
        soci.pull(&format!("{REGISTRY}/{pushed}")).args(flags).run().succeeded();
        let store = soci.store(&namespace);
        assert_eq!(stored_layers(&store, &image), [true; 3]);
        assert!(store.snapshots().is_empty());
    }
}

#[test]
fn no_layer_is_fetched_for_a_snapshotter_that_is_not_there() {
    let proxied = "[proxy_plugins.gone]\ntype = 'snapshot'\naddress = '/nonexistent/socket'\n";
    for version in Version::ALL {
        let daemon = &Containerd::configured(version, proxied);
        let registry = FaultyRegistry::start();
        let image = Image::small();
        let reference = registry.add_new(&image);
        let pull = Pullctl::pull(daemon, &reference).args(["--snapshotter", "gone"]);
        pull.run().ended_with(9).says("/nonexistent/socket");
        assert_eq!(registry.requests_for(&image.layers()[0].digest.to_string()), []);
    }
}
