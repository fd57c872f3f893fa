//! Room for images and pods, in bytes and in inodes, by what the kubelet wants.

use std::path::{Path, PathBuf};

use super::finding::{Finding, Fix};
use super::node::Node;
use crate::config::kubelet::{Kubelet, Limits, Threshold};
use crate::failure::read_only_mount;

/// From which percentage of a disk on the kubelet removes images, where it says nothing else.
const USUAL_COLLECTION: u8 = 85;

pub(super) fn findings(node: &Node) -> Vec<Finding> {
    let kubelet = node.kubelet.as_ref().ok().and_then(Option::as_ref);
    let mut found = read_only(node, kubelet);
    if let Some(root) = node.root() {
        let limits = kubelet.map_or(Limits::USUAL, |kubelet| kubelet.image_fs);
        let collects = kubelet.map_or(USUAL_COLLECTION, |kubelet| kubelet.image_gc_high_percent);
        let images = Purpose { signal: "imagefs", limits, collects: Some(collects) };
        found.extend(Room::at(&root).map(|room| images.judge(&root, &room)).unwrap_or_default());
    }
    if let Some(Kubelet { root_directory, node_fs, .. }) = kubelet {
        let pods = Purpose { signal: "nodefs", limits: *node_fs, collects: None };
        let judged = Room::at(root_directory).map(|room| pods.judge(root_directory, &room));
        // Images and pods are mostly on one disk, of which one word is enough.
        let is_new = |finding: &Finding| !found.iter().any(|known| known.code == finding.code);
        let more: Vec<Finding> = judged.unwrap_or_default().into_iter().filter(is_new).collect();
        found.extend(more);
    }
    found
}

/// Each mount that is read-only and has what containerd or the kubelet writes.
fn read_only(node: &Node, kubelet: Option<&Kubelet>) -> Vec<Finding> {
    let of_daemon = node.directories().into_iter().map(|path| (path, "containerd"));
    let of_kubelet = kubelet.map(|kubelet| (kubelet.root_directory.clone(), "the kubelet"));
    let mut mounts: Vec<PathBuf> = Vec::new();
    let mut found = Vec::new();
    for (path, whose) in of_daemon.chain(of_kubelet) {
        let Some(mount) = read_only_mount(&path).filter(|mount| !mounts.contains(mount)) else {
            continue;
        };
        let shown = mount.display();
        let what = format!("{shown} is mounted read-only, and {whose} writes {}", path.display());
        let why = match whose {
            "containerd" => "no image can be pulled, unpacked or removed, and no container started",
            _ => "no pod can be started",
        };
        let fix = "see in dmesg whether the kernel did that after errors of the disk, which fsck mends; \
                   if not, somebody mounted it so";
        let fix = Fix::text(fix).then(format!("mount -o remount,rw {shown}"));
        found.push(Finding::error("disk-read-only", what, why).fixed_by(fix));
        mounts.push(mount);
    }
    found
}

/// What a file system has of something.
#[derive(Debug, Clone, Copy)]
struct Amount {
    all: u64,
    free: u64,
}

impl Amount {
    /// The percentage that is used, rounded down.
    fn used_percent(self) -> u64 {
        let used = u128::from(self.all.saturating_sub(self.free)) * 100;
        u64::try_from(used / u128::from(self.all.max(1))).unwrap_or(100)
    }

    /// How much `threshold` wants to be free, where less is.
    fn below(self, threshold: Option<Threshold>) -> Option<u64> {
        threshold.map(|threshold| threshold.of(self.all)).filter(|least| self.free < *least)
    }
}

/// How much of a disk is left.
struct Room {
    bytes: Amount,
    /// `None` on file systems that make inodes as they need them.
    inodes: Option<Amount>,
}

impl Room {
    fn at(path: &Path) -> Option<Self> {
        let disk = rustix::fs::statvfs(path).ok()?;
        let in_bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        let bytes = Amount { all: in_bytes(disk.f_blocks), free: in_bytes(disk.f_bavail) };
        let inodes = Amount { all: disk.f_files, free: disk.f_favail };
        Some(Self { bytes, inodes: Some(inodes).filter(|inodes| inodes.all > 0) })
    }
}

/// What a disk is for, by the kubelet's names, and what it wants of it.
struct Purpose {
    signal: &'static str,
    limits: Limits,
    /// From which percentage on images are removed.
    collects: Option<u8>,
}

impl Purpose {
    fn judge(&self, path: &Path, room: &Room) -> Vec<Finding> {
        let (signal, shown) = (self.signal, path.display());
        let bytes = room.bytes;
        let fix = || {
            Fix::text("remove what nobody uses, or give it more room")
                .then("pullctl doctor --clean")
                .then("crictl rmi --prune")
        };
        let mut found = Vec::new();
        if let Some(least) = bytes.below(self.limits.available) {
            let what = format!("{} bytes are free on the disk with {shown}", bytes.free);
            let why =
                format!("the kubelet evicts pods where less than {least} are ({signal}.available)");
            found.push(Finding::warning("disk-nearly-full", what, why).fixed_by(fix()));
        } else if let Some(percent) =
            self.collects.filter(|it| u64::from(*it) <= bytes.used_percent())
        {
            let what = format!("{} % of the disk with {shown} are used", bytes.used_percent());
            let why = format!(
                "from {percent} % on the kubelet removes images that no pod uses, pre-pulled ones \
                 among them (imageGCHighThresholdPercent)"
            );
            found.push(Finding::note("disk-filling", what, why).fixed_by(fix()));
        }
        if let Some(inodes) = room.inodes
            && let Some(least) = inodes.below(self.limits.inodes)
        {
            let what = format!(
                "{} of {} inodes are free on the disk with {shown}",
                inodes.free, inodes.all
            );
            let why = format!(
                "the kubelet evicts pods where less than {least} are ({signal}.inodesFree), whatever \
                 room is left"
            );
            found.push(Finding::warning("inodes-nearly-used", what, why).fixed_by(fix()));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(limits: Limits, free: u64, inodes: Option<u64>) -> Vec<&'static str> {
        let room = Room {
            bytes: Amount { all: 1000, free },
            inodes: inodes.map(|free| Amount { all: 100, free }),
        };
        let purpose = Purpose { signal: "imagefs", limits, collects: Some(85) };
        purpose.judge(Path::new("/"), &room).iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn room_is_judged_as_the_kubelet_judges_it() {
        let usual = Limits::USUAL;
        assert!(codes(usual, 500, Some(50)).is_empty());
        assert_eq!(codes(usual, 149, Some(50)), ["disk-nearly-full"]);
        assert_eq!(codes(usual, 150, Some(4)), ["disk-filling", "inodes-nearly-used"]);
        assert!(codes(usual, 500, None).is_empty());
        let unlimited = Limits { available: None, inodes: None };
        assert_eq!(codes(unlimited, 0, Some(0)), ["disk-filling"]);
        let many = Limits { available: None, inodes: Some(Threshold::Bytes(60)) };
        assert_eq!(codes(many, 500, Some(59)), ["inodes-nearly-used"]);
        assert!(codes(many, 500, Some(60)).is_empty());
    }
}
