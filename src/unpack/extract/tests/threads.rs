//! The handle: feeding, failing and giving up.

use bytes::Bytes;

use super::layer::{Layer, gzip, listing};
use crate::gzip::Threads;
use crate::oci::{Compression, Digest};
use crate::unpack::Allowance;
use crate::unpack::extract::{ExtractError, ExtractOptions, Extractor, Whiteouts};

fn spawn(root: &tempfile::TempDir, compression: Compression) -> Extractor {
    let fd = std::fs::File::open(root.path()).unwrap().into();
    let options = ExtractOptions {
        compression,
        whiteouts: Whiteouts::Overlay,
        allowance: Allowance::new(None),
        threads: Threads::new(1),
        is_sparing: false,
    };
    Extractor::spawn(fd, options, 2).unwrap()
}

fn large_layer() -> Layer {
    let content: String = (0..400_000).map(|number: u32| format!("{number} ")).collect();
    Layer::new().file("small", "x").file("large", &content).file("last", "y")
}

#[tokio::test]
async fn extracts_a_layer_that_comes_in_pieces() {
    let archive = large_layer().finished();
    let packed = [
        (Compression::Gzip, gzip(&archive)),
        (Compression::Zstd, zstd::encode_all(&archive[..], 1).unwrap()),
        (Compression::None, archive.clone()),
    ];
    for (compression, bytes) in packed {
        for chunk_length in [97, 64 * 1024, usize::MAX] {
            let root = tempfile::tempdir().unwrap();
            let extractor = spawn(&root, compression);
            for chunk in bytes.chunks(chunk_length.min(bytes.len())) {
                extractor.send(Bytes::copy_from_slice(chunk)).await.unwrap();
            }
            let extracted = extractor.finish().await.unwrap();
            assert_eq!(extracted.diff_id.0, Digest::of(&archive));
            assert_eq!(extracted.entries, 3);
            assert_eq!(listing(root.path()).len(), 4);
        }
    }
}

#[tokio::test]
async fn stops_taking_chunks_after_an_error_and_says_why() {
    let root = tempfile::tempdir().unwrap();
    let extractor = spawn(&root, Compression::None);
    while extractor.send(Bytes::from_static(&[b'x'; 512])).await.is_ok() {}
    let error = extractor.finish().await.unwrap_err();
    assert!(matches!(error, ExtractError::Archive { .. }), "{error:?}");
}

#[tokio::test]
async fn reports_a_truncated_layer() {
    let packed = gzip(&large_layer().finished());
    let root = tempfile::tempdir().unwrap();
    let extractor = spawn(&root, Compression::Gzip);
    extractor.send(Bytes::copy_from_slice(&packed[..packed.len() / 2])).await.unwrap();
    let error = extractor.finish().await.unwrap_err();
    assert!(matches!(error, ExtractError::Inflate { .. }), "{error:?}");
}

#[tokio::test]
async fn an_empty_blob_is_an_empty_layer() {
    let root = tempfile::tempdir().unwrap();
    let extracted = spawn(&root, Compression::Gzip).finish().await.unwrap();
    assert_eq!((extracted.entries, extracted.uncompressed_bytes), (0, 0));
}

#[tokio::test]
async fn leaves_the_root_alone_once_it_is_abandoned() {
    let archive = large_layer().finished();
    let root = tempfile::tempdir().unwrap();
    let extractor = spawn(&root, Compression::None);
    extractor.send(Bytes::copy_from_slice(&archive[..archive.len() / 2])).await.unwrap();
    extractor.abandon().await;
    let before = listing(root.path());
    assert!(before.contains_key("small") && !before.contains_key("last"));
    root.close().unwrap();
}
