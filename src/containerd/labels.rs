//! The labels, and the image names, by which containerd's garbage collector, the kubelet, and other
//! tools find what a pull wrote.
//!
//! See <https://github.com/containerd/containerd/blob/main/docs/garbage-collection.md> and
//! `internal/cri/labels` there.

use std::collections::BTreeMap;

use crate::oci::{ChainId, Descriptor, DiffId, Digest, MediaKind};
use crate::reference::Reference;

/// Labels of an image, blob, lease or snapshot.
pub type Labels = BTreeMap<String, String>;

/// On a layer's blob: its diff ID. Lets other tools skip inflating it to learn that.
pub const UNCOMPRESSED: &str = "containerd.io/uncompressed";
/// On a snapshot being prepared: the chain ID that it will be committed under.
pub const SNAPSHOT_REFERENCE: &str = "containerd.io/snapshot.ref";
/// On a lease: when the garbage collector may drop it, RFC 3339.
pub const EXPIRE: &str = "containerd.io/gc.expire";
/// On an image: the CRI plugin manages it, that is, the kubelet sees it.
pub const CRI_IMAGE: (&str, &str) = ("io.cri-containerd.image", "managed");
/// On an image: the kubelet's image garbage collection leaves it alone.
pub const PINNED: (&str, &str) = ("io.cri-containerd.pinned", "pinned");

const GC_CONTENT: &str = "containerd.io/gc.ref.content.";
const GC_SNAPSHOT: &str = "containerd.io/gc.ref.snapshot.";
const DISTRIBUTION_SOURCE: &str = "containerd.io/distribution.source.";

/// Longest label that containerd stores, key and value together, in bytes.
const MAX_LABEL_BYTES: usize = 4096;

/// The labels that keep an index's or a manifest's `children` from the garbage collector: `config`,
/// `l.N` for layers, `m.N` for manifests, `N` for anything else, each counted for itself in the
/// document's order (a manifest's configuration comes before its layers).
pub fn gc_references<'a>(children: impl IntoIterator<Item = &'a Descriptor>) -> Labels {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    children
        .into_iter()
        .map(|child| {
            let kind = gc_kind(child);
            let count = counts.entry(kind).or_default();
            let key = match (kind, *count) {
                ("config", 0) => format!("{GC_CONTENT}{kind}"),
                (_, index) => format!("{GC_CONTENT}{kind}{index}"),
            };
            *count += 1;
            (key, child.digest.to_string())
        })
        .collect()
}

fn gc_kind(child: &Descriptor) -> &'static str {
    match child.kind() {
        MediaKind::Config => "config",
        MediaKind::Manifest => "m.",
        MediaKind::Layer { .. } => "l.",
        // Nested indexes count among the unknown, as containerd has it.
        MediaKind::Index | MediaKind::Schema1 | MediaKind::Other => "",
    }
}

/// On an image's configuration: keeps the snapshot `chain` of `snapshotter` as long as the image.
pub fn gc_snapshot(snapshotter: &str, chain: &ChainId) -> (String, String) {
    (format!("{GC_SNAPSHOT}{snapshotter}"), chain.to_string())
}

/// On a layer: its diff ID.
pub fn uncompressed(diff_id: &DiffId) -> (String, String) {
    (UNCOMPRESSED.to_owned(), diff_id.to_string())
}

/// On every blob: the repository that it can be had from again. `None` when containerd would refuse
/// the label because it is too long, as its own client does.
///
/// `existing` are the blob's labels so far: repositories accumulate, comma-joined and sorted.
pub fn distribution_source(reference: &Reference, existing: &Labels) -> Option<(String, String)> {
    let key = format!("{DISTRIBUTION_SOURCE}{}", host_name(reference.domain()));
    let known = existing.get(&key).map_or("", String::as_str);
    let value = merge_sources(known, reference.path());
    fits(&key, &value).then_some((key, value))
}

/// Whether containerd takes a label: key and value have a limit together.
pub(super) fn fits(key: &str, value: &str) -> bool {
    key.len() + value.len() <= MAX_LABEL_BYTES
}

/// Whether `key` is a label of [`distribution_source`], whose values are sets.
pub(super) fn is_distribution_source(key: &str) -> bool {
    key.starts_with(DISTRIBUTION_SOURCE)
}

/// What `labels` should say under `key` when `value` is added there: repositories accumulate, anything
/// else is replaced.
pub(super) fn merged(labels: &Labels, key: &str, value: &str) -> String {
    match is_distribution_source(key) {
        true => merge_sources(labels.get(key).map_or("", String::as_str), value),
        false => value.to_owned(),
    }
}

/// The union of two comma-joined lists, sorted, without duplicates and empty entries.
fn merge_sources(known: &str, more: &str) -> String {
    let mut repositories: Vec<&str> =
        known.split(',').chain(more.split(',')).filter(|entry| !entry.is_empty()).collect();
    repositories.sort_unstable();
    repositories.dedup();
    repositories.join(",")
}

/// `host[:port]` without the port and an IPv6 address's brackets.
fn host_name(domain: &str) -> &str {
    match domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => domain.split_once(':').map_or(domain, |(host, _)| host),
    }
}

/// Every label of an image that the kubelet shall see.
pub fn image_labels(pin: bool, extra: &Labels) -> Labels {
    let pinned = pin.then_some(PINNED);
    let own = std::iter::once(CRI_IMAGE).chain(pinned);
    let mut labels = extra.clone();
    labels.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));
    labels
}

/// The names under which the CRI plugin stores an image: `repository:tag`, `repository@target` and
/// the configuration's digest, which the kubelet calls the image ID. With a digest in the reference
/// the tag is dropped.
pub fn image_names(reference: &Reference, target: &Digest, config: &Digest) -> Vec<String> {
    let name = reference.name();
    let tag = reference.tag().filter(|_| reference.digest().is_none());
    tag.map(|tag| format!("{name}:{tag}"))
        .into_iter()
        .chain([format!("{name}@{target}"), config.to_string()])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::MediaType;

    fn descriptor(media_type: &str, content: &str) -> Descriptor {
        Descriptor::new(MediaType::new(media_type), Digest::of(content.as_bytes()), 1)
    }

    #[test]
    fn numbers_children_by_kind() {
        let children = [
            descriptor("application/vnd.oci.image.config.v1+json", "config"),
            descriptor("application/vnd.oci.image.layer.v1.tar+gzip", "a"),
            descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", "b"),
            descriptor("application/vnd.oci.image.manifest.v1+json", "c"),
            descriptor("application/vnd.oci.image.index.v1+json", "d"),
            descriptor("application/x-other", "e"),
        ];
        let keys = ["config", "l.0", "l.1", "m.0", "0", "1"];
        let expected: Labels = keys
            .iter()
            .zip(&children)
            .map(|(key, child)| (format!("{GC_CONTENT}{key}"), child.digest.to_string()))
            .collect();
        assert_eq!(gc_references(&children), expected);
    }

    #[test]
    fn merges_repositories_sorted_and_once_each() {
        for (known, more, merged) in [
            ("", "library/busybox", "library/busybox"),
            ("b,a", "c", "a,b,c"),
            ("a,b", "a", "a,b"),
            ("a,,b", "", "a,b"),
        ] {
            assert_eq!(merge_sources(known, more), merged);
        }
    }

    #[test]
    fn strips_the_port_of_a_host() {
        for (domain, host) in [
            ("docker.io", "docker.io"),
            ("localhost:5000", "localhost"),
            ("[fd00::1]:5000", "fd00::1"),
            ("[::1]", "::1"),
        ] {
            assert_eq!(host_name(domain), host);
        }
    }

    #[test]
    fn pins_only_when_asked() {
        let extra = Labels::from([("a".to_owned(), "b".to_owned())]);
        assert_eq!(image_labels(false, &extra).len(), 2);
        assert_eq!(image_labels(true, &extra).get(PINNED.0).map(String::as_str), Some(PINNED.1));
    }
}
