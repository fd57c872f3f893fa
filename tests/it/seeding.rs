//! Seeding a node again and again, and what tells of it.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::each_version;
use crate::support::image::{Image, Layer, Recipe};
use crate::support::registry::Registry;
use crate::support::store::Store;

fn status(path: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// A pull of `references` with both files in `directory`, from a list.
fn seeding(daemon: &Containerd, directory: &Path, references: &[&str]) -> Pullctl {
    std::fs::write(directory.join("images.txt"), references.join("\n")).unwrap();
    Pullctl::new()
        .on(daemon)
        .args(["pull", "--progress", "none", "-f"])
        .args([directory.join("images.txt")])
        .args(["--status-file".into(), directory.join("status.json")])
        .args(["--metrics-file".into(), directory.join("pullctl.prom")])
}

each_version! {
    fn a_status_and_metrics_tell_what_a_seeding_came_to(daemon) {
        let directory = tempfile::tempdir().unwrap();
        let registry = Registry::start();
        let present = registry.push_new(&Image::small());
        let absent = format!("{}/no/such:image", registry.authority());
        let file = directory.path().join("status.json");
        let tell = || Pullctl::new().args(["status"]).args([&file]).run();
        tell().ended_with(3).says("--status-file");

        seeding(daemon, directory.path(), &[&present, &absent]).run().ended_with(11);
        let told = tell().ended_with(11);
        assert!(told.stdout.starts_with("1 of 2 images in place at "), "{told:?}");
        assert!(told.stdout.contains("\n1 failed: not-found"), "{told:?}");
        let metrics = std::fs::read_to_string(directory.path().join("pullctl.prom")).unwrap();
        for line in [
            "pullctl_images_wanted 2",
            "pullctl_images_present 1",
            "pullctl_failures_by_kind{kind=\"not-found\"} 1",
            "pullctl_last_success_timestamp_seconds 0",
        ] {
            assert!(metrics.lines().any(|written| written == line), "{line} in {metrics}");
        }

        seeding(daemon, directory.path(), &[&present]).run().succeeded();
        tell().ended_with(0);
        let success = status(&file).unwrap()["last_success"].clone();
        assert!(success.is_string());
        // One that fails before its first image is noted too, and forgets no success.
        seeding(daemon, directory.path(), &["No/Reference"]).run().ended_with(2);
        tell().ended_with(2);
        let told = status(&file).unwrap();
        assert_eq!(told["last_success"], success);
        assert!(told["error"].as_str().unwrap().contains("images.txt"), "{told}");
    }

    fn a_seeding_goes_on_until_it_is_stopped_and_reads_its_list_anew(daemon) {
        let directory = tempfile::tempdir().unwrap();
        let registry = Registry::start();
        let reference = format!("{}/late/image:v1", registry.authority());
        let file = directory.path().join("status.json");
        let running = seeding(daemon, directory.path(), &[&reference])
            .args(["--interval", "100ms", "--splay", "1ms"])
            .spawn();
        let seen = |code: u64| status(&file).filter(|told| told["rounds"] != 0 && told["exit_code"] == code);
        daemon.wait_until("a round that finds nothing", || seen(3));
        registry.push(&Image::small(), "late/image", "v1");
        daemon.wait_until("a round that finds the image", || seen(0));
        let other = registry.push_new(&Recipe::new(vec![Layer::noise("other", 100)]).build());
        std::fs::write(directory.path().join("images.txt"), &other).unwrap();
        let is_there = || Store::new(daemon, KUBERNETES).images().contains_key(&other).then_some(());
        daemon.wait_until("the image that was added to the list", is_there);
        running.signal(Signal::TERM);
        let ended = running.wait();
        // Between two rounds that is how it is meant to end; within one it is an interruption.
        assert!(matches!(ended.code, Some(0 | 130)), "{ended:?}");
    }
}

#[test]
fn what_can_be_read_once_only_is_no_list_for_several_rounds() {
    Pullctl::new()
        .args(["pull", "--interval", "1h", "-f", "-"])
        .input("busybox\n")
        .run()
        .ended_with(2)
        .says("put the images into a file");
}

#[test]
fn a_status_that_cannot_be_written_is_told_before_anything_is_pulled() {
    let daemon = Containerd::shared(Version::V2_1);
    let registry = Registry::start();
    let reference = registry.push_new(&Image::small());
    let requests = registry.requests().len();
    Pullctl::pull(daemon, &reference)
        .args(["--status-file", "/no/such/directory/status.json"])
        .run()
        .ended_with(1)
        .says("cannot write /no/such/directory/status.json");
    assert_eq!(registry.requests().len(), requests);
}
