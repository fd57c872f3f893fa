//! Images that go into an archive, one blob after the other.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::Barrier;
use tokio::time::timeout;

use super::image::{config, image, image_for, layer, manifest};
use super::memory::{Act, MemorySink, MemorySource};
use super::{Ran, Told, host, request};
use crate::archive::{Form, Target, Wrapping};
use crate::failure::Failure;
use crate::oci::Digest;
use crate::progress::Event;
use crate::sync::lock;
use crate::transfer::run::run;
use crate::transfer::{ArchiveSink, Manner, Request};

fn digest(content: &str) -> Digest {
    Digest::of(content.as_bytes())
}

/// Saves at most two blobs at a time.
async fn save(requests: &[Request], sink: ArchiveSink) -> Ran {
    let told = Arc::new(Told::default());
    let failures =
        run(requests, Arc::new(sink), Manner::of_blobs(2), Arc::clone(&told) as Arc<_>).await;
    let events = std::mem::take(&mut *lock(&told.0));
    let errors = events.iter().filter_map(|event| match event {
        Event::Failed { diagnostic, .. } => Some(diagnostic.one_line()),
        _ => None,
    });
    Ran { failures, errors: errors.collect(), events }
}

fn sink(folder: &TempDir, wrapping: Wrapping) -> ArchiveSink {
    let target = Target::of(&folder.path().join("images.tar")).unwrap();
    ArchiveSink::new(target, Form::Oci, wrapping)
}

/// The files of the archive, in order.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = std::fs::read(folder.join("images.tar")).unwrap();
    let mut archive = ::tar::Archive::new(&bytes[..]);
    let file = |mut entry: ::tar::Entry<'_, &[u8]>| {
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path().unwrap().to_string_lossy().into_owned(), content)
    };
    archive.entries().unwrap().map(|entry| file(entry.unwrap())).collect()
}

/// The layers of the archive, in order.
fn layers(folder: &Path) -> Vec<String> {
    let blobs = files(folder).into_iter().filter(|(name, _)| name.starts_with("blobs/sha256/"));
    blobs
        .filter(|(name, content)| !name.ends_with('/') && !content.starts_with(b"{"))
        .inspect(|(name, content)| assert!(name.ends_with(&Digest::of(content).hex())))
        .map(|(_, content)| String::from_utf8(content).unwrap())
        .collect()
}

fn is_empty(folder: &TempDir) -> bool {
    std::fs::read_dir(folder.path()).unwrap().next().is_none()
}

#[tokio::test]
async fn layers_come_in_order_each_once_though_small_ones_are_read_ahead() {
    let sources = [&["base", "one", "two"], &["base", "three", "four"]]
        .map(|layers| Arc::new(MemorySource::new(&image(layers))));
    let requests = [request(&sources[0], "first", host()), request(&sources[1], "second", host())];
    let folder = tempfile::tempdir().unwrap();
    let ran = save(&requests, sink(&folder, Wrapping::None)).await;
    assert_eq!(ran.failures, []);
    assert_eq!(layers(folder.path()), ["base", "one", "two", "three", "four"]);
    assert_eq!(sources[0].opened(&digest("base")) + sources[1].opened(&digest("base")), 1);
    let finished = |event: &&Event| matches!(event, Event::Finished(_));
    assert_eq!(ran.events.iter().filter(finished).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn as_many_blobs_come_together_as_the_sink_takes_and_the_run_allows() {
    for (takes, allowed, together) in [(2, 4, 2), (4, 2, 2), (1, 4, 1), (4, 1, 1)] {
        let layers = ["first", "second", "third", "fourth"];
        let mut source = MemorySource::new(&image(&layers));
        source.meeting = Some(Arc::new(Barrier::new(together)));
        let requests = [request(&Arc::new(source), "app", host())];
        let sink = Arc::new(MemorySink::in_order(takes));
        let told = Arc::new(Told::default());
        let manner = Manner::of_blobs(allowed);
        let ran = run(&requests, Arc::clone(&sink) as Arc<_>, manner, told);
        // One fewer would wait for ever.
        assert_eq!(timeout(Duration::from_secs(3600), ran).await.unwrap(), []);
        assert_eq!(sink.most_open_ingests(), together);
        let opened = sink.acts().into_iter().filter_map(|act| match act {
            Act::Open(digest, 0) => Some(digest),
            _ => None,
        });
        assert!(opened.eq(layers.map(digest)), "in order");
    }
}

#[tokio::test]
async fn a_blob_that_comes_wrong_is_taken_back_and_asked_for_again() {
    let mut source = MemorySource::new(&image(&["first", "second", "third"]));
    source.wrong = Mutex::new(HashMap::from([(digest("second"), 2)]));
    let source = Arc::new(source);
    let folder = tempfile::tempdir().unwrap();
    let ran = save(&[request(&source, "app", host())], sink(&folder, Wrapping::None)).await;
    assert_eq!(ran.failures, []);
    assert_eq!(layers(folder.path()), ["first", "second", "third"]);
    assert_eq!(source.opened(&digest("second")), 3);
}

#[tokio::test]
async fn of_what_cannot_be_cut_a_wrong_blob_is_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let stream = folder.path().join("stream");
    std::fs::write(&stream, "").unwrap();
    let into_stream =
        ArchiveSink::new(Target::Stream(stream.clone()), Form::Oci, Wrapping::default());
    for sink in [into_stream, sink(&folder, Wrapping::Zstd), sink(&folder, Wrapping::Gzip)] {
        let mut source = MemorySource::new(&image(&["first", "second"]));
        source.wrong = Mutex::new(HashMap::from([(digest("first"), 1)]));
        let source = Arc::new(source);
        let ran = save(&[request(&source, "app", host())], sink).await;
        assert_eq!(ran.failures, [Failure::Verification]);
        assert!(ran.errors[0].contains("can't be gone on with"), "{:?}", ran.errors);
        assert_eq!(source.opened(&digest("second")), 1, "read ahead");
    }
    let torn = std::fs::read(&stream).unwrap();
    assert!(!torn.ends_with(&[0; 1024]), "it does not look whole");
    std::fs::remove_file(stream).unwrap();
    assert!(is_empty(&folder));
}

#[tokio::test]
async fn a_stream_that_breaks_off_leaves_no_archive() {
    let mut source = MemorySource::new(&image(&["a layer that ends early", "second"]));
    source.broken.insert(digest("a layer that ends early"));
    let folder = tempfile::tempdir().unwrap();
    let requests = [request(&Arc::new(source), "app", host())];
    let ran = save(&requests, sink(&folder, Wrapping::None)).await;
    assert_eq!(ran.failures.len(), 1);
    assert!(is_empty(&folder));
}

#[tokio::test]
async fn without_one_of_the_images_none_is_begun() {
    let here = Arc::new(MemorySource::new(&image(&["layer"])));
    let broken = Arc::new(MemorySource::new(&manifest(
        &config("amd64", &[]),
        &[layer("no diff ID for it")],
    )));
    let folder = tempfile::tempdir().unwrap();
    let requests = [&here, &broken].map(|source| request(source, "app", host()));
    let ran = save(&requests, sink(&folder, Wrapping::None)).await;
    assert_eq!(ran.failures, [Failure::Verification]);
    assert_eq!(here.opened(&digest("layer")), 0);
    assert!(!ran.events.iter().any(|event| matches!(event, Event::Finished(_))));
    assert!(is_empty(&folder));
}

#[tokio::test]
async fn what_the_other_side_has_is_not_opened() {
    let source = Arc::new(MemorySource::new(&image_for("amd64", &["base", "top"])));
    let folder = tempfile::tempdir().unwrap();
    let sink = sink(&folder, Wrapping::None);
    sink.leave_out([digest("base")].into());
    let ran = save(&[request(&source, "app", host())], sink).await;
    assert_eq!(ran.failures, []);
    assert_eq!(layers(folder.path()), ["top"]);
    assert_eq!(source.opened(&digest("base")), 0);
}
