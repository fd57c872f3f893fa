//! The pods that `pullctl generate` describes, run by the CRI of each daemon: they seed the node that
//! they run on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PodSpec};
use serde_json::{Value, json};

use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::cri::Cri;
use crate::support::image::{Image, Layer, Recipe};
use crate::support::manifest;
use crate::support::pod::Pod;
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::{each_version, unique};

/// The name by which the pods have pullctl's image.
const PULLCTL: &str = "localhost/pullctl:test";

/// Where the header of an ELF file has its machine, and arm64's number there.
const MACHINE: usize = 18;
const AARCH64: u16 = 183;

/// pullctl's own image, made once for all tests as `make image` makes it.
fn pullctl_image() -> &'static PathBuf {
    static ARCHIVE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, archive) = ARCHIVE.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let archive = directory.path().join("pullctl.tar");
        make_image(&archive, &[]);
        (directory, archive)
    });
    archive
}

/// Writes an image of `pullctl` and `more` binaries, each of another architecture.
fn make_image(archive: &Path, more: &[&Path]) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/image");
    let made = Command::new(script)
        .arg(env!("CARGO_BIN_EXE_pullctl"))
        .args([archive.to_str().unwrap(), PULLCTL])
        .args(more)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// What `skopeo` prints as JSON of the image at `place`.
fn skopeo(flags: &[&str], place: &str) -> Value {
    let shown = Command::new("skopeo").args(flags).arg(place).output().unwrap();
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    serde_json::from_slice(&shown.stdout).unwrap()
}

/// A daemon that has pullctl's image and starts pods of `registry`'s sandbox image.
fn node(version: Version, registry: &Registry) -> Containerd {
    let sandbox = Image::busybox(&["/bin/sleep", "100000"]);
    let sandbox = registry.push_new(&sandbox);
    let node = Containerd::starting_pods_from(version, &sandbox);
    Pullctl::pull(&node, &sandbox).run().succeeded();
    Pullctl::new().on(&node).args(["load", "-i"]).args([pullctl_image()]).run().succeeded();
    Cri::new(&node).image_soon(&sandbox);
    node
}

/// What `pullctl generate` prints for this node: the list, and what comes after it.
fn generated(node: &Containerd, words: &[&str]) -> (ConfigMap, String) {
    let printed = Pullctl::new()
        .on(node)
        .args(["generate"])
        .args(words)
        .args(["--image", PULLCTL, "--splay", "1ms"])
        .args(["--containerd-root".into(), node.root()])
        .run()
        .succeeded();
    let (list, workload) = printed.stdout.split_once("---\n").unwrap();
    (serde_saphyr::from_str(list).unwrap(), workload.to_owned())
}

/// Runs the pod until the readiness probe is content, or it has ended, and answers its exit code.
fn seed(node: &Containerd, spec: &PodSpec, list: &ConfigMap) -> i32 {
    let image = Cri::new(node).image_soon(spec.containers[0].image.as_ref().unwrap());
    let pod = Pod::run(node);
    let scratch = node.scratch("volumes");
    let container = pod.start(manifest::container(spec, list, &image.id, &scratch));
    let Some(probe) = &spec.containers[0].readiness_probe else {
        return node.wait_until("the pod's end", || pod.exit_code(&container));
    };
    let command = probe.exec.as_ref().unwrap().command.as_ref().unwrap();
    node.wait_until("the probe", || {
        assert_eq!(pod.exit_code(&container), None, "{}", pod.log());
        (pod.exec(&container, command) == 0).then_some(())
    });
    let code = pod.stop(&container);
    assert!(pod.log().contains("\"event\":\"finished\""), "{}", pod.log());
    code
}

#[test]
fn a_daemonsets_pod_seeds_its_node_by_both_unpackers_waits_and_ends_when_told() {
    for version in Version::ALL {
        let registry = Registry::start();
        let node = node(version, &registry);
        for unpacker in ["daemon", "direct"] {
            let layers = vec![Layer::busybox(), Layer::file(unpacker, b"seeded")];
            let wanted = Recipe::new(layers).build();
            let reference = registry.push_new(&wanted);
            let words = ["daemonset", "--pin", "--unpacker", unpacker, &reference];
            let (list, daemon_set) = generated(&node, &words);
            let daemon_set: DaemonSet = serde_saphyr::from_str(&daemon_set).unwrap();
            let spec = daemon_set.spec.unwrap().template.spec.unwrap();
            assert_eq!(seed(&node, &spec, &list), 0, "{version} {unpacker}");
            let store = Store::new(&node, KUBERNETES);
            assert!(store.images().contains_key(&reference), "{version} {unpacker}");
            assert!(store.snapshots()[&wanted.chain_id()].committed, "{version} {unpacker}");
        }
    }
}

#[test]
fn a_jobs_pod_ends_with_the_exit_code_of_its_seeding() {
    let registry = Registry::start();
    let node = node(Version::V2_1, &registry);
    let reference = registry.push_new(&Image::small());
    let absent = format!("{}/no/such:image", registry.authority());
    for (reference, code) in [(&reference, 0), (&absent, 3)] {
        let (list, job) = generated(&node, &["job", reference]);
        let job: Job = serde_saphyr::from_str(&job).unwrap();
        let spec = job.spec.unwrap().template.spec.unwrap();
        assert_eq!(seed(&node, &spec, &list), code);
    }
}

#[test]
fn pullctls_image_runs_as_nobody() {
    let archive = pullctl_image();
    let listed = Pullctl::new().args(["load", "--list", "-i"]).args([archive]).run().succeeded();
    assert!(listed.stdout.contains(PULLCTL), "{}", listed.stdout);
    let place = format!("oci-archive:{}", archive.display());
    let config = skopeo(&["inspect", "--config"], &place);
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"], json!(["/pullctl"]));
}

each_version! {
    fn pullctls_image_has_an_entry_for_each_architecture_and_nodes_pull_their_own(daemon) {
        let directory = tempfile::tempdir().unwrap();
        let [archive, foreign] = ["pullctl.tar", "foreign"].map(|name| directory.path().join(name));
        // A program without libraries that says of itself that it is for arm64: that is all that is
        // asked of it.
        let mut program = std::fs::read("/bin/busybox").unwrap();
        program[MACHINE..MACHINE + 2].copy_from_slice(&AARCH64.to_le_bytes());
        std::fs::write(&foreign, program).unwrap();
        make_image(&archive, &[&foreign]);
        let place = format!("oci-archive:{}", archive.display());
        let index = skopeo(&["inspect", "--raw"], &place);
        let entries = index["manifests"].as_array().unwrap();
        let architecture = |entry: &Value| entry["platform"]["architecture"].as_str().unwrap().to_owned();
        assert_eq!(entries.iter().map(architecture).collect::<Vec<_>>(), ["amd64", "arm64"]);

        let registry = Registry::start();
        let pushed = format!("{}/{}:v1", registry.authority(), unique("tools/pullctl"));
        let copy = ["copy", "--all-platforms", "--plain-http", &place, &pushed];
        Pullctl::new().args(copy).run().succeeded();
        for arch in ["amd64", "arm64"] {
            let flags = ["inspect", "--config", "--tls-verify=false", "--override-arch", arch];
            let config = skopeo(&flags, &format!("docker://{pushed}"));
            assert_eq!(config["architecture"], arch);
            assert_eq!(config["config"]["Entrypoint"], json!(["/pullctl"]));
        }
        let namespace = unique("own");
        Pullctl::pull(daemon, &pushed).args(["-n", &namespace]).run().succeeded();
        let content = Store::new(daemon, &namespace).content();
        for entry in entries {
            let is_there = content.contains_key(entry["digest"].as_str().unwrap());
            assert_eq!(is_there, architecture(entry) == "amd64", "{entry}");
        }
    }
}

#[test]
fn an_image_is_made_of_the_portable_binary_where_there_is_one() {
    let tree = tempfile::tempdir().unwrap();
    let path = |below: &str| tree.path().join(below);
    let portable = format!("target/artifacts/pullctl-1.2.3-{}-linux", std::env::consts::ARCH);
    for directory in ["scripts", "target/release", &portable] {
        fs::create_dir_all(path(directory)).unwrap();
    }
    let script = path("scripts/image");
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/image"), &script).unwrap();
    let make = || Command::new(&script).output().unwrap();
    let refused = make();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("make build or make dist"), "{said}");

    // It is not what the other way would take.
    fs::write(path("target/release/pullctl"), "no program").unwrap();
    fs::copy(env!("CARGO_BIN_EXE_pullctl"), path(&portable).join("pullctl")).unwrap();
    fs::write(path("target/artifacts/epoch"), "1234567890\n").unwrap();
    let made = make();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let said = String::from_utf8_lossy(&made.stdout);
    assert!(said.starts_with(&format!("image: of {portable}/pullctl: pullctl ")), "{said}");
    let place = format!("oci-archive:{}", path("target/pullctl-image.tar").display());
    assert_eq!(skopeo(&["inspect", "--config"], &place)["created"], "2009-02-13T23:31:30Z");
}
