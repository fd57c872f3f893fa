//! Nodes in directories: what their kubelets are found to be configured with.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::root::below;
use super::*;
use crate::config::{Environment, Error};

/// A node in a directory.
struct Node(tempfile::TempDir);

impl Node {
    /// One with these files.
    fn with(files: &[(&str, &str)]) -> Self {
        let node = Self(tempfile::tempdir().unwrap());
        for (path, content) in files {
            node.write(path, content);
        }
        node
    }

    fn path(&self, path: &str) -> PathBuf {
        below(self.0.path(), Path::new(path))
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// The same with a process of this command line, whose root is at `root`.
    fn running(self, pid: u32, line: &str, root: &Path) -> Self {
        let arguments = line.split('|').flat_map(|argument| [argument, "\0"]);
        self.write(&format!("/proc/{pid}/cmdline"), &arguments.collect::<String>());
        symlink(root, self.path(&format!("/proc/{pid}/root"))).unwrap();
        self
    }

    fn running_here(self, line: &str) -> Self {
        let root = self.0.path().to_owned();
        self.running(100, line, &root)
    }

    fn try_kubelet(&self) -> Result<Option<Kubelet>, Error> {
        let node_root = Some(self.0.path().to_owned());
        Kubelet::find(&Environment { node_root, ..Environment::default() })
    }

    fn kubelet(&self) -> Kubelet {
        self.try_kubelet().unwrap().unwrap()
    }
}

#[test]
fn a_node_without_a_kubelet_has_none() {
    assert!(Node::with(&[]).try_kubelet().unwrap().is_none());
}

#[test]
fn kubeadms_files_count_while_no_kubelet_runs() {
    let kubelet = Node::with(&[
        ("/var/lib/kubelet/config.yaml", "cgroupDriver: systemd\nimageMaximumGCAge: 12h\n"),
        (
            "/var/lib/kubelet/kubeadm-flags.env",
            "KUBELET_KUBEADM_ARGS=\"--container-runtime-endpoint=unix:///x.sock \
             --pod-infra-container-image=registry.k8s.io/pause:3.9\"\n",
        ),
        (
            "/etc/default/kubelet",
            "# more\nKUBELET_EXTRA_ARGS=--container-runtime-endpoint=unix:///y.sock",
        ),
    ])
    .kubelet();
    assert_eq!(kubelet.pid, None);
    assert_eq!(kubelet.cgroup_driver.as_deref(), Some("systemd"));
    assert_eq!(kubelet.image_maximum_age, Some(Duration::from_secs(12 * 3600)));
    assert_eq!(kubelet.runtime_endpoint.as_deref(), Some("unix:///y.sock"));
    assert_eq!(kubelet.image_fs.available, Some(Threshold::Percent(15.0)));
    assert_eq!(kubelet.node_fs.available, Some(Threshold::Percent(10.0)));
    assert_eq!(kubelet.image_gc_high_percent, 85);
    let [removed] = kubelet.removed_flags.as_slice() else { panic!("{kubelet:?}") };
    assert_eq!((removed.name, removed.since), ("pod-infra-container-image", "1.35"));
    assert!(removed.place.ends_with("kubeadm-flags.env"), "{removed:?}");
}

#[test]
fn the_flags_of_the_kubelet_that_runs_come_before_its_files() {
    let node = Node::with(&[
        (
            "/etc/kubelet.json",
            r#"{"evictionHard": {"imagefs.available": "20%"}, "cgroupDriver": "a"}"#,
        ),
        ("/etc/kubelet.d/10-a.conf", "evictionHard: {nodefs.available: 1Gi}\ncgroupDriver: b\n"),
        ("/etc/kubelet.d/sub/20.conf", "imageGCHighThresholdPercent: 100\n"),
        ("/etc/kubelet.d/30.yaml", "cgroupDriver: not-read\n"),
        ("/var/lib/kubelet/config.yaml", "cgroupDriver: not-this-kubelets\n"),
    ])
    .running_here(
        "/usr/bin/kubelet|--config|/etc/kubelet.json|--config-dir=/etc/kubelet.d|--root-dir=/data|\
         --image-credential-provider-config=/etc/p.yaml|--image_credential_provider_bin_dir=/opt/p",
    );
    let kubelet = node.kubelet();
    assert_eq!(kubelet.pid, Some(100));
    let files = ["/etc/kubelet.json", "/etc/kubelet.d/10-a.conf", "/etc/kubelet.d/sub/20.conf"];
    assert_eq!(kubelet.files, files.map(|path| node.path(path)));
    assert_eq!(kubelet.cgroup_driver.as_deref(), Some("b"));
    assert_eq!(kubelet.image_fs.available, Some(Threshold::Percent(20.0)));
    assert_eq!(kubelet.node_fs.available, Some(Threshold::Bytes(1 << 30)));
    assert_eq!(kubelet.image_gc_high_percent, 100);
    assert_eq!(kubelet.root_directory, node.path("/data"));
    assert_eq!(kubelet.provider_config, Some(node.path("/etc/p.yaml")));
    assert_eq!(kubelet.provider_directory, Some(node.path("/opt/p")));
}

#[test]
fn a_threshold_alone_takes_the_defaults_of_the_others_away_unless_they_are_merged() {
    for (settings, node_fs) in [
        ("evictionHard: {imagefs.available: 5%}\n", None),
        (
            "evictionHard: {imagefs.available: 5%}\nmergeDefaultEvictionSettings: true\n",
            Some(Threshold::Percent(10.0)),
        ),
    ] {
        let kubelet = Node::with(&[("/var/lib/kubelet/config.yaml", settings)]).kubelet();
        assert_eq!(kubelet.image_fs.available, Some(Threshold::Percent(5.0)), "{settings}");
        assert_eq!(kubelet.node_fs.available, node_fs, "{settings}");
    }
    let inodes = "evictionHard: {imagefs.inodesFree: 7%, nodefs.inodesFree: 10k}\n";
    let kubelet = Node::with(&[("/var/lib/kubelet/config.yaml", inodes)]).kubelet();
    assert_eq!(kubelet.image_fs.inodes, Some(Threshold::Percent(7.0)));
    assert_eq!(kubelet.node_fs.inodes, Some(Threshold::Bytes(10_000)));
    assert_eq!(kubelet.image_fs.available, None);
    let kubelet =
        Node::with(&[("/var/lib/kubelet/config.yaml", "cgroupDriver: systemd\n")]).kubelet();
    assert_eq!(kubelet.image_fs, Limits::USUAL);
    let flag = "kubelet|--eviction-hard=memory.available<100Mi,imagefs.available<7%";
    let kubelet = Node::with(&[]).running_here(flag).kubelet();
    assert_eq!(kubelet.image_fs.inodes, None);
    assert_eq!(kubelet.image_fs.available, Some(Threshold::Percent(7.0)));
    assert_eq!(kubelet.node_fs.available, None);
}

#[test]
fn a_kubelet_of_another_root_or_user_is_not_this_nodes() {
    let elsewhere = tempfile::tempdir().unwrap();
    let line = "kubelet|--root-dir=/data";
    let node = Node::with(&[]).running(100, line, elsewhere.path());
    assert!(node.try_kubelet().unwrap().is_none());
    let node = Node::with(&[]).running_here(line);
    assert_eq!(node.kubelet().pid, Some(100));
    let process = node.path("/proc/100");
    if std::os::unix::fs::chown(&process, Some(4711), None).is_ok() {
        assert!(node.try_kubelet().unwrap().is_none());
    }
}

#[test]
fn the_kubelet_inside_of_k3s_is_found_by_k3ss_files() {
    let kubelet = |files: &[(&str, &str)]| {
        let node = Node::with(files).running_here("/usr/local/bin/k3s server");
        node.write(
            "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/00-k3s-defaults.conf",
            "cgroupDriver: systemd\n",
        );
        node.kubelet()
    };
    let plain = kubelet(&[]);
    assert_eq!(plain.image_fs.available, Some(Threshold::Percent(5.0)));
    assert_eq!(plain.cgroup_driver.as_deref(), Some("systemd"));
    assert!(plain.runtime_endpoint.unwrap().contains("/run/k3s/containerd"));
    let told = kubelet(&[
        (
            "/etc/rancher/k3s/config.yaml",
            "kubelet-arg: [eviction-hard=imagefs.available<1Gi, root-dir=/a]\n",
        ),
        ("/etc/rancher/k3s/config.yaml.d/1.yaml", "kubelet-arg+: root-dir=/b\ntoken: secret\n"),
    ]);
    assert_eq!(told.image_fs.available, Some(Threshold::Bytes(1 << 30)));
    assert!(told.root_directory.ends_with("b"), "{told:?}");
}

#[test]
fn what_no_kubelet_would_start_with_is_an_error_with_its_place() {
    for (settings, line, problem) in [
        ("a: 1\nevictionHard:\n  imagefs.available: lots\n", 3, "imagefs.available"),
        ("imageMaximumGCAge: 3 days\n", 1, "no duration"),
        ("\nimagePullCredentialsVerificationPolicy: Sometimes\n", 2, "Sometimes"),
        ("preloadedImagesVerificationAllowlist: x\n", 1, "no list of names"),
        ("cgroupDriver: [a]\n", 1, "no text"),
        ("imageGCHighThresholdPercent: 200\n", 1, "no percentage"),
        ("a: [\n", 1, "not valid YAML"),
    ] {
        let error =
            Node::with(&[("/var/lib/kubelet/config.yaml", settings)]).try_kubelet().unwrap_err();
        assert!(error.to_string().contains(problem), "{settings}: {error}");
        assert_eq!(error.location().unwrap().line, line, "{settings}: {error}");
    }
    let missing = Node::with(&[]).running_here("kubelet|--config=/etc/none").try_kubelet();
    assert!(missing.unwrap_err().to_string().contains("/etc/none"));
}

const IMAGE: &str = "docker.io/library/nginx:1.27";
const ID: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

fn record_of(kind: &str, of: &str) -> String {
    let name = hex::encode(Sha256::digest(of));
    format!("/var/lib/kubelet/image_manager/{kind}/sha256-{name}")
}

/// A kubelet with this policy, and with a record of the image under the names of `mapping`.
fn admission(settings: &str, mapping: Option<&str>, intent: Option<&str>) -> Admission {
    let node = Node::with(&[("/var/lib/kubelet/config.yaml", settings)]);
    fs::create_dir_all(node.path("/var/lib/kubelet/image_manager")).unwrap();
    if let Some(mapping) = mapping {
        let record = format!(
            r#"{{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1alpha1",
                "lastUpdatedTime":"2026-01-01T00:00:00Z","imageRef":"{ID}",
                "credentialMapping":{mapping}}}"#
        );
        node.write(&record_of("pulled", ID), &record);
    }
    if let Some(image) = intent {
        node.write(&record_of("pulling", image), "{}");
    }
    let verification = node.kubelet().verification;
    verification.admission(&IMAGE.parse().unwrap(), ID).unwrap()
}

#[test]
fn images_are_free_for_pods_as_the_kubelets_policy_says() {
    let again = |words: &str| Admission::PulledAgain(words.to_owned());
    let no_record = || again("the kubelet has no record of it");
    let free = r#"{"docker.io/library/nginx":{"nodePodsAccessible":true}}"#;
    let secret = r#"{"docker.io/library/nginx":{"kubernetesSecrets":[
        {"uid":"u","namespace":"shop","name":"pull","credentialHash":"h"}]}}"#;
    let other = r#"{"mirror.example/nginx":{"nodePodsAccessible":true}}"#;
    let always = "imagePullCredentialsVerificationPolicy: AlwaysVerify\n";
    let never = "imagePullCredentialsVerificationPolicy: NeverVerify\n";
    let listed = "imagePullCredentialsVerificationPolicy: NeverVerifyAllowlistedImages\n\
                  preloadedImagesVerificationAllowlist: [docker.io/library/*]\n";
    let unlisted = "imagePullCredentialsVerificationPolicy: NeverVerifyAllowlistedImages\n\
                    preloadedImagesVerificationAllowlist: [docker.io/lib/*, quay.io/nginx]\n";
    let off = "imagePullCredentialsVerificationPolicy: AlwaysVerify\n\
               featureGates: {KubeletEnsureSecretPulledImages: false}\n";
    for (settings, mapping, intent, expected) in [
        ("", None, None, Admission::Free),
        ("", Some(free), None, Admission::Free),
        ("", Some(secret), None, Admission::WithLogin(vec!["shop/pull".to_owned()])),
        (
            "",
            Some(other),
            None,
            again("the kubelet has pulled the same image as mirror.example/nginx"),
        ),
        ("", None, Some("nginx:1.27"), no_record()),
        ("", None, Some(IMAGE), no_record()),
        (always, None, None, no_record()),
        (always, Some(free), None, Admission::Free),
        (never, Some(other), None, Admission::Free),
        (listed, None, None, Admission::Free),
        (unlisted, None, None, no_record()),
        (off, None, None, Admission::Free),
    ] {
        assert_eq!(
            admission(settings, mapping, intent),
            expected,
            "{settings} {mapping:?} {intent:?}"
        );
    }
}

#[test]
fn a_record_that_is_none_is_an_error_and_a_long_one_is_not_read() {
    let node = Node::with(&[("/var/lib/kubelet/config.yaml", "")]);
    for content in ["", "{}", r#"{"kind":"ImagePullIntent","imageRef":"x"}"#, &" ".repeat(2 << 20)]
    {
        node.write(&record_of("pulled", ID), content);
        assert!(node.kubelet().records().pulled(ID).is_err());
    }
}
