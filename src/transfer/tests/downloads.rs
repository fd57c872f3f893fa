//! Blobs on their way.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::image::{config, image, layer, manifest};
use super::memory::{Act, MemorySink, MemorySource};
use super::{host, request, transfer};
use crate::failure::Failure;
use crate::oci::Digest;
use crate::progress::{BlobState, Event};
use crate::sync::lock;

fn digest(content: &str) -> Digest {
    Digest::of(content.as_bytes())
}

/// What was done to one blob.
fn acts_on(sink: &MemorySink, content: &str) -> Vec<Act> {
    let wanted = digest(content);
    let is_on = |act: &Act| match act {
        Act::Open(digest, _) | Act::Stage(digest) | Act::Settle(digest) | Act::Suspend(digest) => {
            *digest == wanted
        }
        Act::Early(_) | Act::Publish(_) | Act::Close(_) => false,
    };
    sink.acts().into_iter().filter(is_on).collect()
}

#[tokio::test]
async fn layers_are_settled_from_the_base_up_and_the_names_come_last() {
    let source = Arc::new(MemorySource::new(&image(&["a long first layer", "second", "third"])));
    let sink = Arc::new(MemorySink::default());
    let ran = transfer(&[request(&source, "app", host())], &sink).await;
    assert_eq!(ran.failures, []);
    let settled = sink.acts().into_iter().filter_map(|act| match act {
        Act::Settle(digest) => Some(digest),
        _ => None,
    });
    let expected = ["a long first layer", "second", "third"].map(digest);
    assert_eq!(settled.collect::<Vec<_>>(), expected);
    let end = [Act::Publish("example.org/app:1".to_owned()), Act::Close(vec![true])];
    assert_eq!(sink.acts()[sink.acts().len() - 2..], end);
    let fetched = ran.events.iter().find_map(|event| match event {
        Event::Finished(report) => Some((report.fetched_bytes, report.reused_bytes)),
        _ => None,
    });
    let total: usize =
        image(&["a long first layer", "second", "third"]).blobs.iter().map(bytes::Bytes::len).sum();
    assert_eq!(fetched, Some((total as u64, 0)));
}

#[tokio::test(start_paused = true)]
async fn what_is_settled_elsewhere_keeps_no_blob_from_coming() {
    let layers = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"];
    let source = Arc::new(MemorySource::new(&image(&layers)));
    let requests = [request(&source, "app", host())];
    let sink = Arc::new(MemorySink::elsewhere(2));
    assert_eq!(transfer(&requests, &sink).await.failures, []);

    // Two are worked on at a time, and so many may wait: three never do, while two more have come.
    let sink = Arc::new(MemorySink::elsewhere(3));
    let ran = timeout(Duration::from_secs(3600), transfer(&requests, &sink)).await;
    assert!(ran.is_err());
    assert_eq!(sink.most_open_ingests(), 4);
}

#[tokio::test]
async fn a_layer_that_comes_before_those_below_it_is_said_to_wait_for_them() {
    let base = "a base that takes many more pieces than what lies on it";
    let source = Arc::new(MemorySource::new(&image(&[base, "upper"])));
    let ran = transfer(&[request(&source, "app", host())], &Arc::default()).await;
    assert_eq!(ran.failures, []);
    let states_of = |content: &str| -> Vec<BlobState> {
        let wanted = digest(content);
        let states = ran.events.iter().filter_map(|event| match event {
            Event::Blob { digest, state, .. } if *digest == wanted => Some(*state),
            _ => None,
        });
        states.collect()
    };
    use BlobState::{AwaitingLowerLayers, Done, Downloading, Verifying, Waiting};
    assert_eq!(states_of(base), [Waiting, Downloading, Verifying, Done]);
    assert_eq!(states_of("upper"), [Waiting, Downloading, Verifying, AwaitingLowerLayers, Done]);
}

#[tokio::test]
async fn a_blob_of_two_images_is_fetched_once_and_staged_in_each_place() {
    let [first, second] = [&["shared", "one"], &["other", "shared"]]
        .map(|layers| Arc::new(MemorySource::new(&image(layers))));
    let sink = Arc::new(MemorySink::default());
    let requests = [request(&first, "first", host()), request(&second, "second", host())];
    let ran = transfer(&requests, &sink).await;
    assert_eq!(ran.failures, []);
    let shared = digest("shared");
    assert_eq!(first.opened(&shared) + second.opened(&shared), 1);
    let expected = [Act::Open(shared, 0), Act::Stage(shared), Act::Settle(shared)];
    let acts = acts_on(&sink, "shared");
    for act in &expected {
        let count = acts.iter().filter(|found| *found == act).count();
        assert_eq!(count, if matches!(act, Act::Open(..)) { 1 } else { 2 }, "{act:?}: {acts:?}");
    }
}

#[tokio::test]
async fn a_layer_crosses_each_border_once_on_its_way_to_its_place() {
    let contents = ["a long first layer", "second", "third"];
    let source = Arc::new(MemorySource::new(&image(&contents)));
    let sink = Arc::new(MemorySink::default());
    let ran = transfer(&[request(&source, "app", host())], &sink).await;
    assert_eq!(ran.failures, []);
    for content in contents {
        let layer = digest(content);
        assert_eq!(source.opened(&layer), 1, "{content}");
        let expected = [Act::Open(layer, 0), Act::Stage(layer), Act::Settle(layer)];
        assert_eq!(acts_on(&sink, content), expected, "{content}");
    }
    // The manifest and the configuration, out of which the layers are known.
    let mut documents = lock(&source.documents).clone();
    documents.sort_unstable();
    documents.dedup();
    assert_eq!(documents.len(), lock(&source.documents).len());
}

#[tokio::test]
async fn equal_layers_of_one_image_are_fetched_once() {
    let contents = vec!["same"; 4096];
    let source = Arc::new(MemorySource::new(&image(&contents)));
    let sink = Arc::new(MemorySink::default());
    let ran = transfer(&[request(&source, "app", host())], &sink).await;
    assert_eq!(ran.failures, []);
    assert_eq!(source.opened(&digest("same")), 1);
    let settled = acts_on(&sink, "same").into_iter().filter(|act| matches!(act, Act::Settle(_)));
    assert_eq!(settled.count(), contents.len());
}

#[tokio::test]
async fn what_is_there_is_neither_asked_for_nor_written() {
    let source = Arc::new(MemorySource::new(&image(&["base", "top"])));
    let sink = Arc::new(MemorySink::default());
    sink.put(digest("base"), "base".into());
    transfer(&[request(&source, "app", host())], &sink).await;
    assert_eq!((source.opened(&digest("base")), source.opened(&digest("top"))), (0, 1));
    assert_eq!(acts_on(&sink, "base"), []);
}

#[tokio::test]
async fn a_layer_in_its_descriptor_is_not_asked_for() {
    let layers = [layer("inline").embedded(), layer("elsewhere")];
    let tree = manifest(&config("amd64", &layers), &layers);
    let source = Arc::new(MemorySource::new(&tree));
    let sink = Arc::new(MemorySink::default());
    let ran = transfer(&[request(&source, "app", host())], &sink).await;
    assert_eq!(ran.failures, []);
    assert_eq!((source.opened(&digest("inline")), source.opened(&digest("elsewhere"))), (0, 1));
    assert!(sink.has(&digest("inline")));
}

#[tokio::test]
async fn a_wrong_blob_is_fetched_afresh() {
    let source = Arc::new(MemorySource::new(&image(&["layer"])));
    source.wrong.lock().unwrap().insert(digest("layer"), 2);
    let sink = Arc::new(MemorySink::default());
    let ran = transfer(&[request(&source, "app", host())], &sink).await;
    assert_eq!(ran.failures, []);
    assert_eq!(source.opened(&digest("layer")), 3);
}

#[tokio::test]
async fn a_blob_that_stays_wrong_is_given_up_after_six_times() {
    let source = Arc::new(MemorySource::new(&image(&["layer"])));
    source.wrong.lock().unwrap().insert(digest("layer"), usize::MAX);
    let sink = Arc::new(MemorySink::default());
    let ran = transfer(&[request(&source, "app", host())], &sink).await;
    assert_eq!(ran.failures, [Failure::Verification]);
    assert_eq!(ran.errors, [format!("blob {} is damaged in memory", digest("layer"))]);
    assert_eq!(source.opened(&digest("layer")), 6);
    assert!(!sink.has(&digest("layer")));
}

#[tokio::test]
async fn a_wrong_blob_that_nobody_else_has_is_not_asked_for_again() {
    let mut source = MemorySource::new(&image(&["layer"]));
    source.is_alone = true;
    source.wrong.get_mut().unwrap().insert(digest("layer"), usize::MAX);
    let source = Arc::new(source);
    let ran = transfer(&[request(&source, "app", host())], &Arc::new(MemorySink::default())).await;
    assert_eq!(ran.failures, [Failure::Verification]);
    assert_eq!(source.opened(&digest("layer")), 1);
}

#[tokio::test]
async fn the_failure_of_one_of_two_leaves_the_other_alone_and_is_the_last_of_its_image() {
    let mut broken = MemorySource::new(&image(&["broken layer", "silent layer"]));
    broken.broken.insert(digest("broken layer"));
    broken.silent.insert(digest("silent layer"));
    let good = Arc::new(MemorySource::new(&image(&["a good layer of some length"])));
    let sink = Arc::new(MemorySink::default());
    let requests = [request(&Arc::new(broken), "broken", host()), request(&good, "good", host())];
    let ran = transfer(&requests, &sink).await;
    assert_eq!(ran.failures, [Failure::Other]);
    let of_the_broken_image = |event: &&Event| match event {
        Event::Blob { digest: found, .. } => {
            ["broken layer", "silent layer"].map(digest).contains(found)
        }
        _ => false,
    };
    let is_failure = |event: &Event| matches!(event, Event::Failed { .. });
    let failed = ran.events.iter().position(is_failure).unwrap();
    let later = &ran.events[failed..];
    assert!(!later.iter().any(|event| of_the_broken_image(&event)), "{later:?}");
    assert!(sink.acts().contains(&Act::Publish("example.org/good:1".to_owned())));
    assert!(sink.acts().contains(&Act::Suspend(digest("broken layer"))));
    assert_eq!(sink.open_ingests(), 0);
    let Some(Act::Close(complete)) = sink.acts().pop() else { panic!("{:?}", sink.acts()) };
    assert_eq!(complete.iter().filter(|complete| **complete).count(), 1);
}

#[tokio::test]
async fn a_sink_that_loses_bytes_is_opened_again_where_it_stands() {
    let content = "a layer of twenty-odd bytes";
    let source = Arc::new(MemorySource::new(&image(&[content])));
    let sink = Arc::new(MemorySink::default());
    // The third write is lost with all but five bytes, the one after the next with everything.
    sink.lose([None, None, Some(5), None, Some(0)]);
    let ran = transfer(&[request(&source, "app", host())], &sink).await;
    assert_eq!(ran.failures, []);
    let offsets: Vec<_> = source.streams.lock().unwrap().iter().map(|(_, at)| *at).collect();
    assert_eq!(offsets, [0, 5, 0]);
    assert!(sink.has(&digest(content)));
}

#[tokio::test]
async fn a_sink_that_goes_on_losing_bytes_ends_the_image_after_five_openings() {
    let source = Arc::new(MemorySource::new(&image(&["layer"])));
    let sink = Arc::new(MemorySink::default());
    sink.lose(vec![Some(0); 100]);
    let ran = transfer(&[request(&source, "app", host())], &sink).await;
    assert!(ran.errors[0].starts_with("bytes of the blob were lost on their way"), "{ran:?}");
    assert_eq!(source.opened(&digest("layer")), 5);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_given_up_leaves_nothing_behind_that_goes_on() {
    let mut source = MemorySource::new(&image(&["silent layer", "another", "third"]));
    source.silent.extend(["silent layer", "another", "third"].map(digest));
    let source = Arc::new(source);
    let sink = Arc::new(MemorySink::default());
    let requests = [request(&source, "app", host())];
    let patience = std::time::Duration::from_secs(60);
    assert!(tokio::time::timeout(patience, transfer(&requests, &sink)).await.is_err());
    // Two at a time were begun, and are dropped with the run.
    while sink.open_ingests() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(source.streams.lock().unwrap().len(), 2);
    assert!(!sink.acts().iter().any(|act| matches!(act, Act::Publish(_) | Act::Close(_))));
}
