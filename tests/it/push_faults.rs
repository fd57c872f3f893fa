//! Pushes to registries that refuse, break off, forget and lie. Each refusal has an exit code, words
//! and a next step of its own; what breaks off goes on where the registry says that it stands.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, Version};
use crate::support::faulty::{FaultyRegistry, Gate};
use crate::support::image::{Image, Layer, Recipe};
use crate::support::receiver::{Receiver, Trick};
use crate::support::unique;

const MIB: usize = 1 << 20;

fn daemon() -> &'static Containerd {
    Containerd::shared(Version::V2_1)
}

/// An image of layers of these sizes, and its name in the daemon.
fn image(sizes: &[usize]) -> (Image, String) {
    let layers = sizes.iter().map(|size| Layer::noise(&unique("pushed"), *size));
    let image = Recipe::new(layers.collect()).build();
    let name = FaultyRegistry::start().add_new(&image);
    Pullctl::pull(daemon(), &name).run().succeeded();
    (image, name)
}

fn pushing(name: &str, to: &str, flags: &[&str]) -> Pullctl {
    let push = ["push", "--plain-http", "--chunk-size", "1MiB", name, to];
    Pullctl::new().on(daemon()).args(push).args(flags)
}

fn push(name: &str, to: &str, flags: &[&str]) -> Outcome {
    pushing(name, to, flags).run()
}

/// The registry has all of `image`, byte by byte, under `to`.
#[track_caller]
fn assert_arrived(registry: &Receiver, image: &Image, to: &str) {
    assert_eq!(registry.digest_of(to), Some(image.digest()));
    for blob in &image.blobs {
        assert!(registry.blob(&blob.digest.to_string()).as_ref() == Some(&blob.bytes));
    }
}

/// Where each `PATCH` began.
fn starts(registry: &Receiver) -> Vec<usize> {
    let patches = registry.requests_for("PATCH ");
    let start = |range: &str| range.split('-').next().and_then(|start| start.parse().ok());
    patches.iter().filter_map(|patch| start(patch.header("content-range"))).collect()
}

#[test]
fn each_refusal_has_a_code_words_and_a_next_step_of_its_own() {
    let (_, name) = image(&[200_000, 2 * MIB + 5]);
    let proxy = "can not push artifact to a proxy project: hub";
    let quota = "adding 2.1 MiB of storage resource, which when updated to current usage of 8.3 MiB \
                 will exceed the configured upper limit of 10.0 MiB.";
    let immutable = "Failed to process request due to 'team/app:v1' configured as immutable.";
    let refuse = |status, code, words| Trick::Refuse(status, code, words);
    let [uploads, tag] = ["POST /v2/team/app", "/manifests/v1"];
    let cases = [
        ("PATCH ", refuse(413, "", "too large"), 1, "(413): too large", "client_max_body_size"),
        (
            uploads,
            refuse(403, "DENIED", proxy),
            1,
            "a proxy cache takes no uploads (403): can not",
            "a project of your own",
        ),
        (
            uploads,
            refuse(405, "METHOD_NOT_ALLOWED", proxy),
            1,
            "a proxy cache takes no uploads (405)",
            "a project of your own",
        ),
        (
            uploads,
            refuse(403, "DENIED", quota),
            10,
            "quota exceeded (403): adding 2.1 MiB",
            "more room",
        ),
        (
            uploads,
            refuse(405, "UNSUPPORTED", "The operation is unsupported."),
            1,
            "takes no uploads (405): The operation",
            "push to the registry behind it",
        ),
        (uploads, refuse(501, "", "no"), 1, "takes no uploads (501)", "in maintenance"),
        (
            uploads,
            refuse(403, "DENIED", "requested access to the resource is denied"),
            4,
            "push denied (403): requested access",
            "pullctl login",
        ),
        (
            uploads,
            refuse(404, "NAME_UNKNOWN", "project team not found"),
            3,
            "no such repository or project (404): project team",
            "make the project",
        ),
        (
            tag,
            refuse(412, "PRECONDITION", immutable),
            1,
            "the tag is immutable (412): Failed to process",
            "another tag",
        ),
        (
            tag,
            refuse(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry"),
            3,
            "misses what the manifest names (400): blob unknown",
            "push again",
        ),
        (
            tag,
            refuse(400, "MANIFEST_INVALID", "manifest invalid"),
            5,
            "400 Bad Request: manifest invalid",
            "ask the operator",
        ),
        (tag, Trick::Misname, 7, "says that it keeps sha256:", "do not use"),
        ("PUT /v2/team", Trick::Accept, 5, "does not keep it (202)", "check that"),
        (tag, Trick::Accept, 5, "accepts the manifest v1 and does not keep it (202)", "check that"),
    ];
    let mut complaints = Vec::new();
    for (line, trick, code, says, hint) in cases {
        let registry = Receiver::start();
        registry.always(line, trick.clone());
        let outcome =
            push(&name, &format!("{}/team/app:v1", registry.authority()), &["--retries", "1"]);
        let hints = outcome.stderr.lines().filter(|line| line.starts_with("hint: "));
        let is_hinted = hints.into_iter().any(|line| line.contains(hint));
        if outcome.code != Some(code) || !outcome.stderr.contains(says) || !is_hinted {
            complaints.push(format!("{line} {trick:?}: {outcome:?}"));
        }
        let manifests = registry.requests_for("PUT ");
        let manifests = manifests.iter().filter(|put| put.line().contains("/manifests/")).count();
        let expected = usize::from(line == tag);
        if manifests != expected {
            complaints.push(format!("{line} {trick:?}: {manifests} manifests were sent"));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
}

#[test]
fn an_upload_that_breaks_goes_on_where_the_registry_stands() {
    let (image, name) = image(&[5 * MIB]);
    let registry = Receiver::start();
    let to = registry.name();
    let mid = MIB / 2 + 7;
    registry.script(
        "PATCH ",
        vec![None, Some(Trick::Cut(mid)), None, Some(Trick::Refuse(503, "", ""))],
    );
    push(&name, &to, &[]).succeeded();
    assert_arrived(&registry, &image, &to);
    let begun = starts(&registry);
    assert_eq!(begun[..4], [0, MIB, MIB + mid, 2 * MIB + mid], "{begun:?}");
    // Nothing of what the registry had was sent again.
    assert_eq!(begun[4], 2 * MIB + mid, "{begun:?}");
    assert_eq!(registry.requests_for("POST ").len(), 2, "a layer and a configuration");
}

#[test]
fn an_upload_begins_anew_where_the_registry_has_forgotten_it_or_does_not_say() {
    for (kept, status) in [
        (0, None),
        (1, None),
        (MIB / 2, Some(Trick::Refuse(404, "BLOB_UPLOAD_UNKNOWN", "unknown"))),
        (MIB / 2, Some(Trick::Refuse(405, "", ""))),
    ] {
        let (image, name) = image(&[3 * MIB]);
        let registry = Receiver::start();
        let to = registry.name();
        registry.script("PATCH ", vec![Some(Trick::Cut(kept))]);
        registry.script("GET ", vec![status]);
        push(&name, &to, &[]).succeeded();
        assert_arrived(&registry, &image, &to);
        let begun = starts(&registry);
        assert_eq!(begun[..2], [0, 0], "{begun:?}");
        assert_eq!(registry.requests_for("POST ").len(), 3);
    }
}

#[test]
fn an_upload_that_always_breaks_at_one_place_ends_the_push() {
    let (_, name) = image(&[3 * MIB]);
    let registry = Receiver::start();
    registry.always("PATCH ", Trick::Cut(0));
    push(&name, &registry.name(), &["--retries", "2"]).ended_with(5).says("hint: ");
    assert_eq!(registry.requests_for("PATCH ").len(), 3);
    assert!(registry.requests_for("/manifests/").iter().all(|request| request.method != "PUT"));
}

#[test]
fn a_registry_that_dislikes_pieces_gets_the_whole_and_is_remembered() {
    for (status, code) in [(400, "BLOB_UPLOAD_INVALID"), (405, "UNSUPPORTED"), (501, "")] {
        let (image, name) = image(&[3 * MIB, 3 * MIB + 1, 3 * MIB + 2]);
        let registry = Receiver::start();
        registry.always("PATCH ", Trick::Refuse(status, code, "no chunks here"));
        let to = registry.name();
        push(&name, &to, &["--concurrency", "1"]).succeeded();
        assert_arrived(&registry, &image, &to);
        assert_eq!(registry.requests_for("PATCH ").len(), 1);
    }
}

/// A push of which nobody says how large blobs are sent.
fn push_freely(name: &str, to: &str) -> Outcome {
    let push = ["push", "--plain-http", "--concurrency", "1", name, to];
    Pullctl::new().on(daemon()).args(push).run()
}

/// Sizes of its layers.
fn sizes(image: &Image) -> Vec<usize> {
    image.layers().iter().map(|layer| layer.bytes.len()).collect()
}

/// Sizes of what was sent to complete uploads.
fn completions(registry: &Receiver) -> Vec<usize> {
    let puts = registry.requests_for("PUT ").into_iter();
    let puts = puts.filter(|put| put.line().contains("/blobs/uploads/"));
    puts.filter_map(|put| put.header("content-length").parse().ok()).collect()
}

#[test]
fn a_large_blob_goes_in_one_request_and_what_is_left_of_it_in_pieces_after_a_break() {
    let (image, name) = image(&[5 * MIB]);
    let registry = Receiver::start();
    let to = registry.name();
    registry.script("PUT ", vec![Some(Trick::Cut(2 * MIB + 7))]);
    push_freely(&name, &to).succeeded();
    assert_arrived(&registry, &image, &to);
    assert_eq!(starts(&registry), [2 * MIB + 7], "nothing is sent twice");
    assert_eq!(completions(&registry)[..2], [sizes(&image)[0], 0]);
}

#[test]
fn a_registry_that_dislikes_wholes_gets_pieces_and_is_remembered() {
    for status in [413, 400, 405] {
        let (image, name) = image(&[3 * MIB, 3 * MIB + 1, 3 * MIB + 2]);
        let registry = Receiver::start();
        let to = registry.name();
        registry.always("PUT ", Trick::Limit(MIB, status));
        push_freely(&name, &to).succeeded();
        assert_arrived(&registry, &image, &to);
        assert_eq!(starts(&registry), [0, 0, 0], "{status}");
        // The second layer may be on its way when the first one is refused.
        let wholes = completions(&registry).into_iter().filter(|size| *size > MIB).count();
        assert!((1..=2).contains(&wholes), "{status}: {wholes}");
    }
}

#[test]
fn a_registry_that_takes_neither_wholes_nor_pieces_is_asked_for_each_once() {
    let (image, name) = image(&[3 * MIB]);
    for (status, code, words) in [(413, 1, "client_max_body_size"), (400, 5, "at once")] {
        let registry = Receiver::start();
        registry.always("/blobs/uploads/id-", Trick::Limit(MIB, status));
        push_freely(&name, &registry.name()).ended_with(code).says(words);
        assert_eq!((starts(&registry), completions(&registry)), (vec![0], sizes(&image)));
    }
}

#[test]
fn an_answer_that_is_lost_is_no_reason_to_send_again() {
    let (image, name) = image(&[200_000, 3 * MIB]);
    let registry = Receiver::start();
    let to = registry.name();
    registry.script("PUT ", vec![Some(Trick::Mute); 2]);
    push(&name, &to, &["--concurrency", "2"]).succeeded();
    assert_arrived(&registry, &image, &to);
    let puts = registry.requests_for("PUT ");
    let blobs = puts.iter().filter(|put| put.line().contains("/blobs/")).count();
    assert_eq!(blobs, 3, "two layers and a configuration, each once: {puts:?}");
    assert_eq!(starts(&registry), [0, MIB, 2 * MIB, 3 * MIB]);
}

#[test]
fn what_passes_is_survived() {
    let (image, name) = image(&[200_000]);
    let registry = Receiver::start();
    let to = registry.name();
    let passing = || vec![Some(Trick::Refuse(503, "", "")), Some(Trick::Mute)];
    registry.script("POST ", passing());
    registry.script("/manifests/v1", passing());
    registry.script("HEAD ", passing());
    push(&name, &to, &[]).succeeded();
    assert_arrived(&registry, &image, &to);
}

#[test]
fn a_login_stays_with_its_host_wherever_uploads_are_sent() {
    let (image, name) = image(&[200_000, 3 * MIB]);
    let registry = Receiver::start();
    registry.require("ann", "hunter2");
    let storage = registry.beside();
    // A path alone, the host's own name with another scheme, and another host.
    for location in [
        "UPLOAD".to_owned(),
        format!("https://{}UPLOAD", registry.authority()),
        format!("http://{storage}UPLOAD"),
    ] {
        registry.forget();
        registry.always("POST ", Trick::Location(location.clone()));
        let to = registry.name();
        push(&name, &to, &["-u", "ann:hunter2"]).succeeded();
        assert_arrived(&registry, &image, &to);
        let is_elsewhere = location.contains(&storage);
        let bodies = registry.requests();
        let mut bodies = bodies.iter().filter(|sent| sent.target.contains("_state=s%2F1"));
        assert!(bodies.clone().count() >= 5);
        assert!(bodies.all(|sent| {
            let goes_elsewhere = sent.header("host") == storage;
            goes_elsewhere == is_elsewhere
                && goes_elsewhere == sent.header("authorization").is_empty()
        }));
    }
}

#[test]
fn a_slow_registry_is_waited_for_and_one_that_stops_is_not() {
    let (image, name) = image(&[24 * MIB]);
    let registry = Receiver::start();
    registry.always("PATCH ", Trick::Slowly(MIB / 2, Duration::from_millis(60)));
    let to = registry.name();
    let flags = ["--stall-timeout", "1s", "--retries", "0", "--chunk-size", "32MiB"];
    let slow =
        Pullctl::new().on(daemon()).args(["push", "--plain-http", &name, &to]).args(flags).run();
    assert!(slow.duration > Duration::from_secs(2), "{slow:?}");
    slow.succeeded();
    assert_arrived(&registry, &image, &to);

    let registry = Receiver::start();
    let gate = Gate::new();
    registry.always("PATCH ", Trick::Stop(MIB, gate.clone()));
    let to = registry.name();
    let push = Pullctl::new().on(daemon()).args(["push", "--plain-http", &name, &to]).args(flags);
    push.run().ended_with(5).says("no byte was taken for ").says("--stall-timeout");
    gate.open();
}

#[test]
fn a_push_that_is_interrupted_says_so_and_the_next_one_ends_it() {
    let (image, name) = image(&[200_000, 3 * MIB]);
    let registry = Receiver::start();
    let (gate, to) = (Gate::new(), registry.name());
    registry.script("PATCH ", vec![None, Some(Trick::Stop(1000, gate.clone()))]);
    let running = pushing(&name, &to, &[]).spawn();
    gate.wait_until_reached();
    running.signal(Signal::INT);
    running.wait().ended_with(130).says("run the same command again");
    assert_eq!(registry.digest_of(&to), None);
    gate.open();
    push(&name, &to, &[]).succeeded();
    assert_arrived(&registry, &image, &to);
}

#[test]
fn layers_with_urls_stay_where_they_are_and_are_refused_once() {
    let layers = vec![Layer::noise(&unique("own"), 1000), Layer::noise(&unique("foreign"), 1000)];
    let image = Recipe::new(layers).build().edit_manifest(|manifest| {
        let layer = &mut manifest["layers"][1];
        layer["mediaType"] = "application/vnd.oci.image.layer.nondistributable.v1.tar".into();
        layer["urls"] = serde_json::json!(["https://elsewhere.example/layer"]);
    });
    let name = FaultyRegistry::start().add_new(&image);
    Pullctl::pull(daemon(), &name).run().succeeded();
    let registry = Receiver::start();
    let to = registry.name();
    push(&name, &to, &[]).succeeded();
    assert_eq!(registry.digest_of(&to), Some(image.digest()));
    let foreign = image.layers()[1].digest.to_string();
    assert!(registry.requests().iter().all(|request| !request.line().contains(&foreign)));

    let real = crate::support::registry::Registry::start();
    let to = format!("{}/team/app:v1", real.authority());
    push(&name, &to, &[]).ended_with(1).says("urls of their own (500)").says("urls.allow");
    let puts =
        real.requests().into_iter().filter(|line| line.starts_with("PUT /v2/team/app/manifests"));
    assert_eq!(puts.count(), 1);
}
