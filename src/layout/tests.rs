//! The layout as its callers see it: what is visible when, and what is resumed.

use super::*;
use crate::oci::MediaType;

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
    let layout = Layout::open(dir.path()).unwrap();
    let wanted = descriptor(b"hello world");
    let mut ingest = begin(&layout, &wanted).await;
    ingest.write(Bytes::from_static(b"hello ")).await.unwrap();
    assert!(!layout.contains(&wanted));
    ingest.write(Bytes::from_static(b"world")).await.unwrap();
    ingest.commit().await.unwrap();
    assert_eq!(layout.read(&wanted).unwrap(), "hello world");
    assert!(matches!(layout.ingest(&wanted).await.unwrap(), Opened::Exists));
    layout.tidy();
    assert!(!dir.path().join(INGEST_DIRECTORY).exists());
}

#[tokio::test]
async fn resumes_what_an_earlier_run_left() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::open(dir.path()).unwrap();
    let wanted = descriptor(b"hello world");
    let partial = dir.path().join(INGEST_DIRECTORY).join(wanted.digest.hex());
    fs::write(&partial, "hello ").unwrap();
    let mut ingest = begin(&layout, &wanted).await;
    assert_eq!(ingest.offset(), 6);
    ingest.write(Bytes::from_static(b"world")).await.unwrap();
    ingest.commit().await.unwrap();
    assert!(layout.contains(&wanted));
}

#[tokio::test]
async fn a_wrong_blob_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::open(dir.path()).unwrap();
    let wanted = descriptor(b"hello world");
    let mut ingest = begin(&layout, &wanted).await;
    ingest.write(Bytes::from_static(b"HELLO world")).await.unwrap();
    assert!(matches!(ingest.commit().await, Err(Error::Mismatch { .. })));
    assert!(!layout.contains(&wanted));
    assert_eq!(begin(&layout, &wanted).await.offset(), 0);
}

#[tokio::test]
async fn more_bytes_than_the_blob_has_are_no_beginning_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::open(dir.path()).unwrap();
    let wanted = descriptor(b"hi");
    let partial = dir.path().join(INGEST_DIRECTORY).join(wanted.digest.hex());
    fs::write(&partial, "hello").unwrap();
    assert_eq!(begin(&layout, &wanted).await.offset(), 0);
}

#[tokio::test]
async fn a_second_writer_waits_and_finds_the_blob() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::open(dir.path()).unwrap();
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
    let layout = Layout::open(dir.path()).unwrap();
    for (name, content) in [("a:1", "x"), ("b:1", "y"), ("a:1", "z")] {
        let target = descriptor(content.as_bytes());
        layout.publish(IndexEntry { name: name.into(), target }).await.unwrap();
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
    assert!(matches!(Layout::open(dir.path()), Err(Error::NotALayout(_))));
}
