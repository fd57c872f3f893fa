//! What the node around the daemon wants: its kubelet, and what pods' sandboxes are made of.

use crate::config::{Environment, Kubelet};
use crate::failure::{Diagnostic, Notice};
use crate::progress::{self, Event};
use crate::transfer::NodeRules;

/// What this node wants, of which containerd's configuration says that pods' sandboxes are made of
/// `sandbox`.
pub(super) fn of_node(sandbox: Option<String>, told: &dyn progress::Sink) -> NodeRules {
    let kubelet = Kubelet::find(&Environment::of_process()).unwrap_or_else(|error| {
        // It keeps no image from being brought.
        let error = Diagnostic::of(&error).one_line();
        let message = format!("what the kubelet wants is unknown: {error}");
        told.event(Event::Warning(Notice::new("kubelet-unknown", message)));
        None
    });
    NodeRules {
        threshold: kubelet.as_ref().and_then(|kubelet| kubelet.image_fs_available),
        verification: kubelet.map(|kubelet| kubelet.verification),
        sandbox,
    }
}
