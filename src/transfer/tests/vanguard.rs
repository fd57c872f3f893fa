//! What is done for an image before all is known of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;
use tokio::time::timeout;

use super::image::{Tree, config, image, layer, manifest};
use super::memory::{Act, MemorySink, MemorySource};
use super::{Ran, host, request, transfer};
use crate::oci::Digest;
use crate::sync::lock;

/// A far source of `tree`, whose configuration waits until `layers` of its layers are asked for, too.
fn far(tree: &Tree, layers: usize) -> MemorySource {
    let mut source = MemorySource::new(tree);
    source.meeting = Some(Arc::new(Barrier::new(layers + 1)));
    source.is_far = true;
    source
}

fn eager() -> Arc<MemorySink> {
    let mut sink = MemorySink::default();
    sink.is_eager = true;
    Arc::new(sink)
}

fn digest(content: &str) -> Digest {
    Digest::of(content.as_bytes())
}

/// What comes of a pull, if anything does.
async fn pull(source: &Arc<MemorySource>, sink: &Arc<MemorySink>) -> Option<Ran> {
    let requests = [request(source, "app", host())];
    timeout(Duration::from_secs(3600), transfer(&requests, sink)).await.ok()
}

#[tokio::test(start_paused = true)]
async fn the_layers_of_a_small_image_come_while_its_configuration_does() {
    let index = Tree::index(&[image(&["one", "two"]).on("linux", "amd64")]);
    for tree in [image(&["one", "two"]), index] {
        let (source, sink) = (Arc::new(far(&tree, 2)), eager());
        assert_eq!(pull(&source, &sink).await.unwrap().failures, [], "{tree:?}");
        for content in ["one", "two"] {
            assert_eq!(source.opened(&digest(content)), 1, "{content}");
            assert!(sink.has(&digest(content)));
        }
        // Each of them but the configuration, which says what is to be kept of snapshots.
        let early = sink.acts().into_iter().filter(|act| matches!(act, Act::Early(_)));
        assert_eq!(early.count(), lock(&source.documents).len() - 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_layer_that_came_before_its_turn_is_fetched_afresh() {
    let (mut source, sink) = (far(&image(&["one", "two"]), 2), eager());
    lock(&source.wrong).insert(digest("one"), 1);
    source.meeting = None;
    let source = Arc::new(source);
    assert_eq!(pull(&source, &sink).await.unwrap().failures, []);
    assert_eq!((source.opened(&digest("one")), source.opened(&digest("two"))), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn of_a_larger_image_one_layer_that_is_not_there_is_asked_for_while_its_configuration_comes()
{
    let large = "x".repeat((2 << 20) + 1);
    let tree = image(&["one", &large]);
    let (source, sink) = (Arc::new(far(&tree, 1)), eager());
    sink.put(digest("one"), "one".into());
    assert_eq!(pull(&source, &sink).await.unwrap().failures, []);
    assert_eq!((source.opened(&digest("one")), source.opened(&digest(&large))), (0, 1));
    assert!(sink.has(&digest(&large)));

    // With no second one to meet, the configuration comes no more.
    let source = Arc::new(far(&tree, 2));
    assert!(pull(&source, &eager()).await.is_none());
    assert_eq!(source.opened(&digest("one")) + source.opened(&digest(&large)), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_surely_wanted_waits_for_its_turn() {
    let source = Arc::new(far(&image(&["one", "two"]), 2));
    // With nobody to meet, the configuration comes no more.
    assert!(pull(&source, &Arc::default()).await.is_none());
    assert_eq!(source.opened(&digest("one")), 0);
}

#[tokio::test(start_paused = true)]
async fn of_several_images_none_comes_before_all_is_known_of_it() {
    let (first, second) = (image(&["one"]), image(&["two"]));
    let sources = [first, second].map(|tree| {
        let mut source = far(&tree, 1);
        source.meeting = None;
        Arc::new(source)
    });
    let requests = [request(&sources[0], "a", host()), request(&sources[1], "b", host())];
    let sink = eager();
    assert_eq!(transfer(&requests, &sink).await.failures, []);
    assert!(!sink.acts().iter().any(|act| matches!(act, Act::Early(_))));
}

#[tokio::test(start_paused = true)]
async fn layers_of_an_image_that_can_not_be_are_given_up() {
    let layers = [layer("one")];
    // One that is said to have two layers.
    let tree = manifest(&config("amd64", &[layer("one"), layer("two")]), &layers);
    let mut source = far(&tree, 1);
    source.silent.insert(digest("one"));
    let (source, sink) = (Arc::new(source), eager());
    let ran = pull(&source, &sink).await.unwrap();
    assert_eq!(ran.failures.len(), 1, "{ran:?}");
    assert_eq!(source.opened(&digest("one")), 1);
    assert_eq!(sink.acts().last(), Some(&Act::Close(vec![false])));
}

#[tokio::test(start_paused = true)]
async fn the_configuration_of_a_new_image_comes_from_its_source_or_else_from_where_it_is() {
    let tree = image(&["layer"]);
    let [config, .., manifest] = &tree.blobs[..] else { panic!() };
    let digests = [manifest, config].map(|bytes| Digest::of(bytes));
    for is_lost in [false, true] {
        let mut there = tree.clone();
        there.blobs.retain(|bytes| !is_lost || bytes != config);
        let (source, sink) = (Arc::new(MemorySource::new(&there)), eager());
        sink.put(digests[1], config.clone());
        assert_eq!(pull(&source, &sink).await.unwrap().failures, [], "{is_lost}");
        assert_eq!(*lock(&source.documents), digests);
    }
}
