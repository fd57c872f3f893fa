//! The layout as its callers see it: what is visible when, and what is resumed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use bytes::Bytes;
use futures_util::TryStreamExt as _;

use super::names::INGEST_DIRECTORY;
use super::*;
use crate::oci::{Descriptor, Digest, MediaType};

fn descriptor(bytes: &[u8]) -> Descriptor {
    Descriptor::new(MediaType::new("x"), Digest::of(bytes), bytes.len() as u64)
}

async fn begin(layout: &Layout, descriptor: &Descriptor) -> Ingest {
    match layout.ingest(descriptor).await.unwrap() {
        Opened::Ingest(ingest) => ingest,
        Opened::Exists => panic!("the blob is there already"),
    }
}

#[tokio::test]
async fn a_blob_is_visible_only_when_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path()).unwrap();
    let wanted = descriptor(b"hello world");
    let mut ingest = begin(&layout, &wanted).await;
    ingest.write(Bytes::from_static(b"hello ")).await.unwrap();
    assert!(!layout.contains(&wanted).await);
    ingest.write(Bytes::from_static(b"world")).await.unwrap();
    ingest.commit().await.unwrap();
    assert_eq!(layout.read(&wanted).await.unwrap(), "hello world");
    assert!(matches!(layout.ingest(&wanted).await.unwrap(), Opened::Exists));
    layout.tidy();
    assert!(!dir.path().join(INGEST_DIRECTORY).exists());
}

#[tokio::test]
async fn resumes_what_an_earlier_run_left() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path()).unwrap();
    let wanted = descriptor(b"hello world");
    fs::create_dir(dir.path().join(INGEST_DIRECTORY)).unwrap();
    let partial = dir.path().join(INGEST_DIRECTORY).join(wanted.digest.hex());
    fs::write(&partial, "hello ").unwrap();
    let mut ingest = begin(&layout, &wanted).await;
    assert_eq!(ingest.offset(), 6);
    ingest.write(Bytes::from_static(b"world")).await.unwrap();
    ingest.commit().await.unwrap();
    assert!(layout.contains(&wanted).await);
}

#[tokio::test]
async fn a_wrong_blob_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path()).unwrap();
    let wanted = descriptor(b"hello world");
    let mut ingest = begin(&layout, &wanted).await;
    ingest.write(Bytes::from_static(b"HELLO world")).await.unwrap();
    assert!(matches!(ingest.commit().await, Err(Error::Mismatch { .. })));
    assert!(!layout.contains(&wanted).await);
    assert_eq!(begin(&layout, &wanted).await.offset(), 0);
}

#[tokio::test]
async fn more_bytes_than_the_blob_has_are_no_beginning_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path()).unwrap();
    let wanted = descriptor(b"hi");
    fs::create_dir(dir.path().join(INGEST_DIRECTORY)).unwrap();
    let partial = dir.path().join(INGEST_DIRECTORY).join(wanted.digest.hex());
    fs::write(&partial, "hello").unwrap();
    assert_eq!(begin(&layout, &wanted).await.offset(), 0);
}

#[tokio::test]
async fn a_second_writer_waits_and_finds_the_blob() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path()).unwrap();
    let wanted = descriptor(b"hello");
    let mut first = begin(&layout, &wanted).await;
    let second = tokio::spawn({
        let (layout, wanted) = (layout.clone(), wanted.clone());
        async move { layout.ingest(&wanted).await }
    });
    first.write(Bytes::from_static(b"hello")).await.unwrap();
    first.commit().await.unwrap();
    assert!(matches!(second.await.unwrap().unwrap(), Opened::Exists));
}

#[tokio::test]
async fn a_name_is_replaced_and_other_names_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path()).unwrap();
    for (name, content) in [("a:1", "x"), ("b:1", "y"), ("a:1", "z")] {
        let target = descriptor(content.as_bytes());
        layout.publish(IndexEntry { name: name.into(), tag: None, target }).await.unwrap();
    }
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.path().join("index.json")).unwrap()).unwrap();
    let names: Vec<_> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["b:1", "a:1"]);
    assert_eq!(index["manifests"][1]["digest"], Digest::of(b"z").to_string());
}

#[test]
fn a_directory_of_other_things_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("photo.jpg"), "x").unwrap();
    assert!(matches!(Layout::create(dir.path()), Err(Error::NotALayout(_))));
}

/// A layout with one whole blob, and its descriptor.
async fn with_blob(root: &Path, content: &'static [u8]) -> (Layout, Descriptor) {
    let layout = Layout::create(root).unwrap();
    let wanted = descriptor(content);
    layout.put(&wanted, Bytes::from_static(content)).await.unwrap();
    layout.tidy();
    (layout, wanted)
}

fn blob_path(root: &Path, descriptor: &Descriptor) -> std::path::PathBuf {
    root.join("blobs/sha256").join(descriptor.digest.hex())
}

#[tokio::test]
async fn a_damaged_blob_is_as_good_as_none_and_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (_, wanted) = with_blob(dir.path(), b"hello world").await;
    fs::write(blob_path(dir.path(), &wanted), "HELLO world").unwrap();
    let layout = Layout::create(dir.path()).unwrap();
    assert!(!layout.contains(&wanted).await);
    assert!(matches!(layout.read(&wanted).await, Err(Error::Mismatch { .. })));
    layout.put(&wanted, Bytes::from_static(b"hello world")).await.unwrap();
    assert_eq!(layout.read(&wanted).await.unwrap(), "hello world");
}

#[tokio::test]
async fn nothing_is_read_or_written_by_way_of_links() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    fs::write(&outside, "hello world").unwrap();
    let root = dir.path().join("layout");
    let layout = Layout::create(&root).unwrap();
    let wanted = descriptor(b"hello world");
    symlink(&outside, blob_path(&root, &wanted)).unwrap();
    assert!(!layout.contains(&wanted).await);
    assert!(matches!(layout.read(&wanted).await, Err(Error::Link(_))));
    assert!(matches!(layout.reader(&wanted, 0).await.err(), Some(Error::Link(_))));

    fs::create_dir(root.join(INGEST_DIRECTORY)).unwrap();
    symlink(&outside, root.join(INGEST_DIRECTORY).join(wanted.digest.hex())).unwrap();
    let mut ingest = begin(&layout, &wanted).await;
    assert_eq!(ingest.offset(), 0);
    ingest.write(Bytes::from_static(b"HELLO world")).await.unwrap();
    assert!(ingest.commit().await.is_err());
    layout.put(&wanted, Bytes::from_static(b"hello world")).await.unwrap();
    assert_eq!(fs::read(&outside).unwrap(), b"hello world");
    assert!(blob_path(&root, &wanted).symlink_metadata().unwrap().is_file());
}

#[tokio::test]
async fn directories_that_are_links_are_refused() {
    for name in ["blobs", INGEST_DIRECTORY] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("layout");
        let wanted = descriptor(b"x");
        drop(with_blob(&root, b"whole").await);
        let elsewhere = dir.path().join("elsewhere");
        if name == "blobs" {
            fs::rename(root.join(name), &elsewhere).unwrap();
        } else {
            fs::create_dir(&elsewhere).unwrap();
        }
        symlink(&elsewhere, root.join(name)).unwrap();
        let refused = match Layout::create(&root) {
            Ok(layout) => layout.ingest(&wanted).await.err(),
            Err(error) => Some(error),
        };
        assert!(matches!(refused, Some(Error::Link(_))), "{name}: {refused:?}");
        assert_eq!(Layout::open(&root).is_err(), name == "blobs");
    }
}

#[tokio::test]
async fn a_name_that_is_as_it_should_be_takes_no_write() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, target) = with_blob(dir.path(), b"x").await;
    let publish = |name: &str| {
        layout.publish(IndexEntry { name: name.to_owned(), tag: None, target: target.clone() })
    };
    publish("a:1").await.unwrap();
    publish("b:1").await.unwrap();
    let index = dir.path().join("index.json");
    let before = fs::read(&index).unwrap();
    let changed = index.metadata().unwrap().modified().unwrap();
    publish("a:1").await.unwrap();
    assert_eq!(fs::read(&index).unwrap(), before);
    assert_eq!(index.metadata().unwrap().modified().unwrap(), changed);
}

#[tokio::test]
async fn a_layout_is_read_with_names_of_every_tool() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Layout::open(dir.path()), Err(Error::NotReadable(_))));
    let (written, target) = with_blob(dir.path(), b"hello world").await;
    assert_eq!(Layout::open(dir.path()).unwrap().entries().await.unwrap(), []);
    written
        .publish(IndexEntry { name: "quay.io/a:1".to_owned(), tag: None, target: target.clone() })
        .await
        .unwrap();
    let index = dir.path().join("index.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    let manifests = json["manifests"].as_array_mut().unwrap();
    let mut bare = manifests[0].clone();
    bare["annotations"] =
        serde_json::json!({ "org.opencontainers.image.ref.name": "latest", "org.x": "y" });
    manifests.push(bare);
    fs::write(&index, json.to_string()).unwrap();

    let layout = Layout::open(dir.path()).unwrap();
    let entries = layout.entries().await.unwrap();
    let names: Vec<_> =
        entries.iter().map(|entry| (entry.full_name(), entry.reference_name())).collect();
    assert_eq!(names, [(Some("quay.io/a:1"), Some("quay.io/a:1")), (None, Some("latest"))]);
    assert_eq!(entries[1].target.digest, target.digest);
    assert_eq!(entries[1].target.annotations["org.x"], "y");
}

#[tokio::test]
async fn blobs_are_read_from_any_place_and_to_their_end() {
    let dir = tempfile::tempdir().unwrap();
    let content: &'static [u8] = vec![7_u8; 600_000].leak();
    let (_, wanted) = with_blob(dir.path(), content).await;
    let layout = Layout::open(dir.path()).unwrap();
    for offset in [0, 1, 599_999, 600_000] {
        let pieces: Vec<Bytes> =
            layout.reader(&wanted, offset).await.unwrap().try_collect().await.unwrap();
        assert_eq!(pieces.concat(), content[usize::try_from(offset).unwrap()..], "{offset}");
    }
    fs::OpenOptions::new()
        .write(true)
        .open(blob_path(dir.path(), &wanted))
        .unwrap()
        .set_len(300_000)
        .unwrap();
    let shortened = layout.reader(&wanted, 0).await.unwrap().try_collect::<Vec<_>>().await;
    assert!(matches!(shortened, Err(Error::Io { .. })));
    fs::remove_file(blob_path(dir.path(), &wanted)).unwrap();
    assert!(matches!(layout.read(&wanted).await, Err(Error::Missing { .. })));
}

#[tokio::test]
async fn what_is_too_large_for_its_kind_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, mut wanted) = with_blob(dir.path(), b"x").await;
    wanted.size = crate::oci::MAX_MANIFEST_BYTES + 1;
    assert!(matches!(layout.read(&wanted).await, Err(Error::TooLarge { .. })));
    fs::File::create(dir.path().join("index.json")).unwrap().set_len((16 << 20) + 1).unwrap();
    assert!(matches!(layout.entries().await, Err(Error::TooLarge { .. })));
}

#[test]
fn a_layout_of_a_later_version_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    Layout::create(dir.path()).unwrap();
    assert!(Layout::open(dir.path()).is_ok());
    fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    assert!(matches!(Layout::open(dir.path()), Err(Error::NotReadable(_))));
}
