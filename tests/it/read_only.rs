//! A file system of the daemon's that is mounted read-only, as the kernel leaves one with errors: what
//! each command says of it, and that the fix is one.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::archive::{Archive, text};
use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::damage::blob_file;
use crate::support::faulty::FaultyRegistry;
use crate::support::fix;
use crate::support::image::Image;
use crate::support::store::Store;

/// A directory over which it is mounted itself, read-only, until this goes.
struct ReadOnly {
    place: PathBuf,
}

impl ReadOnly {
    fn over(place: PathBuf) -> Self {
        mount(&["--bind", text(&place), text(&place)]);
        let mounted = Self { place };
        mount(&["-o", "remount,bind,ro", text(&mounted.place)]);
        mounted
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.place).status();
    }
}

#[track_caller]
fn mount(arguments: &[&str]) {
    let status = Command::new("mount").args(arguments).status().unwrap();
    assert!(status.success(), "mount {arguments:?}");
}

/// Sees that the command failed for this mount, of which the hint says how it is written again.
#[track_caller]
fn tells_of(outcome: Outcome, place: &Path) {
    let outcome = outcome.says("is mounted read-only, could not ").says("hint: ").says("dmesg");
    let shown = place.display();
    outcome.says(&format!("with {shown}")).says(&format!("mount -o remount,rw {shown}"));
}

#[test]
fn a_disk_that_is_mounted_read_only_is_told_by_each_command_and_mended_by_the_fix() {
    let daemon = &Containerd::private(Version::V2_1);
    let registry = FaultyRegistry::start();
    let run = |arguments: &[&str]| Pullctl::new().on(daemon).args(arguments).run();
    let here = Image::small();
    let old = registry.add_new(&here);
    run(&["pull", "--plain-http", &old]).succeeded();
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("image.tar");
    let loaded = "registry.example/loaded:v1";
    std::fs::write(&archive, Archive::oci(&[(&Image::small(), loaded)]).build()).unwrap();
    let new = registry.add_new(&Image::small());

    let layer = blob_file(daemon, &here.layers()[0].digest.to_string());
    std::fs::write(&layer, "torn").unwrap();
    let content = daemon.root().join("io.containerd.content.v1.content");
    let mounted = ReadOnly::over(content.clone());
    tells_of(run(&["pull", "--plain-http", &new]).ended_with(9), &content);
    tells_of(run(&["load", "-i", text(&archive)]).ended_with(9), &content);
    tells_of(run(&["check", "--plain-http", "--repair", &old]).ended_with(7), &content);
    // What lost its names here would be freed by nobody.
    tells_of(run(&["rm", &old]).ended_with(9), &content);
    assert!(Store::new(daemon, KUBERNETES).images().contains_key(&old));

    let outcome = run(&["doctor", "-o", "json"]).ended_with(1);
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let findings = document["findings"].as_array().unwrap();
    let found: Vec<_> = findings.iter().filter(|it| it["code"] == "disk-read-only").collect();
    let [finding] = found.as_slice() else { panic!("{document}") };
    assert!(finding["what"].as_str().unwrap().contains(text(&content)), "{finding}");
    fix::apply(&finding["fix"], daemon);
    run(&["check", "--plain-http", "--repair", &old]).succeeded();
    run(&["pull", "--plain-http", &new]).succeeded();
    drop(mounted);

    let snapshots = daemon.root().join("io.containerd.snapshotter.v1.overlayfs");
    let mounted = ReadOnly::over(snapshots.clone());
    tells_of(run(&["load", "-i", text(&archive)]).ended_with(9), &snapshots);
    drop(mounted);
    run(&["load", "-i", text(&archive)]).succeeded();
    run(&["rm", &old]).succeeded();
}
