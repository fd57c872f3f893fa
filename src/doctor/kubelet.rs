//! What the kubelet is told, beside what containerd is told and what is here.

use super::finding::{Edit, Finding, Fix};
use super::hosts::shell_word;
use super::node::Node;
use crate::config::kubelet::{Admission, Kubelet};
use crate::failure::{Diagnose as _, Diagnostic};
use crate::reference::Reference;

/// Most images that are told one by one.
const MAX_TOLD: usize = 20;

pub(super) fn findings(node: &Node) -> Vec<Finding> {
    let kubelet = match &node.kubelet {
        Ok(Some(kubelet)) => kubelet,
        Ok(None) => return Vec::new(),
        Err(error) => {
            let why = "the kubelet does not start with it";
            let what = Diagnostic::of(error).one_line();
            let fix = Fix::text(error.hint().unwrap_or_default());
            let finding = Finding::error("kubelet-settings-broken", what, why).fixed_by(fix);
            return vec![match error.location() {
                Some(location) => finding.at(&location.path, location.line),
                None => finding,
            }];
        }
    };
    let mut found: Vec<Finding> = kubelet
        .removed_flags
        .iter()
        .map(|flag| {
            let what = format!(
                "the kubelet is given --{}, which is gone since Kubernetes {}",
                flag.name, flag.since
            );
            let why = "a kubelet of that version or a later one does not start with it";
            let fix = Fix::text(format!(
                "take --{} out of {}, before the kubelet is updated",
                flag.name, flag.place
            ));
            Finding::warning("kubelet-flag-removed", what, why).fixed_by(fix)
        })
        .collect();
    found.extend(other_socket(node, kubelet));
    found.extend(cgroups(node, kubelet));
    found.extend(collects_unpinned(node, kubelet));
    found.extend(refused(node, kubelet));
    found
}

/// A kubelet that talks to another daemon than the one that answered us.
fn other_socket(node: &Node, kubelet: &Kubelet) -> Option<Finding> {
    let endpoint = kubelet.runtime_endpoint.as_deref()?;
    let own = node.client()?.address();
    let path = std::path::Path::new(endpoint.strip_prefix("unix://").unwrap_or(endpoint));
    let real = |path: &std::path::Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if real(path) == real(own) {
        return None;
    }
    let what = format!("the kubelet talks to {}, and pullctl to {}", path.display(), own.display());
    let why = "what is pulled into one daemon is not there for pods of the other";
    let fix = Fix::text("name the kubelet's, or set CONTAINERD_ADDRESS to it")
        .then(format!("pullctl -a {} doctor", path.display()));
    Some(Finding::warning("kubelet-of-another-daemon", what, why).fixed_by(fix))
}

/// The driver of containers' cgroups, by containerd's configuration and by the kubelet's.
fn cgroups(node: &Node, kubelet: &Kubelet) -> Option<Finding> {
    let wanted = kubelet.cgroup_driver.as_deref()?;
    let settings = node.settings.as_ref()?;
    let setting = settings.find(&["runtimes", "runc", "options", "SystemdCgroup"]);
    let is_systemd = setting.is_some_and(|setting| setting.is(true));
    if is_systemd == (wanted == "systemd") {
        return None;
    }
    let ours = if is_systemd { "systemd" } else { "cgroupfs" };
    let what = format!("containerd's runc uses {ours} for cgroups, and the kubelet {wanted}");
    let why =
        "two masters of the same cgroups: pods fail to start, or are killed when memory runs short";
    let content = format!("SystemdCgroup = {}", !is_systemd);
    let finding = Finding::error("cgroup-drivers-differ", what, why);
    Some(match setting {
        Some(setting) => {
            let edit = Edit::Replace { file: setting.file.clone(), line: setting.line, content };
            finding.at(&setting.file, setting.line).fixed_by(Fix::edit(edit).then(node.restart()))
        }
        None => {
            let table = "[plugins.\"…\".containerd.runtimes.runc.options] of the CRI plugin";
            let text = format!("write `{content}` into {table}, in {}", settings.path.display());
            finding.fixed_by(Fix::text(text).then(node.restart()))
        }
    })
}

fn collects_unpinned(node: &Node, kubelet: &Kubelet) -> Option<Finding> {
    let age = kubelet.image_maximum_age?;
    let pinned = |image: &&crate::images::StoredImage| !image.is_pinned();
    let first = node.images.iter().find(pinned)?;
    let what = format!("the kubelet removes images that no pod has used for {} s", age.as_secs());
    let why =
        "images that were pulled for later and are not pinned go with it (`imageMaximumGCAge`)";
    let name = first.names.first().map_or("IMAGE", |name| name.name.as_str());
    let fix = Fix::text("pin those that are to stay")
        .then(node.pullctl(&format!("pin {}", shell_word(name))));
    Some(Finding::note("unpinned-images-go", what, why).fixed_by(fix))
}

/// Images that are here and that the kubelet will not take as they are.
fn refused(node: &Node, kubelet: &Kubelet) -> Vec<Finding> {
    let mut found = Vec::new();
    for image in &node.images {
        let Some(id) = image.id else { continue };
        let tagged = image.names.iter().filter_map(|name| name.name.parse::<Reference>().ok());
        for reference in tagged.filter(|reference| reference.tag().is_some()) {
            let admission = kubelet.verification.admission(&reference, &id.to_string());
            let Ok(Admission::PulledAgain(words)) = admission else { continue };
            let what = format!("the kubelet will not take {reference} as it is: {words}");
            let why = "a pod pulls it again, and with imagePullPolicy: Never it fails with ErrImageNeverPull";
            let fix = Fix::text(format!(
                "let a pod pull {reference} once with its Secret, or put {} on preloadedImagesVerificationAllowlist with \
                 imagePullCredentialsVerificationPolicy: NeverVerifyAllowlistedImages",
                reference.name()
            ));
            found.push(Finding::warning("image-refused-by-kubelet", what, why).fixed_by(fix));
            if found.len() >= MAX_TOLD {
                return found;
            }
        }
    }
    found
}
