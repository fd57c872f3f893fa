//! What is looked at without reading blobs: that they are there, labels, snapshots, the kubelet.

use std::collections::HashSet;
use std::time::Duration;

use super::checkup::{Checkup, Report};
use super::finding::{Finding, Remedy, Unpacked};
use super::walk::{StoredPart, Walk};
use crate::containerd::{Error, Labels, labels};
use crate::images::{StoredImage, is_found_by_kubelet};
use crate::oci::{Descriptor, Digest};
use crate::transfer::DocumentKind;

/// How often, and how long between, the kubelet's view is asked for again: the CRI plugin learns of
/// names by events, and of one that was just stored a moment later.
const KUBELET_TRIES: usize = 10;
const KUBELET_INTERVAL: Duration = Duration::from_millis(200);

const BLOB_LOST: &str = "the image can't be unpacked, pushed or saved without it";
const COLLECTED: &str = "containerd's garbage collection removes what no label holds";
const NOT_STARTED: &str = "no container can be started from the image as it is";

impl Checkup {
    /// Whether the layers' blobs are there, as large as they should be.
    pub(super) async fn check_layers(
        &self,
        part: &StoredPart,
        report: &mut Report,
    ) -> Result<(), Error> {
        let content = self.client.content();
        let mut let_go = 0;
        for (position, layer) in part.manifest.layers.iter().enumerate() {
            let digest = layer.digest;
            let remedy = || Remedy::Fetch(layer.clone(), DocumentKind::Blob);
            match content.info(&digest).await? {
                None if self.is_unpacked(part, position) => let_go += 1,
                None => {
                    let what = format!("layer {digest} is missing");
                    add(report, "blob-missing", digest, what, BLOB_LOST, remedy());
                }
                Some(info) if info.size != layer.size => {
                    let what = format!(
                        "layer {digest} has {} bytes, and should have {}",
                        info.size, layer.size
                    );
                    add(report, "blob-truncated", digest, what, BLOB_LOST, remedy());
                }
                Some(_) if content.reaches_its_end(&digest, layer.size).await? => {}
                Some(_) => {
                    let what = format!(
                        "layer {digest} ends before its {} bytes, or has lost its file",
                        layer.size
                    );
                    add(report, "blob-truncated", digest, what, BLOB_LOST, remedy());
                }
            }
        }
        if let_go > 0 {
            let what = format!(
                "{let_go} of {} layers are there as snapshots alone (discard_unpacked_layers): the \
                 image runs, and can't be pushed or saved",
                part.manifest.layers.len()
            );
            report.remark("blobs-let-go", what);
        }
        Ok(())
    }

    /// Whether the layers' snapshots are there, each on the one of the layer below.
    pub(super) fn check_snapshots(&self, part: &StoredPart, report: &mut Report) {
        let (Some(config), Some(top)) = (&part.config, part.identities.last()) else { return };
        let mut is_unpacked = false;
        for snapshotter in self.snapshots.keys() {
            let unpacked = || self.unpacked(part, snapshotter);
            let is_kept = labels::snapshotters(&config.labels).any(|name| name == *snapshotter);
            let is_there = self.has_snapshot(snapshotter, &top.chain_id);
            is_unpacked |= is_there;
            if !is_there && !is_kept {
                continue;
            }
            let mut is_complete = true;
            for (position, identity) in part.identities.iter().enumerate() {
                let name = identity.chain_id.to_string();
                let found = self.snapshots.get(snapshotter).and_then(|all| all.get(&name));
                let wanted = identity.parent.map(|parent| parent.to_string());
                match found {
                    None => is_complete = false,
                    Some(info) if info.parent == wanted => {}
                    Some(info) => {
                        let lies_on = info.parent.as_deref().unwrap_or("nothing");
                        let wanted = wanted.as_deref().unwrap_or("nothing");
                        let what = format!(
                            "snapshot {name} of layer {position} lies on {lies_on}, and should on {wanted}"
                        );
                        let why = "containers see the files of other layers, or of none";
                        let remedy = Remedy::Discard(snapshotter.clone(), identity.chain_id);
                        add(report, "snapshot-parent", &name, what, why, remedy);
                    }
                }
            }
            if !is_complete {
                let what = format!("snapshots of the image are missing in {snapshotter}");
                let remedy = Remedy::Unpack(unpacked());
                add(report, "snapshot-missing", top.chain_id, what, NOT_STARTED, remedy);
            }
            if is_there && !is_kept && !self.is_kept(snapshotter, &top.chain_id) {
                let digest = part.manifest.config.digest;
                let label = labels::gc_snapshot(snapshotter, &top.chain_id);
                let what = format!(
                    "configuration {digest} lacks the label {} that keeps its snapshots",
                    label.0
                );
                let remedy = Remedy::Label(digest, [label].into());
                add(report, "label-missing", digest, what, COLLECTED, remedy);
            }
        }
        if !is_unpacked && report.findings.is_empty() {
            report.remark(
                "not-unpacked",
                "the image is not unpacked: the first container waits for that",
            );
        }
    }

    pub(super) fn unpacked(&self, part: &StoredPart, snapshotter: &str) -> Unpacked {
        let layers = part.manifest.layers.iter().cloned().zip(part.identities.iter().copied());
        Unpacked {
            snapshotter: snapshotter.to_owned(),
            config: part.manifest.config.digest,
            layers: layers.collect(),
        }
    }

    /// Whether labels keep from garbage collection what documents point to.
    pub(super) async fn check_labels(&self, walk: &Walk, report: &mut Report) -> Result<(), Error> {
        let content = self.client.content();
        for document in &walk.documents {
            let held: HashSet<Digest> = labels::kept_content(&document.info.labels).collect();
            let holds = |child: &Descriptor| held.contains(&child.digest);
            let is_layer =
                |child: &Descriptor| matches!(child.kind(), crate::oci::MediaKind::Layer { .. });
            // A daemon that lets go of layers once they are unpacked gives them no label.
            let lets_go = document.children.iter().any(|child| !is_layer(child) && holds(child))
                && !document.children.iter().any(|child| is_layer(child) && holds(child));
            let mut lost = Vec::new();
            for child in &document.children {
                let is_excused = lets_go && is_layer(child);
                if !is_excused && !holds(child) && content.info(&child.digest).await?.is_some() {
                    lost.push(child.digest.to_string());
                }
            }
            if lost.is_empty() {
                continue;
            }
            let mut wanted: Labels = labels::gc_references(&document.children);
            wanted.retain(|_, digest| lost.contains(digest));
            let (role, digest) = (document.role, document.digest);
            let what = format!("{role} {digest} lacks the labels that keep {}", lost.join(", "));
            let remedy = Remedy::Label(digest, wanted);
            add(report, "label-missing", digest, what, COLLECTED, remedy);
        }
        Ok(())
    }

    /// Whether the kubelet finds the image under the names by which it asks.
    pub(super) async fn check_kubelet(
        &self,
        image: &StoredImage,
        report: &mut Report,
    ) -> Result<(), Error> {
        let Some(id) = image.id else { return Ok(()) };
        for name in image.names.iter().filter(|name| is_found_by_kubelet(&name.name)) {
            let mut known = None;
            for _ in 0..KUBELET_TRIES {
                known = self.client.cri().image(&name.name).await?.map(|image| image.id);
                if known.as_deref() == Some(&*id.to_string()) {
                    break;
                }
                tokio::time::sleep(KUBELET_INTERVAL).await;
            }
            let what = match known {
                Some(known) if known == id.to_string() => continue,
                Some(other) => {
                    format!("the kubelet finds another image under {}: {other}", name.name)
                }
                None => format!("the kubelet does not find {}", name.name),
            };
            let why = "a pod that asks for it pulls it, or fails with ErrImageNeverPull";
            let labels = labels::image_labels(image.has_pin(), &name.labels);
            let remedy = Remedy::Name(name.name.clone(), name.target.clone(), labels);
            add(report, "kubelet-blind", &name.name, what, why, remedy);
        }
        Ok(())
    }
}

/// Adds a finding, once.
fn add(
    report: &mut Report,
    code: &'static str,
    subject: impl ToString,
    what: String,
    why: &'static str,
    remedy: Remedy,
) {
    let finding = Finding::new(code, subject, what, why, remedy);
    if !report.findings.iter().any(|known| known.is_same(&finding)) {
        report.findings.push(finding);
    }
}
