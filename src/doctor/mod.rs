//! The node's health: what is looked at, and what was found, each with the exact fix.
//!
//! | file | owns |
//! |---|---|
//! | `finding` | what is told |
//! | `node` | what is looked at, read once |
//! | `daemon` | sockets, versions, the CRI, plugins |
//! | `settings` | containerd's configuration |
//! | `hosts` | the directories of registries, their files and certificates |
//! | `logins` | who has one and who has not |
//! | `proxies` | the variables of this shell beside those of the daemon |
//! | `sandbox` | the image of pods' sandboxes |
//! | `namespaces` | images that are where nobody looks for them |
//! | `kubelet` | what the kubelet is told |
//! | `disk` | room for images |
//! | `remains` | what pulls that ended early have left |
//! | `verifiers` | image verifiers that can't be run |
//! | `network` | every registry that the node is configured for |
//!
//! Prints nothing, changes nothing.

mod daemon;
mod disk;
mod finding;
mod hosts;
mod kubelet;
mod logins;
mod namespaces;
mod network;
mod node;
mod proxies;
mod remains;
mod sandbox;
mod settings;
mod verifiers;

pub use daemon::runc_version;
pub use finding::{Edit, Finding, Fix, Severity};
pub use network::visit as visit_network;
pub use node::{Node, file_of_daemon};

/// Looks at everything but the network. The worst comes first.
pub async fn examine(node: &Node) -> Vec<Finding> {
    let mut found = daemon::findings(node).await;
    found.extend(settings::findings(node));
    found.extend(hosts::findings(node));
    found.extend(logins::findings(node).await);
    found.extend(proxies::findings(node));
    found.extend(sandbox::findings(node));
    found.extend(namespaces::findings(node).await);
    found.extend(kubelet::findings(node));
    found.extend(disk::findings(node));
    found.extend(remains::findings(node).await);
    found.extend(verifiers::findings(node).await);
    sort(&mut found);
    found
}

/// The worst first; otherwise in the order of looking.
pub fn sort(findings: &mut Vec<Finding>) {
    findings.sort_by_key(|finding| finding.severity);
    findings.dedup();
}
