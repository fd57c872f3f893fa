//! What a pull shows while it runs, off terminals; `terminal` is about those.

use serde_json::Value;

use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, Version};
use crate::support::faulty::{Fault, FaultyRegistry};
use crate::support::image::{Image, Layer, Recipe};
use crate::support::unique;

fn image() -> Image {
    let name = unique("progress");
    Recipe::new(vec![Layer::noise(&name, 200_000), Layer::file(&name, b"small")]).build()
}

fn pull(reference: &str) -> Pullctl {
    Pullctl::pull(Containerd::shared(Version::V2_1), reference)
}

/// The events named `name`.
fn named<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

#[test]
fn json_events_tell_the_whole_story() {
    let registry = FaultyRegistry::start();
    let image = image();
    let reference = registry.add_new(&image);
    let outcome = pull(&reference).args(["--progress", "json"]).run().succeeded();
    let events = outcome.events();
    assert_eq!(events.len(), outcome.stderr.lines().count(), "not JSON: {}", outcome.stderr);

    let resolved = named(&events, "resolved");
    assert_eq!(resolved.len(), 1);
    assert_eq!(resolved[0]["digest"], image.digest());
    assert_eq!(resolved[0]["host"], registry.authority());
    assert_eq!(named(&events, "planned")[0]["platforms"][0], "linux/amd64");
    assert!(!named(&events, "attempt").is_empty());

    let layer = image.layers()[0].digest.to_string();
    let states: Vec<&str> = named(&events, "blob")
        .into_iter()
        .filter(|event| event["digest"] == layer)
        .filter_map(|event| event["state"].as_str())
        .collect();
    let order = ["waiting", "downloading", "verifying", "unpacking", "done"];
    let places: Vec<Option<usize>> =
        states.iter().map(|state| order.iter().position(|name| name == state)).collect();
    assert!(places.is_sorted() && places.iter().all(Option::is_some), "{states:?}");
    assert!(states.contains(&"downloading") && states.ends_with(&["done"]), "{states:?}");

    let received: u64 = named(&events, "received")
        .into_iter()
        .filter(|event| event["digest"] == layer)
        .filter_map(|event| event["delta_bytes"].as_u64())
        .sum();
    assert_eq!(received, image.layers()[0].bytes.len() as u64);

    let finished = named(&events, "finished");
    assert_eq!(finished.len(), 1);
    assert_eq!(finished[0]["image"], reference);
    assert_eq!(finished[0]["digest"], image.digest());
    let sizes = image.blobs.iter().chain([&image.root]).map(|blob| blob.bytes.len() as u64);
    assert_eq!(finished[0]["fetched_bytes"], sizes.sum::<u64>());
    assert_eq!(finished[0]["reused_bytes"], 0);
}

#[test]
fn json_tells_what_was_reused_by_a_repeated_pull() {
    let registry = FaultyRegistry::start();
    let image = image();
    let reference = registry.add_new(&image);
    pull(&reference).run().succeeded();
    let events = pull(&reference).args(["--progress", "json"]).run().succeeded().events();
    let finished = named(&events, "finished")[0];
    let layers: u64 = image.layers().iter().map(|layer| layer.bytes.len() as u64).sum();
    assert!(finished["reused_bytes"].as_u64() >= Some(layers), "{finished}");
    assert!(finished["fetched_bytes"].as_u64() <= Some(image.root.bytes.len() as u64));
    let states = named(&events, "blob");
    assert!(states.iter().all(|event| event["state"] != "downloading"), "{states:?}");
}

#[test]
fn json_tells_failures_with_the_exit_code() {
    let registry = FaultyRegistry::start();
    let reference = format!("{}/no/such:image", registry.authority());
    let outcome = pull(&reference).args(["--progress", "json"]).run().ended_with(3);
    let events = outcome.events();
    assert_eq!(events.len(), outcome.stderr.lines().count(), "not JSON: {}", outcome.stderr);
    let failed = named(&events, "failed")[0];
    assert_eq!(failed["image"], reference);
    assert_eq!(failed["failure"], "not-found");
    assert_eq!(failed["exit_code"], 3);
    assert!(failed["error"].as_str().is_some_and(|error| error.contains("not found")), "{failed}");
}

#[test]
fn off_a_terminal_there_are_plain_lines_and_few_of_them() {
    let registry = FaultyRegistry::start();
    let name = unique("plain");
    let layers = (0..100).map(|n| Layer::file(&format!("{name}-{n}"), b"x")).collect();
    let reference = registry.add_new(&Recipe::new(layers).build());
    for mode in ["auto", "plain"] {
        let outcome = pull(&reference).args(["--progress", mode]).run().succeeded();
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        let control = |c: char| c.is_control() && c != '\n';
        assert!(!said.contains(control), "{said:?}");
        assert!(said.contains(&reference));
        assert!(said.lines().count() < 20, "{said}");
    }
}

#[test]
fn bars_are_drawn_on_terminals_only() {
    let registry = FaultyRegistry::start();
    let reference = registry.add_new(&image());
    let outcome = pull(&reference).args(["--progress", "bars"]).env("TERM", "xterm").run();
    let outcome = outcome.succeeded();
    assert_eq!(outcome.stderr, "");
    assert!(outcome.stdout.starts_with(&format!("{reference} sha256:")), "{}", outcome.stdout);
    assert_eq!(outcome.stdout.lines().count(), 1);
}

#[test]
fn no_progress_leaves_the_result() {
    let registry = FaultyRegistry::start();
    let reference = registry.add_new(&image());
    let outcome = pull(&reference).args(["--progress", "none"]).run().succeeded();
    assert_eq!(outcome.stderr, "");
    assert!(outcome.stdout.contains(&reference));
}

#[test]
fn verbose_shows_every_request_with_its_outcome() {
    let registry = FaultyRegistry::start();
    let image = image();
    let reference = registry.add_new(&image);
    registry.script("/blobs/", vec![Some(Fault::Status(503, Vec::new()))]);
    let outcome = pull(&reference).args(["-v"]).run().succeeded();
    for part in [registry.authority().as_str(), "manifests/v1", "blobs/", "503", "200"] {
        assert!(outcome.stderr.contains(part), "no {part} in {}", outcome.stderr);
    }
}
