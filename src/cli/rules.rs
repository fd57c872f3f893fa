//! What the node around the daemon wants: its kubelet, and what pods' sandboxes are made of.

use crate::config::{Environment, Kubelet};
use crate::failure::{Diagnostic, Notice};
use crate::progress::{self, Event};
use crate::transfer::NodeRules;

/// What a node wants that has this `kubelet`, and of which containerd's configuration says that pods'
/// sandboxes are made of `sandbox`.
pub(super) fn of(kubelet: Option<&Kubelet>, sandbox: Option<String>) -> NodeRules {
    NodeRules {
        threshold: kubelet.and_then(|kubelet| kubelet.image_fs.available),
        verification: kubelet.map(|kubelet| kubelet.verification.clone()),
        sandbox,
    }
}

/// The same where the node's files have not been read.
pub(super) fn of_node(sandbox: Option<String>, told: &dyn progress::Sink) -> NodeRules {
    let kubelet = Kubelet::find(&Environment::of_process()).unwrap_or_else(|error| {
        // It keeps no image from being brought.
        let error = Diagnostic::of(&error).one_line();
        let message = format!("what the kubelet wants is unknown: {error}");
        told.event(Event::Warning(Notice::new("kubelet-unknown", message)));
        None
    });
    of(kubelet.as_ref(), sandbox)
}
