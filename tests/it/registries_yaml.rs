//! `registries.yaml` of k3s and RKE2, on a node on which nothing has been made of it yet.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::cli::Pullctl;
use crate::support::containerd::KUBERNETES;
use crate::support::each_version;
use crate::support::image::Image;
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::unique;

/// A node of k3s that has this file.
fn node(content: &str) -> (TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("etc/rancher/k3s/registries.yaml");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, content).unwrap();
    (root, file)
}

each_version! {
    fn a_mirror_is_asked_by_the_name_that_a_rewrite_makes_and_with_its_own_login(daemon) {
        let mirror = Registry::with_login("ann", "hunter2");
        let authority = mirror.authority();
        let name = unique("app");
        mirror.push(&Image::small(), &format!("mirrored/{name}"), "v1");
        let (root, _) = node(&format!(
            "mirrors:\n  reg.example:\n    endpoint: ['http://{authority}']\n    \
             rewrite: {{'^team/(.*)': 'mirrored/$1'}}\nconfigs:\n  '{authority}':\n    \
             auth: {{username: ann, password: hunter2}}\n"
        ));
        let reference = format!("reg.example/team/{name}:v1");
        let pull = Pullctl::new().on(daemon).args(["pull", "--retries", "0", &reference]);
        pull.env("PULLCTL_NODE_ROOT", root.path()).run().succeeded();
        assert!(Store::new(daemon, KUBERNETES).images().contains_key(&reference));
    }
}

#[test]
fn explain_names_file_and_line() {
    let (root, file) = node(
        "mirrors:\n  '*':\n    endpoint:\n      - https://mirror.example\nconfigs:\n  \
         mirror.example:\n    auth: {username: ann, password: hunter2}\n",
    );
    let explain = |flags: &[&str]| {
        let explain = Pullctl::new().args(["explain", "-a", "/nowhere.sock", "quay.io/team/app"]);
        explain.args(flags).env("PULLCTL_NODE_ROOT", root.path()).run()
    };
    let text = explain(&["--ignore-containerd-config"]).succeeded().stdout;
    let at = format!("1. https://mirror.example/v2\n   from    {}:4\n", file.display());
    assert!(text.contains(&at), "{text}");
    assert!(text.contains("login   ann, from"), "{text}");
    assert!(text.contains("2. https://quay.io/v2"), "{text}");

    let made = root.path().join("var/lib/rancher/k3s/agent/etc/containerd/certs.d");
    std::fs::create_dir_all(made).unwrap();
    let text = explain(&["--ignore-containerd-config"]).succeeded().stdout;
    assert!(text.contains("1. https://quay.io/v2"), "{text}");
}

#[test]
fn a_mistake_ends_the_pull_with_file_and_line() {
    let (root, _) = node("mirrors:\n  quay.io:\n    endpoint: ['ftp://mirror.example']\n");
    let explain = Pullctl::new().args(["explain", "-a", "/nowhere.sock", "quay.io/team/app"]);
    let outcome = explain.env("PULLCTL_NODE_ROOT", root.path()).run().ended_with(12);
    outcome.says("registries.yaml:3:").says("scheme");
}
