//! The examination of one image: what is looked at, in which order, and what to do about each finding.

use std::collections::BTreeMap;

use super::checkup::{Checkup, Report};
use super::finding::{Finding, Remedy};
use super::walk::Walk;
use crate::containerd::{self, Image, labels};
use crate::images::{NameKind, StoredImage, is_found_by_kubelet};
use crate::oci::{Descriptor, Digest};
use crate::platform::{Matcher, Platform};
use crate::reference::Reference;

impl Checkup {
    /// Looks at one image.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn image(&mut self, image: &StoredImage) -> Result<Report, containerd::Error> {
        let name = image.names.first().map(|name| name.name.clone()).unwrap_or_default();
        let mut report =
            Report { image: name, id: image.id, findings: Vec::new(), remarks: Vec::new() };
        let targets: BTreeMap<Digest, &Descriptor> =
            image.names.iter().map(|name| (name.target.digest, &name.target)).collect();
        let mut is_whole = true;
        let mut platform = None;
        for target in targets.into_values() {
            let mut walk = Walk::of(&self.client.content(), target).await?;
            report.findings.append(&mut walk.findings);
            self.check_labels(&walk, &mut report).await?;
            if let Some(part) = &walk.part {
                platform = platform.or_else(|| part.platform.clone());
                self.check_layers(part, &mut report).await?;
                self.check_snapshots(part, &mut report);
            }
            if self.options.is_deep {
                self.look_deep(&walk, &mut report).await?;
            }
            is_whole &= walk.part.is_some_and(|part| !part.identities.is_empty());
        }
        if self.options.is_for_kubelet {
            self.check_names(image, &mut report);
            let runs_here = platform
                .is_some_and(|it| Matcher::default_for(&Platform::host()).rank(&it).is_some());
            if self.has_cri && is_whole && runs_here && report.findings.is_empty() {
                self.check_kubelet(image, &mut report).await?;
            }
        }
        self.say_fixes(&mut report);
        Ok(report)
    }

    /// Says of each finding what to do about it.
    fn say_fixes(&self, report: &mut Report) {
        let deep = if self.options.is_deep { " --deep" } else { "" };
        // As it has to be typed: without a word, pullctl means the kubelet's namespace.
        let namespace = match self.options.is_for_kubelet {
            true => String::new(),
            false => format!(" -n {}", self.client.namespace()),
        };
        let repair = format!("pullctl{namespace} check{deep} --repair {}", report.image);
        for finding in &mut report.findings {
            let users = match &finding.remedy {
                Remedy::Rewrite(unpacked, position) => {
                    let layer = unpacked.layers.get(*position);
                    let chain = layer.map(|(_, identity)| identity.chain_id.to_string());
                    self.users(&unpacked.snapshotter, &chain.unwrap_or_default())
                }
                Remedy::Discard(snapshotter, chain) => self.users(snapshotter, &chain.to_string()),
                _ => Vec::new(),
            };
            finding.fix = match users.is_empty() {
                true => repair.clone(),
                false => {
                    format!("it is in use by {}: end that first, then {repair}", users.join(", "))
                }
            };
        }
    }

    /// The names that a pull would have given the image beside those that it has.
    fn check_names(&self, image: &StoredImage, report: &mut Report) {
        const WHY: &str =
            "the kubelet asks by the tag, by the repository's digest and by the image ID";
        let Some(id) = image.id else { return };
        let has = |name: &str| image.names.iter().any(|known| known.name == name);
        let mut wanted: BTreeMap<String, &Image> = BTreeMap::new();
        for name in &image.names {
            let Ok(reference) = name.name.parse::<Reference>() else { continue };
            let is_usable = is_found_by_kubelet(&name.name);
            if NameKind::of(&name.name) == NameKind::Id || !is_usable {
                continue;
            }
            for stored in labels::image_names(&reference, &name.target.digest, &id) {
                wanted.entry(stored).or_insert(name);
            }
        }
        for (name, of) in wanted {
            let labels = labels::image_labels(image.has_pin(), &of.labels);
            if !has(&name) {
                let what = format!("name {name} is missing");
                let remedy = Remedy::Name(name.clone(), of.target.clone(), labels);
                report.findings.push(Finding::new("name-missing", name, what, WHY, remedy));
            }
        }
        let (key, value) = labels::CRI_IMAGE;
        for name in
            image.names.iter().filter(|name| name.labels.get(key).is_none_or(|it| it != value))
        {
            if !self.has_cri || !is_found_by_kubelet(&name.name) {
                continue;
            }
            let what = format!("name {} lacks the label {key}={value}", name.name);
            let why = "containerd's CRI plugin takes no care of names without it";
            let labels = labels::image_labels(image.has_pin(), &name.labels);
            let remedy = Remedy::Name(name.name.clone(), name.target.clone(), labels);
            report.findings.push(Finding::new("name-unmanaged", &name.name, what, why, remedy));
        }
    }
}
