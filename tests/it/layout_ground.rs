//! A layout in which others have had a hand: damaged blobs, links that lead elsewhere, a file system
//! that takes no writes.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::cli::Pullctl;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::Image;

fn pull_to(directory: &Path, reference: &str) -> Pullctl {
    let to = format!("oci:{}", directory.display());
    Pullctl::new().args(["pull", "--plain-http", "--to", &to, reference])
}

fn blob(directory: &Path, digest: &str) -> PathBuf {
    directory.join("blobs").join(digest.replace(':', "/"))
}

fn mount(arguments: &[&str]) {
    let status = Command::new("mount").args(arguments).status().unwrap();
    assert!(status.success(), "mount {arguments:?}");
}

#[test]
fn a_damaged_blob_is_fetched_again_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let registry = FaultyRegistry::start();
    let image = Image::small();
    let reference = registry.add_new(&image);
    pull_to(folder.path(), &reference).run().succeeded();
    let layer = image.layers()[0].clone();
    let path = blob(folder.path(), &layer.digest.to_string());
    let mut damaged = layer.bytes.to_vec();
    damaged[0] ^= 1;
    fs::write(&path, &damaged).unwrap();

    registry.forget_requests();
    let outcome = pull_to(folder.path(), &reference).run();
    outcome.succeeded().says(path.to_str().unwrap());
    assert_eq!(registry.requests_for("/blobs/").len(), 1);
    assert_eq!(fs::read(&path).unwrap(), layer.bytes);
}

#[test]
fn a_link_among_the_partial_downloads_is_not_written_through() {
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("passwd");
    fs::write(&outside, "untouched").unwrap();
    let directory = folder.path().join("layout");
    let registry = FaultyRegistry::start();
    let image = Image::small();
    let reference = registry.add_new(&image);
    let partial = directory.join(".pullctl-ingest");
    fs::create_dir_all(&partial).unwrap();
    for layer in image.layers() {
        let (_, name) = layer
            .digest
            .to_string()
            .split_once(':')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        symlink(&outside, partial.join(name)).unwrap();
    }
    pull_to(&directory, &reference).run().succeeded();
    assert_eq!(fs::read(&outside).unwrap(), b"untouched");
    assert!(!partial.exists());
    for layer in image.layers() {
        let path = blob(&directory, &layer.digest.to_string());
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
    }
}

#[test]
fn a_directory_of_blobs_that_lies_elsewhere_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("layout");
    let elsewhere = folder.path().join("elsewhere");
    fs::create_dir_all(&directory).unwrap();
    fs::create_dir_all(&elsewhere).unwrap();
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let blobs = directory.join("blobs");
    symlink(&elsewhere, &blobs).unwrap();
    let registry = FaultyRegistry::start();
    let reference = registry.add_new(&Image::small());
    let outcome = pull_to(&directory, &reference).run();
    outcome.ended_with(7).says(blobs.to_str().unwrap()).says("symbolic link").says("hint: ");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[test]
fn a_layout_that_is_complete_may_lie_on_a_read_only_file_system() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("layout");
    let registry = FaultyRegistry::start();
    let [first, second] = [(), ()].map(|()| registry.add_new(&Image::small()));
    pull_to(&directory, &first).run().succeeded();
    let index = fs::metadata(directory.join("index.json")).unwrap();
    let place = directory.to_str().unwrap();
    mount(&["--bind", place, place]);
    mount(&["-o", "remount,ro,bind", place]);
    let unchanged = pull_to(&directory, &first).run();
    let changed = pull_to(&directory, &second).run();
    assert!(Command::new("umount").arg(place).status().unwrap().success());
    unchanged.succeeded();
    changed.ended_with(1).says("ead-only file system").says("hint: ");
    let after = fs::metadata(directory.join("index.json")).unwrap();
    assert_eq!((after.ino(), after.mtime_nsec()), (index.ino(), index.mtime_nsec()));
}
