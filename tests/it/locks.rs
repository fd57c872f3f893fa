//! What a list stands for, written down: `lock`, pulls of what was locked, and other names and places
//! for images.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::KUBERNETES;
use crate::support::faulty::{FaultyRegistry, Login};
use crate::support::image::{Family, Image, Layer, Recipe};
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::{each_version, unique};

/// A lock of `references`, in a folder of its own.
fn locked(references: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("images.lock").to_str().unwrap().to_owned();
    let lock = Pullctl::new().args(["lock", "--plain-http", "-f", "-", "-o", &path]);
    lock.input(references).run().succeeded();
    (folder, path)
}

fn check(path: &str) -> Outcome {
    Pullctl::new().args(["lock", "--plain-http", "--check", "-f", path]).run()
}

each_version! {
    fn what_was_locked_is_pulled_under_the_name_of_its_tag(daemon) {
        let registry = FaultyRegistry::start();
        let (old, new, name) = (Image::small(), Image::small(), unique("team/app"));
        let reference = registry.add(&old, &name, "v1");
        let (_folder, path) = locked(&format!("{reference} pin\n"));
        registry.add(&new, &name, "v1");
        let pull = |more: &[&str]| {
            let pull = Pullctl::new().on(daemon).args(["pull", "--plain-http", "-f", &path]);
            pull.args(more).run()
        };
        let moved = pull(&[]).ended_with(7).says("pull --locked");
        let moved = moved.says(&old.digest()).says(&new.digest());
        assert!(!Store::new(daemon, KUBERNETES).images().contains_key(&reference), "{moved:?}");

        pull(&["--locked"]).succeeded();
        let images = Store::new(daemon, KUBERNETES).images();
        assert_eq!(images[&reference].target, old.digest());
        assert!(images[&reference].labels.contains_key("io.cri-containerd.pinned"));
        let by_digest = format!("{}@{}", reference.rsplit_once(':').unwrap().0, old.digest());
        assert!(images.contains_key(&by_digest), "{images:?}");
    }

    fn an_image_is_pulled_under_another_name(daemon) {
        let registry = Registry::start();
        let reference = registry.push_new(&Image::small());
        let name = format!("registry.k8s.io/{}:3.6", unique("pause"));
        let pull = |arguments: &[&str]| {
            Pullctl::new().on(daemon).args(["pull", "--as", &name]).args(arguments).run()
        };
        pull(&[&reference]).succeeded();
        let images = Store::new(daemon, KUBERNETES).images();
        assert!(images.contains_key(&name) && !images.contains_key(&reference), "{images:?}");
        pull(&[&reference, "busybox"]).ended_with(2).says("--as names one image, and there are 2");
    }

    fn all_images_of_a_list_come_from_one_place_and_keep_their_names(daemon) {
        let registry = Registry::start();
        let project = unique("k8s");
        registry.push(&Image::small(), &format!("{project}/pause"), "3.10");
        registry.push(&Image::small(), &format!("{project}/coredns"), "v1.12.1");
        let list = "registry.k8s.io/pause:3.10\nregistry.k8s.io/coredns/coredns:v1.12.1\n";
        let namespace = unique("mirrored");
        let place = format!("{}/{project}", registry.authority());
        let pull = Pullctl::new().on(daemon).args(["-n", &namespace, "pull", "-f", "-"]);
        pull.args(["--image-repository", &place]).input(list).run().succeeded();
        let images = Store::new(daemon, &namespace).images();
        for name in list.lines() {
            assert!(images.contains_key(name), "{name} is not in {images:?}");
        }
    }

    fn a_pods_logins_are_for_its_images_alone(daemon) {
        let registry = FaultyRegistry::start();
        let (mine, other) = (registry.add_new(&Image::small()), registry.add_new(&Image::small()));
        let (user, password) = ("robot".to_owned(), "hunter2:pod".to_owned());
        let auth = BASE64.encode(format!("{user}:{password}"));
        registry.require(Login::Basic { user, password });
        let config = format!(r#"{{"auths": {{"{}": {{"auth": "{auth}"}}}}}}"#, registry.authority());
        let stream = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: regcred}}\n\
             type: kubernetes.io/dockerconfigjson\ndata: {{.dockerconfigjson: {}}}\n---\n\
             apiVersion: v1\nkind: Pod\nspec:\n  imagePullSecrets: [{{name: regcred}}]\n  \
             containers: [{{name: a, image: {mine}}}]\n---\n\
             apiVersion: v1\nkind: Pod\nspec:\n  containers: [{{name: b, image: {other}}}]\n",
            BASE64.encode(config)
        );
        let pull = Pullctl::new().on(daemon).args(["pull", "--plain-http", "-vv", "-f", "-"]);
        pull.input(stream).run().ended_with(11).says("1 of 2 images");
        let images = Store::new(daemon, KUBERNETES).images();
        assert!(images.contains_key(&mine) && !images.contains_key(&other), "{images:?}");
        let repository = other.split_once('/').unwrap().1.replace(":v1", "");
        let requests = registry.requests_for(&repository);
        assert!(!requests.is_empty());
        assert!(requests.iter().all(|request| request.header("authorization").is_none()));
    }
}

#[test]
fn a_lock_has_the_digests_of_index_and_manifest_with_their_sizes() {
    let registry = FaultyRegistry::start();
    let of = |platform: &str| {
        let name = unique("platform");
        Recipe::new(vec![Layer::file(&name, b"x")]).platform(platform).build()
    };
    let (amd, arm) = (of("linux/amd64"), of("linux/arm64"));
    let index = Image::index(Family::Oci, vec![amd.clone(), arm.clone()]);
    let reference = registry.add(&index, &unique("team/multi"), "v1");
    let (_folder, path) =
        locked(&format!("{reference} platform=linux/arm64 platform=linux/amd64 as=a/b:2\n"));
    let lock: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!((&lock["kind"], &lock["version"]), (&Value::from("ImageLock"), &Value::from(1)));
    let image = &lock["images"][0];
    assert_eq!(image["name"], "docker.io/a/b:2");
    assert_eq!(image["source"], reference.as_str());
    assert_eq!(image["digest"], index.digest());
    assert_eq!(image["size_bytes"], index.root.bytes.len());
    let manifests: Vec<_> = image["manifests"].as_array().unwrap().iter().collect();
    for single in [amd, arm] {
        let found = manifests.iter().find(|it| it["digest"] == single.digest()).unwrap();
        let blobs: usize = single.blobs.iter().map(|blob| blob.bytes.len()).sum();
        assert_eq!(found["size_bytes"], single.root.bytes.len() + blobs);
    }
    // It is a list like others.
    let refs = Pullctl::new().args(["refs", "-q", "-f", &path]).run().succeeded();
    let line =
        format!("{reference} platform=linux/arm64 platform=linux/amd64 as=docker.io/a/b:2\n");
    assert_eq!(refs.stdout, line);
}

#[test]
fn a_check_tells_which_tags_have_moved() {
    let registry = FaultyRegistry::start();
    let (old, new, name) = (Image::small(), Image::small(), unique("team/moving"));
    let moving = registry.add(&old, &name, "v1");
    let still = registry.add_new(&Image::small());
    let (_folder, path) = locked(&format!("{moving}\n{still}\n"));
    assert_eq!(check(&path).succeeded().stdout, "");
    registry.add(&new, &name, "v1");
    let outcome = check(&path).ended_with(11);
    for said in [&moving, &old.digest(), &new.digest()] {
        assert!(outcome.stdout.contains(said.as_str()), "{}", outcome.stdout);
    }
    assert!(!outcome.stdout.contains(&still), "{}", outcome.stdout);
}

#[test]
fn a_lock_is_written_whole_or_not_at_all() {
    let registry = FaultyRegistry::start();
    let good = registry.add_new(&Image::small());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("images.lock");
    let absent = format!("{}/no/such:v1", registry.authority());
    let lock = |output: &Path, references: &[&str]| {
        let lock = Pullctl::new().args(["lock", "--plain-http", "-o", output.to_str().unwrap()]);
        lock.args(references).run()
    };
    lock(&path, &[&good, &absent]).ended_with(3).says(&absent);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    lock(Path::new("/no/such/images.lock"), &[&good]).ended_with(1).says("/no/such/images.lock");
    assert!(lock(Path::new("-"), &[&good]).succeeded().stdout.contains("\"ImageLock\""));
}

#[test]
fn what_is_in_no_lock_can_be_neither_checked_nor_pulled_as_locked() {
    for arguments in [&["lock", "--check", "-f", "-"][..], &["pull", "--locked", "-f", "-"]] {
        let outcome = Pullctl::new().args(arguments).input("busybox\n").run().ended_with(2);
        outcome.says("docker.io/library/busybox:latest is in no lock").says("pullctl lock");
    }
    for (lock, said) in [
        ("{\"kind\": \"ImageLock\", \"version\": 9}", "-:1: a lock of a version"),
        (
            "{\"kind\": \"ImageLock\", \"version\": 1, \"images\": [\n{\"name\": \"a\"}]}",
            "-:2: an image of the lock has no `source`",
        ),
        (
            "{\"kind\": \"ImageLock\", \"version\": 1, \"images\":\n\
             [{\"name\": \"a\", \"source\": \"a\", \"digest\": \"b\"}]}",
            "-:2: its `digest` is none",
        ),
    ] {
        let refs = Pullctl::new().args(["refs", "-f", "-"]).input(lock).run();
        refs.ended_with(2).says(said);
    }
}

#[test]
fn two_images_that_would_be_one_at_the_place_are_refused() {
    let refs = Pullctl::new().args(["refs", "-f", "-", "--image-repository", "harbor.example/k8s"]);
    let outcome = refs.input("quay.io/team/app:1\nghcr.io/team/app:1\n").run().ended_with(2);
    outcome.says("quay.io/team/app:1 and ghcr.io/team/app:1 would both come from harbor.example");
}

#[test]
fn a_configuration_of_kubeadm_is_told_where_its_images_come_from() {
    let cluster = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n---\n\
                   apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n\
                   imageRepository: harbor.example/k8s\nkubernetesVersion: v1.34.2\n";
    let refs = Pullctl::new().args(["refs", "-f", "-"]).input(cluster).run().ended_with(2);
    refs.says("-:4: a ClusterConfiguration")
        .says("imageRepository harbor.example/k8s, kubernetesVersion v1.34.2")
        .says("kubeadm config images list --config");
}
