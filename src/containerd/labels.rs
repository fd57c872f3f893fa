//! The labels, and the image names, by which containerd's garbage collector, the kubelet, and other
//! tools find what a pull wrote.
//!
//! See <https://github.com/containerd/containerd/blob/main/docs/garbage-collection.md> and
//! `internal/cri/labels` there.

use std::collections::BTreeMap;

use crate::oci::{ChainId, Descriptor, DiffId, Digest, LayerIdentity, MediaKind};
use crate::reference::{Reference, split_port, without_brackets};

/// Labels of an image, blob, lease or snapshot.
pub type Labels = BTreeMap<String, String>;

/// On a layer's blob: its diff ID. Lets other tools skip inflating it to learn that.
pub const UNCOMPRESSED: &str = "containerd.io/uncompressed";
/// On a lease: when the garbage collector may drop it, RFC 3339.
pub const EXPIRE: &str = "containerd.io/gc.expire";
/// On an image: the CRI plugin manages it, that is, the kubelet sees it.
pub const CRI_IMAGE: (&str, &str) = ("io.cri-containerd.image", "managed");
/// On an image: the kubelet's image garbage collection leaves it alone.
pub const PINNED: (&str, &str) = ("io.cri-containerd.pinned", "pinned");

/// On an image under another name than that by which it came: the latter, with the port that
/// [`DISTRIBUTION_SOURCE`] has no room for.
const SOURCE: &str = "pullctl.io/source";

const GC_CONTENT: &str = "containerd.io/gc.ref.content.";
const GC_ROOT: &str = "containerd.io/gc.root";
const GC_SNAPSHOT: &str = "containerd.io/gc.ref.snapshot.";
const DISTRIBUTION_SOURCE: &str = "containerd.io/distribution.source.";

const SNAPSHOT_REFERENCE: &str = "containerd.io/snapshot.ref";
const SNAPSHOT_DIFF_ID: &str = "containerd.io/snapshot/diff-id";
const SNAPSHOT_PARENT: &str = "containerd.io/snapshot/parent-chain-id";

/// What every label and annotation begins with that is for the snapshotter itself.
const SNAPSHOT: &str = "containerd.io/snapshot/";
// They speak of the CRI, whose plugin had them first; who fetches layers by itself reads no others.
const ORIGIN_IMAGE: &str = "containerd.io/snapshot/cri.image-ref";
const ORIGIN_MANIFEST: &str = "containerd.io/snapshot/cri.manifest-digest";
const ORIGIN_LAYER: &str = "containerd.io/snapshot/cri.layer-digest";
const ORIGIN_LAYERS: &str = "containerd.io/snapshot/cri.image-layers";

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

/// The blobs that one with these labels keeps.
pub fn kept_content(labels: &Labels) -> impl Iterator<Item = Digest> {
    // `.content.l.0`, `.content/any`, or `.content` alone.
    let prefix = GC_CONTENT.trim_end_matches('.');
    labels
        .iter()
        .filter(move |(key, _)| {
            key.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '/']))
        })
        .filter_map(|(_, value)| value.parse().ok())
}

/// The snapshots that a blob with these labels keeps: snapshotter and key.
pub fn kept_snapshots(labels: &Labels) -> impl Iterator<Item = (&str, &str)> {
    labels.iter().filter_map(|(key, value)| {
        let name = key.strip_prefix(GC_SNAPSHOT)?;
        // Several of one snapshotter have something behind its name.
        Some((name.split('/').next().unwrap_or(name), value.as_str()))
    })
}

/// Whether these are the labels of something that is kept for its own sake.
pub fn is_root(labels: &Labels) -> bool {
    labels.contains_key(GC_ROOT)
}

/// The snapshotters for which a configuration with these labels keeps snapshots.
pub fn snapshotters(labels: &Labels) -> impl Iterator<Item = &str> {
    kept_snapshots(labels).map(|(snapshotter, _)| snapshotter)
}

/// On a layer: its diff ID.
pub fn uncompressed(diff_id: &DiffId) -> (String, String) {
    (UNCOMPRESSED.to_owned(), diff_id.to_string())
}

/// On a layer's snapshot: the chain ID that it is, or will be, committed under. A daemon refuses to
/// prepare one that it has by then.
pub fn snapshot_reference(identity: &LayerIdentity) -> (String, String) {
    (SNAPSHOT_REFERENCE.to_owned(), identity.chain_id.to_string())
}

/// On a layer's snapshot, from containerd 2.3 on: what it consists of.
pub fn snapshot_identity(identity: &LayerIdentity) -> Labels {
    let diff_id = (SNAPSHOT_DIFF_ID.to_owned(), identity.diff_id.to_string());
    let parent = identity.parent.map(|parent| (SNAPSHOT_PARENT.to_owned(), parent.to_string()));
    std::iter::once(diff_id).chain(parent).collect()
}

/// On a snapshot whose snapshotter may fetch the layer by itself: where it is to be had. `layers` are
/// those of the image called `image`, from the one that the snapshot is for up to the topmost.
///
/// What the manifest annotates for the snapshotter goes along, as with containerd's own clients:
/// stargz and nydus trust no layer without a digest there. See `pkg/snapshotters/annotations.go` and
/// `FilterInheritedLabels` there.
pub fn layer_origin(image: &str, manifest: &Digest, layers: &[Descriptor]) -> Labels {
    let Some(layer) = layers.first() else { return Labels::new() };
    let annotations = layer.annotations.iter();
    let mut labels: Labels = annotations
        .filter(|(key, value)| key.starts_with(SNAPSHOT) && fits(key, value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    labels.insert(ORIGIN_IMAGE.to_owned(), image.to_owned());
    labels.insert(ORIGIN_MANIFEST.to_owned(), manifest.to_string());
    labels.insert(ORIGIN_LAYER.to_owned(), layer.digest.to_string());
    labels.insert(ORIGIN_LAYERS.to_owned(), origin_layers(layers));
    labels
}

/// The layers' digests, as many as the label takes: they only let the snapshotter begin with them
/// early.
fn origin_layers(layers: &[Descriptor]) -> String {
    let mut list = String::new();
    for layer in layers.iter().filter(|layer| matches!(layer.kind(), MediaKind::Layer { .. })) {
        let separator = if list.is_empty() { "" } else { "," };
        let longer = format!("{list}{separator}{}", layer.digest);
        if !fits(ORIGIN_LAYERS, &longer) {
            break;
        }
        list = longer;
    }
    list
}

/// On every blob: the repository that it can be had from again. `None` when that is unknown, or when
/// containerd would refuse the label because it is too long, as its own client does.
///
/// `existing` are the blob's labels so far: repositories accumulate, comma-joined and sorted.
pub fn distribution_source(reference: &Reference, existing: &Labels) -> Option<(String, String)> {
    if reference.is_nameless() {
        return None;
    }
    source_at(host_name(reference.domain()), reference.path(), existing)
}

/// The same for a `repository` at a `host`, which has neither port nor brackets.
pub fn source_at(host: &str, repository: &str, existing: &Labels) -> Option<(String, String)> {
    let key = format!("{DISTRIBUTION_SOURCE}{host}");
    let known = existing.get(&key).map_or("", String::as_str);
    let value = merge_sources(known, repository);
    fits(&key, &value).then_some((key, value))
}

/// On an image that came by the name `source` and has another one: where it came from. `None` when
/// containerd would refuse the label because it is too long.
pub fn source_name(source: &Reference) -> Option<(String, String)> {
    let (key, value) = (SOURCE.to_owned(), source.to_string());
    (!source.is_nameless() && fits(&key, &value)).then_some((key, value))
}

/// The name by which an image with these labels came, by [`source_name`].
pub fn named_source(labels: &Labels) -> Option<Reference> {
    let reference: Reference = labels.get(SOURCE)?.parse().ok()?;
    (!reference.is_nameless()).then_some(reference)
}

/// Whether containerd takes a label: key and value have a limit together.
pub(super) fn fits(key: &str, value: &str) -> bool {
    key.len() + value.len() <= MAX_LABEL_BYTES
}

/// The hosts, without ports, and repositories that a blob with these labels can be had from, by
/// [`distribution_source`].
pub fn origins(labels: &Labels) -> impl Iterator<Item = (String, String)> {
    labels
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix(DISTRIBUTION_SOURCE)?, value)))
        .flat_map(|(host, value)| {
            let repositories = value.split(',').filter(|repository| !repository.is_empty());
            repositories.map(move |repository| (host.to_owned(), repository.to_owned()))
        })
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
pub fn host_name(domain: &str) -> &str {
    without_brackets(split_port(domain).0)
}

/// Every label of an image that the kubelet shall see.
pub fn image_labels(pin: bool, extra: &Labels) -> Labels {
    let pinned = pin.then_some(PINNED);
    let own = std::iter::once(CRI_IMAGE).chain(pinned);
    let mut labels = extra.clone();
    labels.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));
    labels
}

/// Whether an image's labels say that it is pinned.
pub fn is_pinned(labels: &Labels) -> bool {
    labels.get(PINNED.0).is_some_and(|value| value == PINNED.1)
}

/// The name under which people ask for an image: `repository:tag`, or `repository@target` if there
/// is a digest in the reference, with which the tag is dropped.
pub fn image_name(reference: &Reference, target: &Digest) -> String {
    let tag = reference.tag().filter(|_| reference.digest().is_none());
    tag.map_or_else(|| digest_name(reference, target), |tag| format!("{}:{tag}", reference.name()))
}

/// The names under which the CRI plugin stores an image: the one of [`image_name`],
/// `repository@target`, and the configuration's digest, which the kubelet calls the image ID. An image
/// without a name has that one only.
pub fn image_names(reference: &Reference, target: &Digest, config: &Digest) -> Vec<String> {
    if reference.is_nameless() {
        return vec![config.to_string()];
    }
    let mut names = digest_names(reference, target);
    names.push(config.to_string());
    names
}

/// Those of [`image_names`] that do not need the configuration.
pub fn digest_names(reference: &Reference, target: &Digest) -> Vec<String> {
    let mut names = vec![image_name(reference, target), digest_name(reference, target)];
    names.dedup();
    names
}

fn digest_name(reference: &Reference, target: &Digest) -> String {
    match reference.is_nameless() {
        true => target.to_string(),
        false => format!("{}@{target}", reference.name()),
    }
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

    /// `count` layers, with something among them that is none.
    fn layers(count: usize) -> Vec<Descriptor> {
        let layer = |position: usize| {
            descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &position.to_string())
        };
        let mut layers: Vec<_> = (0..count).map(layer).collect();
        layers.insert(1, descriptor("application/x-other", "none"));
        layers
    }

    #[test]
    fn an_origin_names_the_image_the_manifest_and_the_layers_from_this_one_up() {
        let manifest = Digest::of(b"manifest");
        let mut layers = layers(3);
        let [base, _, middle, top] = [0, 1, 2, 3].map(|position| layers[position].digest);
        let annotate = |key: &str, value: String| (key.to_owned(), value);
        layers[2].annotations = [
            annotate("containerd.io/snapshot/stargz/toc.digest", "sha256:toc".to_owned()),
            annotate("containerd.io/snapshot/cri.layer-digest", "another".to_owned()),
            annotate("containerd.io/snapshot/long", "x".repeat(MAX_LABEL_BYTES)),
            annotate("containerd.io/snapshot.ref", "another".to_owned()),
            annotate("org.example/other", "other".to_owned()),
        ]
        .into();
        let above = |position: usize| layer_origin("quay.io/a:v1", &manifest, &layers[position..]);
        assert_eq!(above(0)[ORIGIN_LAYERS], format!("{base},{middle},{top}"));
        assert_eq!(above(3)[ORIGIN_LAYERS], top.to_string());
        let expected = [
            (ORIGIN_IMAGE, "quay.io/a:v1".to_owned()),
            (ORIGIN_MANIFEST, manifest.to_string()),
            (ORIGIN_LAYER, middle.to_string()),
            (ORIGIN_LAYERS, format!("{middle},{top}")),
            ("containerd.io/snapshot/stargz/toc.digest", "sha256:toc".to_owned()),
        ];
        let expected = expected.map(|(key, value)| annotate(key, value));
        assert_eq!(above(2), expected.into());
        assert_eq!(layer_origin("quay.io/a:v1", &manifest, &[]), Labels::new());
    }

    #[test]
    fn an_origin_lists_as_many_layers_as_a_label_takes() {
        let layers = layers(127);
        let listed = |position: usize| {
            let labels =
                layer_origin("quay.io/a:v1", &Digest::of(b"manifest"), &layers[position..]);
            let list = labels[ORIGIN_LAYERS].clone();
            assert!(fits(ORIGIN_LAYERS, &list), "{} bytes", list.len());
            list
        };
        let digests = |positions: std::ops::Range<usize>| {
            let digests = layers[positions].iter().map(|layer| layer.digest.to_string());
            digests.collect::<Vec<_>>().join(",")
        };
        // 39 bytes of key, 71 of each digest, and a comma between them: 56 fit into 4096.
        assert_eq!(listed(2), digests(2..58));
        assert!(!fits(ORIGIN_LAYERS, &digests(2..59)));
        assert_eq!(listed(72), digests(72..128));
        assert_eq!(listed(73), digests(73..128));
        assert_eq!(listed(127), digests(127..128));
    }

    #[test]
    fn images_are_asked_for_by_tag_unless_there_is_a_digest() {
        let [target, config] = [b"target", b"config"].map(|content| Digest::of(content));
        let names = |reference: &str| image_names(&reference.parse().unwrap(), &target, &config);
        let by_digest = format!("quay.io/a@{target}");
        let tagged = ["quay.io/a:v1".to_owned(), by_digest.clone(), config.to_string()];
        assert_eq!(names("quay.io/a:v1"), tagged);
        for reference in [by_digest.clone(), format!("quay.io/a:v1@{target}")] {
            assert_eq!(names(&reference), [by_digest.clone(), config.to_string()]);
        }
    }

    #[test]
    fn an_image_without_a_name_has_its_id_and_came_from_nowhere() {
        let [target, config] = [b"target", b"config"].map(|content| Digest::of(content));
        let nameless = Reference::nameless(target);
        assert_eq!(image_names(&nameless, &target, &config), [config.to_string()]);
        assert_eq!(image_name(&nameless, &target), target.to_string());
        assert_eq!(distribution_source(&nameless, &Labels::new()), None);
    }

    #[test]
    fn a_renamed_image_says_by_which_name_it_came_port_and_tag_included() {
        let source: Reference = "harbor.example:8443/k8s/pause:3.6".parse().unwrap();
        let labels: Labels = source_name(&source).into_iter().collect();
        assert_eq!(labels["pullctl.io/source"], "harbor.example:8443/k8s/pause:3.6");
        assert_eq!(named_source(&labels), Some(source));
        assert_eq!(source_name(&Reference::nameless(Digest::of(b""))), None);
        for value in ["", "Not/A name"] {
            let labels = Labels::from([(SOURCE.to_owned(), value.to_owned())]);
            assert_eq!(named_source(&labels), None, "{value}");
        }
    }

    #[test]
    fn pins_only_when_asked() {
        let extra = Labels::from([("a".to_owned(), "b".to_owned())]);
        assert_eq!(image_labels(false, &extra).len(), 2);
        assert_eq!(image_labels(true, &extra).get(PINNED.0).map(String::as_str), Some(PINNED.1));
    }
}
