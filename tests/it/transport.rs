//! The flags about how requests travel: `--resolve`, `--http-trace`, `--timeout`, `--retries`,
//! `--limit-rate`.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::faulty::{Body, Fault, FaultyRegistry, Gate, Login};
use crate::support::image::{Image, Layer, Recipe};
use crate::support::nginx::Nginx;
use crate::support::registry::Registry;
use crate::support::{Validity, unique};

/// When a run that has a time limit of seconds is over at the latest, on however slow a machine.
const LATEST_END: Duration = Duration::from_secs(60);

/// A pull of `reference` into a layout.
fn pull(reference: &str, flags: &[&str]) -> Outcome {
    pull_by(Pullctl::new(), reference, flags)
}

fn pull_by(pullctl: Pullctl, reference: &str, flags: &[&str]) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let to = format!("oci:{}", folder.path().join("layout").display());
    pullctl.args(["pull", "--ignore-containerd-config", "--to", &to, reference]).args(flags).run()
}

fn large() -> Image {
    Recipe::new(vec![Layer::noise(&unique("large"), 3_000_000)]).build()
}

#[test]
fn a_name_without_dns_is_found_where_resolve_says() {
    let registry = FaultyRegistry::start();
    let repository = unique("team/app");
    registry.add(&Image::small(), &repository, "v1");
    let resolve = format!("registry.example:{}", registry.authority());
    let reference = format!("registry.example/{repository}:v1");
    pull(&reference, &["--plain-http", "--resolve", &resolve]).succeeded();
    let asked = registry.requests();
    assert!(asked.iter().all(|request| request.header("host") == Some("registry.example")));

    // A port that is written with the name stays.
    let port = registry.authority().split_once(':').unwrap().1.to_owned();
    let reference = format!("registry.example:{port}/{repository}:v1");
    pull(&reference, &["--plain-http", "--resolve", "registry.example:127.0.0.1"]).succeeded();
    assert!(registry.requests().len() > asked.len());
}

#[test]
fn resolve_changes_the_address_and_not_the_name_that_the_certificate_must_have() {
    let registry = Registry::start();
    let repository = unique("team/app");
    registry.push(&Image::small(), &repository, "v1");
    let proxy = Nginx::proxy(registry.authority(), "");
    let nginx = Nginx::start_tls(&proxy, "registry.example", Validity::Now);
    let pull = |name: &str| {
        let resolve = format!("{name}:{}", nginx.authority());
        let pullctl = Pullctl::new().env("SSL_CERT_FILE", nginx.ca());
        let reference = format!("{name}/{repository}:v1");
        pull_by(pullctl, &reference, &["--retries", "0", "--resolve", &resolve])
    };
    pull("registry.example").succeeded();
    let outcome = pull("other.example").ended_with(5);
    outcome.says("certificate is not for this name").says("registry.example");
}

#[test]
fn a_trace_shows_the_heads_of_requests_and_responses_without_what_is_secret() {
    let (registry, storage) = (FaultyRegistry::start(), FaultyRegistry::start());
    registry.require(Login::Basic { user: "ann".into(), password: "hunter2".into() });
    let image = large();
    let reference = registry.add_new(&image);
    let layer = &image.layers()[0];
    let blob = Body::from(layer.bytes.clone());
    storage.serve("/bucket/layer", "application/octet-stream", None, blob);
    let signed = format!("http://{}/bucket/layer?X-Signature=s1gned", storage.authority());
    registry.always(&layer.digest.to_string(), Fault::Redirect(signed));
    let flags = ["--plain-http", "--http-trace", "-u", "ann:hunter2"];
    let outcome = pull(&reference, &flags).succeeded();
    let (authority, bucket) = (registry.authority(), storage.authority());
    let (_, name) = reference.split_once('/').unwrap();
    let manifest = format!("> GET http://{authority}/v2/{}", name.replace(":v1", "/manifests/v1"));
    let location = format!("< location: http://{bucket}/bucket/layer?X-Signature=***");
    let redirected = format!("> GET http://{bucket}/bucket/layer?X-Signature=***");
    // The layer is larger than a chunk.
    let heads = ["< HTTP/1.1 401 Unauthorized", "> authorization: ***", "< HTTP/1.1 200 OK"];
    let ranges = ["> range: bytes=", "< content-range: bytes ", "< HTTP/1.1 206 Partial Content"];
    let outcome = heads.iter().chain(&ranges).fold(outcome, |outcome, line| outcome.says(line));
    let outcome = outcome.says(&manifest).says(&location).says(&redirected);
    for secret in ["hunter2", "YW5uOmh1bnRlcjI", "s1gned"] {
        assert!(!outcome.stderr.contains(secret), "{secret} in: {}", outcome.stderr);
    }

    let outcome = pull(&reference, &["--plain-http", "-u", "ann:hunter2"]).succeeded();
    assert!(!outcome.stderr.contains("> GET"), "{}", outcome.stderr);
}

#[test]
fn a_time_limit_ends_a_run_that_hangs() {
    let registry = FaultyRegistry::start();
    let image = large();
    let reference = registry.add_new(&image);
    let gate = Gate::new();
    registry.always(&image.layers()[0].digest.to_string(), Fault::Stall(1000, gate.clone()));
    let outcome = pull(&reference, &["--plain-http", "--timeout", "1s"]).ended_with(5);
    gate.open();
    assert!(outcome.duration < LATEST_END, "{:?}", outcome.duration);
    outcome.says(": time limit of 1s for the run reached\nhint: raise --timeout");
}

#[test]
fn a_time_limit_ends_a_run_that_a_rate_limit_slows_down() {
    let registry = FaultyRegistry::start();
    let reference = registry.add_new(&large());
    // At this rate it would take days.
    let flags = ["--plain-http", "--limit-rate", "1B/s", "--timeout", "1s"];
    let outcome = pull(&reference, &flags).ended_with(5);
    assert!(outcome.duration < LATEST_END, "{:?}", outcome.duration);
    outcome.says(": time limit of 1s for the run reached\n");
}

#[test]
fn a_time_limit_ends_a_run_that_a_registry_asks_to_wait() {
    let registry = FaultyRegistry::start();
    // A wait that would be borne if there were the time.
    let later = Fault::Status(429, vec![("Retry-After", "100".to_owned())]);
    registry.always("/manifests/", later);
    let reference = registry.add_new(&Image::small());
    let outcome = pull(&reference, &["--plain-http", "--timeout", "2s"]).ended_with(5);
    assert!(outcome.duration < LATEST_END, "{:?}", outcome.duration);
    outcome.says("time limit of 2s for the run reached after: too many requests");
}

#[test]
fn a_rate_limit_is_for_all_connections_together() {
    let registry = FaultyRegistry::start();
    let layers = [(); 2].map(|()| Layer::noise(&unique("limited"), 1_000_000));
    let reference = registry.add_new(&Recipe::new(layers.to_vec()).build());
    let flags = ["--plain-http", "--chunk-size", "64KiB", "--limit-rate", "500KB/s"];
    let outcome = pull(&reference, &flags).succeeded();
    // Two million bytes take four seconds, over however many connections they come.
    assert!(outcome.duration >= Duration::from_secs(3), "{:?}", outcome.duration);
    let connections: BTreeSet<u64> =
        registry.requests_for("/blobs/").iter().map(|request| request.connection).collect();
    assert!(connections.len() > 1, "one connection shows nothing: {connections:?}");
}

#[test]
fn a_registry_in_trouble_is_left_alone_for_as_long_as_it_says() {
    let registry = FaultyRegistry::start();
    let later = Fault::Status(503, vec![("Retry-After", "2".to_owned())]);
    registry.script("/blobs/", vec![Some(later)]);
    let reference = registry.add_new(&Image::small());
    let outcome = pull(&reference, &["--plain-http"]).succeeded();
    // Our own first wait is a fraction of a second.
    assert!(outcome.duration >= Duration::from_millis(1900), "{:?}", outcome.duration);
}

#[test]
fn of_a_blob_whose_bytes_are_all_there_nothing_is_asked() {
    let registry = FaultyRegistry::start();
    let image = large();
    let reference = registry.add_new(&image);
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout");
    let to = format!("oci:{}", layout.display());
    let pull = |flags: &[&str]| {
        let command = ["pull", "--ignore-containerd-config", "--plain-http", "--to", &to];
        Pullctl::new().args(command).args(flags).args([&reference]).run()
    };
    let layer = &image.layers()[0];
    // A run that was ended before it could put the bytes in place.
    let partial = layout.join(".pullctl-ingest").join(layer.digest.hex());
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    fs::write(&partial, &layer.bytes).unwrap();
    pull(&[]).succeeded();
    assert_eq!(registry.requests_for(&layer.digest.to_string()), []);
    let stored = fs::read(layout.join("blobs/sha256").join(layer.digest.hex())).unwrap();
    assert!(stored == layer.bytes, "the layer differs");
}

#[test]
fn a_rate_limit_that_is_high_enough_changes_nothing() {
    let registry = FaultyRegistry::start();
    let reference = registry.add_new(&large());
    pull(&reference, &["--plain-http", "--limit-rate", "1GB/s"]).succeeded();
}

#[test]
fn a_passing_failure_is_retried_as_often_as_asked_for() {
    for (status, retries, requests) in [(503, "0", 1), (503, "2", 3), (500, "2", 3), (408, "2", 3)]
    {
        let registry = FaultyRegistry::start();
        registry.always("/manifests/", Fault::Status(status, Vec::new()));
        let reference = registry.add_new(&Image::small());
        let outcome = pull(&reference, &["--plain-http", "--retries", retries]).ended_with(5);
        outcome.says(&status.to_string());
        assert_eq!(registry.requests().len(), requests, "{:?}", registry.requests());
    }
}

#[test]
fn a_lasting_failure_is_not_retried() {
    for (status, code) in [(400, 5), (403, 4), (404, 3)] {
        let registry = FaultyRegistry::start();
        registry.always("HEAD ", Fault::Status(status, Vec::new()));
        registry.always("GET ", Fault::Status(status, Vec::new()));
        let reference = registry.add_new(&Image::small());
        pull(&reference, &["--plain-http", "--retries", "5"]).ended_with(code);
        let requests = registry.requests();
        // A refused HEAD is asked for its reason by GET.
        assert!(requests.len() <= 2, "{status}: {requests:?}");
    }
}
