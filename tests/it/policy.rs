//! Images that are there: pulled never, or when something of them is missing.

use std::collections::BTreeMap;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::cri::Cri;
use crate::support::faulty::{Fault, FaultyRegistry, Gate};
use crate::support::image::{Family, Image, Layer, Recipe};
use crate::support::store::{ImageRecord, Store};
use crate::support::{each_version, unique};

/// How many images a list has, as kubeadm's and an application's together.
const MANY: usize = 50;

fn pull(daemon: &Containerd, namespace: &str, reference: &str, more: &[&str]) -> Outcome {
    let pull = Pullctl::pull(daemon, reference).args(["-n", namespace]);
    pull.args(more).run()
}

fn finished(outcome: &Outcome) -> Vec<serde_json::Value> {
    outcome.events().into_iter().filter(|event| event["event"] == "finished").collect()
}

/// A registry with one image of two layers, which was pulled into a namespace of its own.
struct Scene {
    registry: FaultyRegistry,
    namespace: String,
    image: Image,
    reference: String,
}

impl Scene {
    fn pulled(daemon: &Containerd, flags: &[&str]) -> Self {
        let registry = FaultyRegistry::start();
        let layers = ["lower", "upper"].map(|name| Layer::file(&unique(name), b"policy"));
        let foreign = Recipe::new(vec![Layer::file(&unique("foreign"), b"other")]);
        let image = Recipe::new(layers.to_vec()).build();
        let index =
            Image::index(Family::Oci, vec![foreign.platform("linux/s390x").build(), image.clone()]);
        let reference = registry.add_new(&index);
        let scene = Self { registry, namespace: unique("policy"), image, reference };
        scene.pull(daemon, flags).succeeded();
        scene.registry.forget_requests();
        scene
    }

    fn pull(&self, daemon: &Containerd, flags: &[&str]) -> Outcome {
        pull(daemon, &self.namespace, &self.reference, flags)
    }

    fn store<'a>(&self, daemon: &'a Containerd) -> Store<'a> {
        Store::new(daemon, &self.namespace)
    }

    fn images(&self, daemon: &Containerd) -> BTreeMap<String, ImageRecord> {
        self.store(daemon).images()
    }

    /// Has the daemon collect its garbage now, and not while something is pulled.
    fn settle(&self, daemon: &Containerd) {
        let name = unique("settled");
        daemon.ctr(&self.namespace, &["images", "tag", &self.reference, &name]);
        daemon.ctr(&self.namespace, &["images", "rm", "--sync", &name]);
    }

    /// Whether the image is all there: `never` says what is missing, `missing` asks nobody.
    fn is_complete(&self, daemon: &Containerd) {
        self.registry.forget_requests();
        self.pull(daemon, &["--policy", "never"]).succeeded();
        self.pull(daemon, &["--policy", "missing"]).succeeded();
        assert_eq!(self.registry.requests(), []);
    }
}

each_version! {
    fn a_list_of_images_that_are_there_is_asked_of_nobody(daemon) {
        let registry = FaultyRegistry::start();
        let references: Vec<String> =
            (0..MANY).map(|_| registry.add_new(&Image::small())).collect();
        let list = references.join("\n");
        let all = |flags: &[&str]| {
            let flags = [&["pull", "--plain-http", "-f", "-", "--progress", "json"], flags].concat();
            Pullctl::new().on(daemon).args(flags).input(list.clone()).run().succeeded()
        };
        all(&[]);
        registry.forget_requests();
        let before = Store::new(daemon, KUBERNETES).times();
        let outcome = all(&["--policy", "missing"]);
        assert_eq!(registry.requests(), []);
        let finished = finished(&outcome);
        assert_eq!(finished.len(), MANY);
        for report in finished {
            assert_eq!(report["fetched_bytes"], 0, "{report}");
            assert!(report["reused_bytes"].as_u64().unwrap() > 0, "{report}");
            assert_eq!(report["kubelet"]["seen"], true, "{report}");
        }
        let after = Store::new(daemon, KUBERNETES).times();
        let ours = |name: &&String| references.iter().any(|reference| name.contains(reference));
        for name in before.keys().filter(ours) {
            assert_eq!(before[name], after[name], "{name}");
        }
        all(&["--policy", "never"]);
        assert_eq!(registry.requests(), []);
    }

    fn what_is_missing_of_an_image_is_named_or_pulled(daemon) {
        let scene = Scene::pulled(daemon, &[]);
        scene.is_complete(daemon);
        let never = || scene.pull(daemon, &["--policy", "never"]).ended_with(3);

        // A name is put back without the registry.
        let id = scene.image.config_digest();
        daemon.ctr(&scene.namespace, &["images", "rm", "--sync", &id]);
        never().says(&format!("the name {id}")).says("pullctl pull --policy missing");
        assert!(!scene.images(daemon).contains_key(&id), "never writes nothing");
        scene.pull(daemon, &["--policy", "missing"]).succeeded();
        assert!(scene.images(daemon).contains_key(&id));
        assert_eq!(scene.registry.requests(), []);

        // An unpacked layer is not.
        for chain_id in scene.image.chain_ids().iter().rev() {
            // Without the one above it, a garbage collection may be quicker.
            daemon.try_ctr(&scene.namespace, &["snapshots", "rm", chain_id]);
        }
        scene.settle(daemon);
        assert!(scene.store(daemon).snapshots().is_empty());
        never().says("the unpacked layers for linux/amd64");
        scene.pull(daemon, &["--policy", "missing"]).succeeded();
        assert!(scene.store(daemon).snapshots()[&scene.image.chain_id()].committed);

        // The snapshots stand for their blobs, not for the manifest.
        let [layer, manifest] = [scene.image.layers()[0].digest.to_string(), scene.image.digest()];
        daemon.ctr(&scene.namespace, &["content", "rm", &layer]);
        scene.settle(daemon);
        scene.is_complete(daemon);
        daemon.ctr(&scene.namespace, &["content", "rm", &manifest]);
        scene.settle(daemon);
        never().says("the platform linux/amd64");
        scene.pull(daemon, &["--policy", "missing"]).succeeded();
        assert!(!scene.registry.requests_for("/manifests/").is_empty());
        scene.is_complete(daemon);
    }

    fn without_unpacking_every_blob_counts(daemon) {
        let scene = Scene::pulled(daemon, &["--no-unpack"]);
        let never = ["--policy", "never", "--no-unpack"];
        scene.pull(daemon, &never).succeeded();
        scene.pull(daemon, &never[..2]).ended_with(3).says("the unpacked layers for linux/amd64");
        let layer = scene.image.layers()[1].digest.to_string();
        daemon.ctr(&scene.namespace, &["content", "rm", &layer]);
        scene.pull(daemon, &never).ended_with(3).says(&format!("the blob {layer}"));
        assert_eq!(scene.registry.requests(), []);
    }

    fn a_pin_that_is_wanted_is_put_where_it_is_missing(daemon) {
        let scene = Scene::pulled(daemon, &[]);
        let pin = ["--policy", "missing", "--pin", "--label", "team=shop"];
        let never = ["--policy", "never", "--pin"];
        scene.pull(daemon, &never).ended_with(3).says(&format!("the pin of {}", scene.reference));
        scene.pull(daemon, &pin).succeeded();
        scene.pull(daemon, &never).succeeded();
        assert_eq!(scene.registry.requests(), []);
        for (name, record) in scene.images(daemon) {
            assert_eq!(record.labels["io.cri-containerd.pinned"], "pinned", "{name}");
            assert_eq!(record.labels["team"], "shop", "{name}");
        }
    }

    fn an_image_that_nobody_pulled_is_not_there(daemon) {
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&Image::small());
        let outcome = pull(daemon, KUBERNETES, &reference, &["--policy", "never"]).ended_with(3);
        outcome.says(&format!("{reference} is not all there")).says(&format!("the name {reference}"));
        assert_eq!(registry.requests(), []);
        pull(daemon, KUBERNETES, &reference, &["--policy", "missing"]).succeeded();
        // A tag that has moved on since counts as there: that is what the policy is for.
        let (repository, _) = reference.split_once('/').unwrap().1.rsplit_once(':').unwrap();
        registry.add(&Image::small(), repository, "v1");
        registry.forget_requests();
        pull(daemon, KUBERNETES, &reference, &["--policy", "missing"]).succeeded();
        assert_eq!(registry.requests(), []);
    }

    fn the_first_failure_ends_the_others_where_it_is_to(daemon) {
        let registry = FaultyRegistry::start();
        let slow = Recipe::new(vec![Layer::noise(&unique("slow"), 2_000_000)]).build();
        let [held, missing] = [registry.add_new(&slow), registry.add_new(&Image::small())];
        let gate = Gate::new();
        let blob = format!("/blobs/{}", slow.layers()[0].digest);
        registry.always(&blob, Fault::Stall(1000, gate.clone()));
        let (_, path) = missing.split_once('/').unwrap();
        let (repository, _) = path.rsplit_once(':').unwrap();
        registry.always(&format!("/v2/{repository}/manifests/"), Fault::Status(404, Vec::new()));
        let flags = ["--fail-fast", "--no-space-check", &missing];
        let outcome = pull(daemon, &unique("fast"), &held, &flags).ended_with(11);
        outcome.says("not finished, since another image failed").says("not found (404)");
        gate.open();
    }

    fn the_kubelet_is_asked_whether_it_sees_the_image(daemon) {
        let registry = FaultyRegistry::start();
        let image = Image::small();
        let reference = registry.add_new(&image);
        let outcome = pull(daemon, KUBERNETES, &reference, &[]).succeeded();
        assert!(outcome.stdout.trim_end().ends_with(", the kubelet sees it"), "{outcome:?}");
        assert_eq!(Cri::new(daemon).image(&reference).unwrap().id, image.config_digest());

        let json = ["--progress", "json"];
        let seen = finished(&pull(daemon, KUBERNETES, &reference, &json).succeeded())[0].clone();
        assert_eq!(seen["kubelet"], serde_json::json!({ "seen": true, "reason": null }));
        let elsewhere = pull(daemon, &unique("elsewhere"), &reference, &json).succeeded();
        assert!(finished(&elsewhere)[0]["kubelet"].is_null(), "{elsewhere:?}");

        let layer = Layer::file(&unique("foreign"), b"other");
        let foreign = Recipe::new(vec![layer]).platform("linux/s390x").build();
        let both = Image::index(Family::Oci, vec![foreign, Image::small()]);
        let foreign = registry.add_new(&both);
        let platform = ["--platform", "linux/s390x", "--no-unpack"];
        let outcome = pull(daemon, KUBERNETES, &foreign, &platform).succeeded();
        let reason = "the kubelet does not see it: the image is for linux/s390x, and this node is";
        assert!(outcome.stdout.contains(reason), "{outcome:?}");
    }

    fn a_kubelet_that_will_pull_the_image_again_is_warned_of(daemon) {
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&Image::small());
        let node = tempfile::tempdir().unwrap();
        let kubelet = node.path().join("var/lib/kubelet");
        std::fs::create_dir_all(kubelet.join("image_manager/pulled")).unwrap();
        let config = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n\
            evictionHard:\n  imagefs.available: 1%\n";
        let pull = |policy: &str| {
            let policy = format!("{config}imagePullCredentialsVerificationPolicy: {policy}\n");
            std::fs::write(kubelet.join("config.yaml"), policy).unwrap();
            let pull = Pullctl::pull(daemon, &reference).args(["--progress", "json"]);
            pull.env("PULLCTL_NODE_ROOT", node.path()).run().succeeded()
        };
        let warned = |outcome: &Outcome| {
            let events = outcome.events();
            events.iter().any(|event| event["code"] == "kubelet-pulls-again")
        };
        let free = pull("NeverVerifyPreloadedImages");
        assert!(!warned(&free), "{free:?}");
        let again = pull("AlwaysVerify");
        assert!(warned(&again), "{again:?}");
        let seen = &finished(&again)[0]["kubelet"];
        assert_eq!(seen["seen"], true, "{again:?}");
        let reason = "the kubelet pulls it again: the kubelet has no record of it";
        assert_eq!(seen["reason"], reason, "{again:?}");
        again.says("preloadedImagesVerificationAllowlist");
    }
}

#[test]
fn without_a_cri_no_kubelet_is_asked() {
    for version in Version::ALL {
        let daemon = Containerd::without_cri(version);
        let reference = FaultyRegistry::start().add_new(&Image::small());
        let outcome = pull(&daemon, KUBERNETES, &reference, &["--progress", "json"]).succeeded();
        assert!(finished(&outcome)[0]["kubelet"].is_null(), "{version}: {outcome:?}");
    }
}
