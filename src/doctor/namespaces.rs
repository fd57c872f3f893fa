//! Images that are in another namespace than the one where the kubelet looks.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::finding::{Finding, Fix};
use super::hosts::shell_word;
use super::node::Node;
use crate::config::Kubelet;
use crate::containerd::Client;
use crate::reference::Reference;

/// Where ctr and nerdctl, and docker, put images.
const OTHERS: [&str; 2] = ["default", "moby"];

/// Where pods are described that the kubelet starts by itself.
const STATIC_PODS: &str = "etc/kubernetes/manifests";

/// Largest description that is read, in bytes (1 MiB).
const MAX_MANIFEST: u64 = 1 << 20;

/// Most images of one namespace that are told one by one.
const MAX_TOLD: usize = 20;

pub(super) async fn findings(node: &Node) -> Vec<Finding> {
    let Some(client) = node.client() else { return Vec::new() };
    let here: BTreeSet<&str> =
        node.images.iter().flat_map(|image| &image.names).map(|name| name.name.as_str()).collect();
    let wanted = wanted(&node.root_directory.join(STATIC_PODS));
    let records = node.kubelet.as_ref().ok().and_then(Option::as_ref).map(Kubelet::records);
    let is_wanted = |name: &str| {
        wanted.contains(name) || records.as_ref().is_some_and(|records| records.is_intended(name))
    };
    let namespaces = client.namespaces().await.unwrap_or_default();
    let mut found = Vec::new();
    let others = OTHERS.iter().filter(|name| namespaces.iter().any(|known| known == *name));
    for namespace in others.filter(|name| **name != client.namespace()) {
        let Ok(other) = Client::connect(client.address(), namespace).await else { continue };
        let images = other.images().list().await.unwrap_or_default();
        let missing = images
            .iter()
            .map(|image| image.name.as_str())
            .filter(|name| !here.contains(name) && name.parse::<Reference>().is_ok())
            .filter(|name| !name.starts_with("sha256:") && !name.contains('@'));
        for name in missing.take(MAX_TOLD) {
            found.push(elsewhere(namespace, client.namespace(), name, is_wanted(name)));
        }
    }
    found
}

fn elsewhere(namespace: &str, kubelets: &str, name: &str, is_wanted: bool) -> Finding {
    let what = format!("{name} is in the namespace {namespace}, and not in {kubelets}");
    let why = match is_wanted {
        true => "a pod of this node asks for it, and the kubelet looks in its own namespace alone",
        false => "the kubelet looks in its own namespace alone: for a pod it is not there",
    };
    let place = |namespace: &str| shell_word(&format!("containerd://{namespace}/{name}"));
    let fix = Fix::command(format!("pullctl copy {} {}", place(namespace), place(kubelets)));
    match is_wanted {
        true => Finding::error("image-elsewhere", what, why),
        false => Finding::note("image-elsewhere", what, why),
    }
    .fixed_by(fix)
}

/// The images that descriptions of pods in `directory` name, written out.
fn wanted(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let is_short = entry.metadata().is_ok_and(|metadata| metadata.len() <= MAX_MANIFEST);
        if !is_short {
            continue;
        }
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        found.extend(text.lines().filter_map(image_of).map(|reference| reference.to_string()));
    }
    found
}

/// The image in a line such as `  - image: registry.k8s.io/pause:3.8`.
fn image_of(line: &str) -> Option<Reference> {
    let line = line.trim().trim_start_matches("- ").trim_start();
    let name = line.strip_prefix("image:")?.trim().trim_matches(['"', '\'']);
    name.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_pods_are_read_off_their_lines() {
        for (line, expected) in [
            ("    image: busybox:1.36", Some("docker.io/library/busybox:1.36")),
            ("  - image: \"registry.k8s.io/pause:3.8\"", Some("registry.k8s.io/pause:3.8")),
            ("    imagePullPolicy: Always", None),
            ("    image: {{ .Values.image }}", None),
        ] {
            assert_eq!(
                image_of(line).map(|found| found.to_string()).as_deref(),
                expected,
                "{line}"
            );
        }
    }
}
