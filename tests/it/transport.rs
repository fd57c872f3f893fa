//! The flags about how requests travel: `--resolve`, `--http-trace`, `--timeout`, `--retries`,
//! `--limit-rate`.

use crate::support::cli::{Outcome, Pullctl};
use crate::support::faulty::{Body, Fault, FaultyRegistry, Gate, Login};
use crate::support::image::{Image, Layer, Recipe};
use crate::support::nginx::Nginx;
use crate::support::registry::Registry;
use crate::support::{Validity, unique};

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
    let manifest = format!("> HEAD http://{authority}/v2/{}", name.replace(":v1", "/manifests/v1"));
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
    assert!(!outcome.stderr.contains("> HEAD"), "{}", outcome.stderr);
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
    outcome.says(": time limit of 1s for the run reached\nhint: raise --timeout");
}

#[test]
fn a_time_limit_ends_a_run_that_a_rate_limit_slows_down() {
    let registry = FaultyRegistry::start();
    let reference = registry.add_new(&large());
    // At this rate it would take days.
    let flags = ["--plain-http", "--limit-rate", "1B/s", "--timeout", "1s"];
    let outcome = pull(&reference, &flags).ended_with(5);
    outcome.says(": time limit of 1s for the run reached\n");
}

#[test]
fn a_rate_limit_that_is_high_enough_changes_nothing() {
    let registry = FaultyRegistry::start();
    let reference = registry.add_new(&large());
    pull(&reference, &["--plain-http", "--limit-rate", "1GB/s"]).succeeded();
}

#[test]
fn a_passing_failure_is_retried_as_often_as_asked_for() {
    for (retries, requests) in [("0", 1), ("2", 3)] {
        let registry = FaultyRegistry::start();
        registry.always("/manifests/", Fault::Status(503, Vec::new()));
        let reference = registry.add_new(&Image::small());
        pull(&reference, &["--plain-http", "--retries", retries]).ended_with(5).says("503");
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
