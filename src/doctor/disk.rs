//! Room for images, by what the kubelet wants.

use std::path::Path;

use super::finding::{Finding, Fix};
use super::kubelet::thresholds;
use super::node::Node;

/// Below which part of a disk's inodes the kubelet evicts pods: `imagefs.inodesFree<5%`.
const LEAST_INODES: f64 = 0.05;

pub(super) fn findings(node: &Node) -> Vec<Finding> {
    node.root().map(|root| room(node, &root)).unwrap_or_default()
}

fn room(node: &Node, root: &Path) -> Vec<Finding> {
    let Ok(disk) = rustix::fs::statvfs(root) else { return Vec::new() };
    let capacity = disk.f_blocks.saturating_mul(disk.f_frsize);
    let (least, collects) = thresholds(node, capacity);
    let disk = Room {
        capacity,
        free: disk.f_bavail.saturating_mul(disk.f_frsize),
        inodes: if disk.f_files == 0 { 1.0 } else { disk.f_favail as f64 / disk.f_files as f64 },
    };
    judged(root, &disk, least, collects)
}

/// How much of a disk is left.
struct Room {
    capacity: u64,
    free: u64,
    /// The part of the inodes that are free.
    inodes: f64,
}

/// What is said of a disk of which `least` bytes have to be free, and no more than `collects` used.
fn judged(root: &Path, disk: &Room, least: u64, collects: f64) -> Vec<Finding> {
    let mut found = Vec::new();
    let Room { capacity, free, inodes } = *disk;
    let used = 1.0 - free as f64 / capacity.max(1) as f64;
    let percent = |part: f64| (part * 100.0).floor() as u64;
    let fix = || {
        Fix::text("remove what nobody uses, or give it more room")
            .then("pullctl doctor --clean")
            .then("crictl rmi --prune")
    };
    if free < least {
        let what = format!("{free} bytes are free on the disk with {}", root.display());
        let why = format!("the kubelet evicts pods where less than {least} are");
        found.push(Finding::warning("disk-nearly-full", what, why).fixed_by(fix()));
    } else if used >= collects {
        let what = format!("{} % of the disk with {} are used", percent(used), root.display());
        let why = format!(
            "from {} % on the kubelet removes images that no pod uses, pre-pulled ones among them",
            percent(collects)
        );
        found.push(Finding::note("disk-filling", what, why).fixed_by(fix()));
    }
    if inodes < LEAST_INODES {
        let what = format!(
            "{} % of the inodes of the disk with {} are free",
            percent(inodes),
            root.display()
        );
        let why = "the kubelet evicts pods below 5 %, whatever room is left";
        found.push(Finding::warning("inodes-nearly-used", what, why).fixed_by(fix()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_judged_as_the_kubelet_judges_it() {
        let codes = |free, inodes| -> Vec<&str> {
            let disk = Room { capacity: 1000, free, inodes };
            judged(Path::new("/"), &disk, 150, 0.85).iter().map(|finding| finding.code).collect()
        };
        assert!(codes(500, 0.5).is_empty());
        assert_eq!(codes(149, 0.5), ["disk-nearly-full"]);
        assert_eq!(codes(150, 0.04), ["disk-filling", "inodes-nearly-used"]);
    }
}
