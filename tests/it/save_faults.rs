//! Saves that fail: the reason is told, and nothing is left behind.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::save::{image, names_in, new_file, run, save};
use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, Version};
use crate::support::faulty::{Fault, FaultyRegistry, Gate};
use crate::support::image::{Blob, Image, Layer, Recipe};
use crate::support::{each_version, unique};

fn daemon() -> &'static Containerd {
    Containerd::shared(Version::V2_1)
}

/// Where the daemon keeps the blob.
fn stored(daemon: &Containerd, blob: &Blob) -> PathBuf {
    let store = daemon.root().join("io.containerd.content.v1.content");
    store.join("blobs").join(blob.digest.to_string().replace(':', "/"))
}

/// Alters the stored blob's last byte.
fn damage(daemon: &Containerd, blob: &Blob) {
    let path = stored(daemon, blob);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn is_empty(folder: &Path) -> bool {
    names_in(folder).is_empty()
}

each_version! {
    fn a_damaged_blob_is_in_no_archive(daemon) {
        let registry = FaultyRegistry::start();
        let (image, _, _) = image();
        let damaged = &image.layers()[1];
        let reference = registry.add_new(&image);
        Pullctl::pull(daemon, &reference).run().succeeded();
        damage(daemon, damaged);
        let (folder, archive) = new_file("images.tar");
        let digest = damaged.digest.to_string();
        let said = save(daemon, &archive, &[&reference]).run().ended_with(7);
        said.says(&digest).says("is damaged in containerd's namespace k8s.io");
        let apart = Pullctl::blind_to(&daemon.root()).on(daemon).args(["save", "-o"]);
        apart.args([&archive]).args([&reference]).run().ended_with(7).says(&digest);
        save(daemon, Path::new("-"), &[&reference]).run().ended_with(7).says(&digest);
        assert!(is_empty(folder.path()));
    }
}

#[test]
fn what_is_there_stays_when_a_save_fails_and_goes_when_it_succeeds() {
    let registry = FaultyRegistry::start();
    let (image, _, _) = image();
    let reference = registry.add_new(&image);
    Pullctl::pull(daemon(), &reference).run().succeeded();
    let (folder, archive) = new_file("images.tar");
    std::fs::write(&archive, "last week's").unwrap();
    let link = folder.path().join("link.tar");
    std::os::unix::fs::symlink("images.tar", &link).unwrap();
    let absent = "example.org/absent:1";
    let refused = save(daemon(), &link, &[&reference, absent]).run();
    refused.ended_with(3).says(absent);
    assert_eq!(std::fs::read(&archive).unwrap(), b"last week's");
    save(daemon(), &link, &[&reference]).run().succeeded();
    assert!(link.is_symlink());
    assert!(archive.metadata().unwrap().len() > 3 << 20);
    assert_eq!(names_in(folder.path()).len(), 2);
}

#[test]
fn a_full_disk_is_named_as_the_cause() {
    let registry = FaultyRegistry::start();
    let (image, _, _) = image();
    let reference = registry.add_new(&image);
    Pullctl::pull(daemon(), &reference).run().succeeded();
    let (folder, archive) = new_file("images.tar");
    let directory = folder.path().to_str().unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=1m", "none", directory]);
    let outcome = save(daemon(), &archive, &[&reference]).run();
    let left = names_in(folder.path());
    run("umount", &[directory]);
    outcome.ended_with(10).says("hint: free space");
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn an_interrupted_save_leaves_nothing() {
    let registry = FaultyRegistry::start();
    let image = Recipe::new(vec![Layer::noise(&unique("layer"), 8 << 20)]).build();
    let reference = registry.add_new(&image);
    let gate = Gate::new();
    let stall = Some(Fault::Stall(1000, gate.clone()));
    let layer = image.layers()[0].digest.to_string();
    registry.script(&layer, vec![None, None, None, stall]);
    let (folder, archive) = new_file("images.tar");
    let flags = ["save", "--from", "registry", "--plain-http", "--chunk-size", "1MiB", "-o"];
    let running = Pullctl::new().args(flags).args([&archive]).args([&reference]).spawn();
    gate.wait_until_reached();
    let written = || names_in(folder.path()).iter().any(|name| name.ends_with(".part"));
    crate::support::wait_until("an archive that is begun", || written().then_some(()));
    running.signal(Signal::INT);
    running.wait().ended_with(130);
    gate.open();
    assert!(is_empty(folder.path()));
}

#[test]
fn a_reader_that_goes_away_is_an_error_and_no_panic() {
    let registry = FaultyRegistry::start();
    let image = Recipe::new(vec![Layer::noise(&unique("layer"), 8 << 20)]).build();
    let reference = registry.add_new(&image);
    Pullctl::pull(daemon(), &reference).run().succeeded();
    let mut child = Command::new(env!("CARGO_BIN_EXE_pullctl"))
        .arg("-a")
        .arg(daemon().socket())
        .args(["save", "-o", "-", &reference])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut beginning = [0; 512];
    child.stdout.take().unwrap().read_exact(&mut beginning).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot write standard output") && !said.contains("panic"), "{said}");
}

#[test]
fn a_terminal_gets_no_archive() {
    let line = format!("{} save -o - busybox", env!("CARGO_BIN_EXE_pullctl"));
    let output = Command::new("script").args(["-qec", &line, "/dev/null"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("not written to a terminal") && said.contains("hint:"), "{said}");
}

#[test]
fn a_stream_gets_the_archive_and_nothing_else() {
    let registry = FaultyRegistry::start();
    let image = Image::small();
    let reference = registry.add_new(&image);
    Pullctl::pull(daemon(), &reference).run().succeeded();
    let (_folder, archive) = new_file("images.tar");
    save(daemon(), &archive, &[&reference]).run().succeeded();
    for output in ["-", "/dev/stdout"] {
        let streamed = Command::new(env!("CARGO_BIN_EXE_pullctl"))
            .arg("-a")
            .arg(daemon().socket())
            .args(["save", "-o", output, &reference])
            .output()
            .unwrap();
        assert!(streamed.stdout == std::fs::read(&archive).unwrap(), "{output}");
        assert!(String::from_utf8_lossy(&streamed.stderr).contains(&reference));
    }
}

#[test]
fn an_image_that_another_namespace_has_is_told_of() {
    let registry = FaultyRegistry::start();
    let reference = registry.add_new(&Image::small());
    let namespace = unique("elsewhere");
    Pullctl::pull(daemon(), &reference).args(["-n", &namespace]).run().succeeded();
    let (folder, archive) = new_file("images.tar");
    let refused = save(daemon(), &archive, &[&reference]).run();
    refused.ended_with(3).says(&reference).says(&namespace);
    assert!(is_empty(folder.path()));
}

#[test]
fn what_cannot_be_written_is_refused() {
    let registry = FaultyRegistry::start();
    let reference = registry.add_new(&Image::small());
    Pullctl::pull(daemon(), &reference).run().succeeded();
    let folder = tempfile::tempdir().unwrap();
    save(daemon(), folder.path(), &[&reference]).run().ended_with(2).says("is a directory");
    let nowhere = folder.path().join("none/images.tar");
    save(daemon(), &nowhere, &[&reference]).run().ended_with(1).says("make the directory first");
    save(daemon(), Path::new("/dev/full"), &[&reference]).run().ended_with(10);
    assert!(is_empty(folder.path()));
}
