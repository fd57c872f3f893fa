//! What the kubelet's containerd is told about snapshots and the sandbox, pullctl goes by.

use serde_json::Value;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::cri::Cri;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::Image;
use crate::support::store::Store;

/// A daemon whose CRI starts containers from `native` snapshots and sandboxes from an image of ours.
fn unusual(version: Version) -> Containerd {
    let plugin = version.cri_plugin();
    let settings = match version {
        Version::V1_6 | Version::V1_7 => format!(
            "[plugins.'{plugin}']\nsandbox_image = 'sandbox.example/pause:9'\n\
             [plugins.'{plugin}'.containerd]\nsnapshotter = 'native'\n"
        ),
        Version::V2_1 | Version::Newer => format!(
            "[plugins.'{plugin}']\nsnapshotter = 'native'\n\
             [plugins.'{plugin}'.pinned_images]\nsandbox = 'sandbox.example/pause:9'\n"
        ),
    };
    Containerd::configured(version, &settings)
}

/// Pulls an image that nobody has; answers which snapshotters have it then.
fn unpacked_by(daemon: &Containerd, arrange: impl FnOnce(Pullctl) -> Pullctl) -> Vec<&'static str> {
    let registry = FaultyRegistry::start();
    let image = Image::small();
    let reference = registry.add_new(&image);
    arrange(Pullctl::pull(daemon, &reference)).run().succeeded();
    Cri::new(daemon).image_soon(&reference);
    let has = |snapshotter: &&'static str| {
        let store = Store::new(daemon, KUBERNETES).with_snapshotter(snapshotter);
        store.snapshots().contains_key(&image.chain_id())
    };
    ["native", "overlayfs"].into_iter().filter(has).collect()
}

fn explained(daemon: &Containerd, flags: &[&str]) -> Value {
    let explain = Pullctl::new().on(daemon).args(["explain", "-o", "json", "quay.io/a"]);
    let Outcome { stdout, .. } = explain.args(flags).run().succeeded();
    serde_json::from_str::<Value>(&stdout).unwrap()["containerd"].clone()
}

#[test]
fn images_are_unpacked_by_the_cris_snapshotter_unless_another_is_named() {
    for version in Version::ALL {
        let daemon = &unusual(version);
        let ignoring = |pull: Pullctl| pull.args(["--ignore-containerd-config"]);
        assert_eq!(unpacked_by(daemon, ignoring), ["native"], "{version}");
        let by_variable = |pull: Pullctl| pull.env("CONTAINERD_SNAPSHOTTER", "overlayfs");
        assert_eq!(unpacked_by(daemon, by_variable), ["overlayfs"], "{version}");
        let by_flag = |pull: Pullctl| {
            pull.args(["--snapshotter", "native"]).env("CONTAINERD_SNAPSHOTTER", "overlayfs")
        };
        assert_eq!(unpacked_by(daemon, by_flag), ["native"], "{version}");
    }
}

#[test]
fn the_cris_snapshotter_and_sandbox_image_are_explained() {
    for version in Version::ALL {
        let daemon = &unusual(version);
        let file = daemon.config_file().display().to_string();
        let told = explained(daemon, &["--containerd-config", &file]);
        assert_eq!(told["snapshotter"], "native", "{version}: {told}");
        assert_eq!(told["sandbox_image"], "sandbox.example/pause:9", "{version}: {told}");
        // The daemon tells its snapshotter without the file.
        let told = explained(daemon, &["--ignore-containerd-config"]);
        assert_eq!(told["snapshotter"], "native", "{version}: {told}");
    }
}
