//! What is printed, read back by the types of the Kubernetes API.

use std::io::Write;
use std::sync::{Arc, Mutex};

use clap::Parser as _;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PodSpec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::What;
use crate::cli::budget::Budget;
use crate::cli::command::Command;
use crate::cli::{Cli, Error, Session};
use crate::failure::{Diagnose as _, Failure};
use crate::output::Printer;

fn generated(words: &str) -> Vec<String> {
    attempted(words).0.unwrap().split("---\n").map(str::to_owned).collect()
}

fn session<'a>(cli: &'a Cli, printer: &'a Printer) -> Session<'a> {
    let budget = Budget::default();
    Session { global: &cli.global, printer, observer: None, is_background: false, budget }
}

/// What is printed, or why nothing is, and what is said on standard error.
fn attempted(words: &str) -> (Result<String, Error>, String) {
    let words = ["pullctl", "generate"].into_iter().chain(words.split(' '));
    let cli = Cli::try_parse_from(words).unwrap();
    let said = Shared::default();
    let printer = Printer::new(std::io::sink(), said.clone());
    let session = session(&cli, &printer);
    let Command::Generate(args) = &cli.command else { panic!("another command") };
    let text = match &args.what {
        What::Daemonset(args) => args.manifest(&session),
        What::Job(args) => args.manifest(&session),
        _ => panic!("no manifest"),
    };
    let said = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
    (text, said)
}

/// A stream that is read afterwards.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Reads `text` as the API does. The types pass over members that they do not know, so what was read
/// is compared with what is written.
fn object<T: DeserializeOwned + Serialize>(text: &str) -> T {
    let object: T = serde_saphyr::from_str(text).unwrap();
    let written: Value = serde_saphyr::from_str(text).unwrap();
    assert_eq!(serde_json::to_value(&object).unwrap(), written, "{text}");
    object
}

fn args(pod: &PodSpec) -> String {
    pod.containers[0].args.as_ref().unwrap().join(" ")
}

const EVERYTHING: &str = "daemonset busybox registry.k8s.io/pause:3.6 --pin --policy missing --secret harbor \
    --node-selector gpu=true --unpacker direct --interval 90m --limit-rate 20M --splay 5m \
    --host-path /etc/pki --env HTTPS_PROXY=http://proxy.example:3128 --name seed -n seeding \
    --image harbor.example.net/tools/pullctl:1";

#[test]
fn every_member_of_a_daemonset_is_one_of_the_api() {
    for words in ["daemonset busybox", EVERYTHING] {
        let printed = generated(words);
        let [config_map, daemon_set] = &printed[..] else { panic!("{printed:?}") };
        let config_map: ConfigMap = object(config_map);
        let daemon_set: DaemonSet = object(daemon_set);
        assert_eq!(config_map.metadata.namespace, daemon_set.metadata.namespace);
        let spec = daemon_set.spec.unwrap();
        let labels = spec.template.metadata.unwrap().labels.unwrap();
        for (key, value) in spec.selector.match_labels.unwrap() {
            assert_eq!(labels[&key], value);
        }
        let pod = spec.template.spec.unwrap();
        let volume = pod.volumes.as_ref().unwrap()[0].config_map.as_ref().unwrap();
        assert_eq!(volume.name, config_map.metadata.name.unwrap());
    }
}

#[test]
fn what_is_asked_for_is_in_the_pod() {
    let printed = generated(EVERYTHING);
    let config_map: ConfigMap = object(&printed[0]);
    assert_eq!(
        config_map.data.unwrap()["images.txt"],
        "docker.io/library/busybox:latest\nregistry.k8s.io/pause:3.6\n"
    );
    assert_eq!(config_map.metadata.namespace.unwrap(), "seeding");
    let daemon_set: DaemonSet = object(&printed[1]);
    let pod = daemon_set.spec.unwrap().template.spec.unwrap();
    assert_eq!(
        args(&pod),
        "pull --progress json -f /etc/pullctl/list/images.txt \
         --status-file /run/pullctl/status.json --address /run/containerd/containerd.sock \
         --unpacker direct --policy missing --splay 5m --interval 1h30m --limit-rate 20971520 --pin"
    );
    assert_eq!(pod.node_selector.unwrap()["gpu"], "true");
    assert_eq!(pod.image_pull_secrets.unwrap()[0].name, "harbor");
    let container = &pod.containers[0];
    assert_eq!(container.image.as_deref(), Some("harbor.example.net/tools/pullctl:1"));
    let variables: Vec<_> =
        container.env.iter().flatten().map(|variable| variable.name.as_str()).collect();
    assert_eq!(variables, ["DOCKER_CONFIG", "HTTPS_PROXY"]);
    let written: Vec<_> = container
        .volume_mounts
        .iter()
        .flatten()
        .filter(|mount| mount.read_only != Some(true))
        .map(|mount| mount.mount_path.as_str())
        .collect();
    assert_eq!(written, ["/run/pullctl", "/var/lib/containerd"]);
}

#[test]
fn the_daemons_way_needs_no_capability() {
    let printed = generated("daemonset busybox");
    let daemon_set: DaemonSet = object(&printed[1]);
    let pod = daemon_set.spec.unwrap().template.spec.unwrap();
    let security = pod.containers[0].security_context.as_ref().unwrap();
    let capabilities = security.capabilities.as_ref().unwrap();
    assert_eq!(capabilities.add, None);
    assert_eq!(capabilities.drop.as_deref(), Some(&["ALL".to_owned()][..]));
    assert_eq!(security.read_only_root_filesystem, Some(true));
    assert_eq!(security.privileged, None);
}

#[test]
fn another_list_makes_another_template_and_the_same_list_the_same() {
    let template = |words| {
        let daemon_set: DaemonSet = object(&generated(words)[1]);
        daemon_set.spec.unwrap().template
    };
    assert_eq!(template("daemonset a b"), template("daemonset a b"));
    assert_ne!(template("daemonset a b"), template("daemonset a b c"));
}

#[test]
fn a_job_is_for_one_node_or_some_with_a_label() {
    let job: Job = object(&generated("job busybox --node worker-7")[1]);
    let spec = job.spec.unwrap();
    let pod = spec.template.spec.unwrap();
    assert_eq!(pod.node_name.as_deref(), Some("worker-7"));
    assert_eq!(pod.restart_policy.as_deref(), Some("OnFailure"));
    assert!(!args(&pod).contains("--interval"));

    let job: Job = object(&generated("job busybox --count 3 --node-selector gpu=true")[1]);
    let spec = job.spec.unwrap();
    assert_eq!((spec.completions, spec.parallelism), (Some(3), Some(3)));
    let pod = spec.template.spec.unwrap();
    assert!(pod.affinity.unwrap().pod_anti_affinity.is_some());
}

#[test]
fn values_that_yaml_would_read_otherwise_stay_text() {
    let words = "daemonset busybox --name 7 -n 010 --secret 1e3 --node-selector tier=010 --env A=yes --env B=#none";
    let daemon_set: DaemonSet = object(&generated(words)[1]);
    let pod = daemon_set.spec.unwrap().template.spec.unwrap();
    assert_eq!(daemon_set.metadata.name.as_deref(), Some("7"));
    assert_eq!(daemon_set.metadata.namespace.as_deref(), Some("010"));
    assert_eq!(pod.image_pull_secrets.unwrap()[0].name, "1e3");
    assert_eq!(pod.node_selector.unwrap()["tier"], "010");
    let values: Vec<_> =
        pod.containers[0].env.iter().flatten().map(|variable| variable.value.clone()).collect();
    let expected = ["/etc/pullctl/logins", "yes", "#none"].map(|value| Some(value.to_owned()));
    assert_eq!(values, expected);
}

#[test]
fn what_kubernetes_refuses_is_refused() {
    for words in [
        "daemonset busybox --name Seed",
        "daemonset busybox --name seed.example",
        "daemonset busybox -n kube_system",
        "daemonset busybox --secret Harbor",
        "daemonset busybox --node-selector gpu=a=b",
        "daemonset busybox --env 1A=b",
        "daemonset busybox --host-path etc",
        "daemonset busybox --containerd-root /var/../lib",
        "job busybox --node Worker_7",
    ] {
        let words = ["pullctl", "generate"].into_iter().chain(words.split(' '));
        assert!(Cli::try_parse_from(words).is_err());
    }
    let pod = |words| {
        let job: Job = object(&generated(words)[1]);
        job.spec.unwrap().template.spec.unwrap()
    };
    let pod = pod("job busybox --secret team.harbor --node worker-7.example.net");
    assert_eq!(pod.node_name.as_deref(), Some("worker-7.example.net"));
    assert_eq!(pod.image_pull_secrets.unwrap()[0].name, "team.harbor");
}

#[test]
fn flags_that_contradict_each_other_or_the_pod_are_refused_with_a_hint() {
    for (words, problem) in [
        ("--node-selector a=b --node-selector a=c", "--node-selector a has two values"),
        (
            "--node-selector kubernetes.io/os=windows",
            "--node-selector kubernetes.io/os has two values",
        ),
        ("--env A=1 --env A=2", "--env A has two values"),
        ("--secret harbor --env DOCKER_CONFIG=/etc", "--env DOCKER_CONFIG has two values"),
        ("--host-path /etc", "/etc of the node would hide /etc/pullctl/list of the pod"),
        ("-a /run/containerd.sock", "/run of the node would hide /run/pullctl of the pod"),
        (
            "-a containerd.sock",
            r#""containerd.sock" is no socket on the nodes: the path must be absolute"#,
        ),
    ] {
        let error = attempted(&format!("daemonset busybox {words}")).0.unwrap_err();
        assert_eq!(error.to_string(), problem);
        assert_eq!(error.failure(), Failure::Usage);
        assert!(error.hint().is_some(), "{problem}");
    }
    // The same twice is no contradiction, and is there once.
    let words = "daemonset busybox --node-selector a=b --node-selector a=b --env A=1 --env A=1 \
        --node-selector kubernetes.io/os=linux --host-path /etc/pki --host-path /etc/pki/";
    let daemon_set: DaemonSet = object(&generated(words)[1]);
    let pod = daemon_set.spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.node_selector.unwrap().len(), 2);
    assert_eq!(pod.containers[0].env.as_ref().unwrap().len(), 1);
    assert_eq!(pod.volumes.unwrap().len(), 6);
}

#[test]
fn a_variable_has_its_value_as_it_was_typed() {
    let words = "daemonset busybox --env HTTPS_PROXY=http://a:$(b)$$@proxy:3128";
    let daemon_set: DaemonSet = object(&generated(words)[1]);
    let pod = daemon_set.spec.unwrap().template.spec.unwrap();
    let variable = &pod.containers[0].env.as_ref().unwrap()[0];
    // Kubernetes makes one dollar of two.
    assert_eq!(variable.value.as_deref(), Some("http://a:$$(b)$$$$@proxy:3128"));
}

/// A file with this text, and the words that name it.
fn listed(text: &str) -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let words = format!("daemonset -f {}", file.path().display());
    (file, words)
}

#[test]
fn a_lock_seeds_its_digests_under_the_names_of_its_tags() {
    let digest = crate::oci::Digest::of(b"index");
    let (_file, words) = listed(&format!(
        r#"{{"kind":"ImageLock","version":1,"images":[{{"name":"docker.io/a/b:1","source":"quay.io/a/b:1","digest":"{digest}","pinned":true}}]}}"#
    ));
    let config_map: ConfigMap = object(&generated(&words)[0]);
    let expected = format!("quay.io/a/b@{digest} pin as=docker.io/a/b:1\n");
    assert_eq!(config_map.data.unwrap()["images.txt"], expected);
}

#[test]
fn what_of_a_list_does_not_come_along_is_said() {
    let pod = "kind: Pod\napiVersion: v1\nspec:\n  imagePullSecrets: [{name: harbor}]\n  \
        containers: [{name: a, image: busybox}]\n";
    let (_file, words) = listed(pod);
    let said = attempted(&words).1;
    assert!(said.contains("logins of the list's pods") && said.contains("--secret"), "{said}");
    assert!(!attempted(&format!("{words} --secret harbor")).1.contains("logins"));

    let lines: String = (0..10_000).map(|number| format!("quay.io/team/app:{number}\n")).collect();
    assert_eq!(attempted(&listed(&lines).1).1, "");
    let (_file, words) = listed(&(lines.clone() + &lines.replace("app", "other")));
    let said = attempted(&words).1;
    assert!(said.contains("kubectl apply --server-side"), "{said}");
}

#[test]
fn each_command_has_a_manual_page() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display().to_string();
    let cli = Cli::try_parse_from(["pullctl", "generate", "man", &path]).unwrap();
    let Command::Generate(args) = &cli.command else { panic!("another command") };
    let printer = Printer::new(std::io::sink(), std::io::sink());
    let session = session(&cli, &printer);
    super::run(args, <Cli as clap::CommandFactory>::command(), &session).unwrap();
    for page in ["pullctl.1", "pullctl-pull.1", "pullctl-generate-daemonset.1"] {
        let text = std::fs::read_to_string(directory.path().join(page)).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{text}");
    }
    let pull = std::fs::read_to_string(directory.path().join("pullctl-pull.1")).unwrap();
    assert!(pull.contains("\\fBpullctl\\-pull\\fR") || pull.contains("pullctl pull"), "{pull}");
}
