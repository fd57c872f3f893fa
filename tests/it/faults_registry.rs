//! Registries that lie, break and refuse. Each fault ends in its own exit code with the host, the
//! cause and a next step, and leaves nothing that can be seen; a passing fault is survived.

use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, KUBERNETES};
use crate::support::faulty::{Body, Fault, FaultyRegistry, Login, dead_authority};
use crate::support::image::{
    DOCKER_LIST, DOCKER_MANIFEST, Image, Layer, OCI_INDEX, OCI_MANIFEST, Packing, Recipe, noise,
};
use crate::support::store::Store;
use crate::support::{each_version, unique};

/// A fault that no retry cures.
struct Case {
    name: &'static str,
    /// Sets it up for an image; answers what to pull.
    arrange: fn(&FaultyRegistry) -> String,
    code: i32,
    /// What standard error says, among other things.
    says: &'static [&'static str],
}

fn layered() -> Image {
    Recipe::new(vec![Layer::noise(&unique("faulty"), 300_000)]).build()
}

fn layer_of(image: &Image) -> String {
    image.layers()[0].digest.to_string()
}

/// Serves an image and lets `fault` befall its layer.
fn with_layer_fault(registry: &FaultyRegistry, fault: Fault) -> String {
    let image = layered();
    registry.always(&layer_of(&image), fault);
    registry.add_new(&image)
}

/// Serves an image and lets `fault` befall its manifest.
fn with_manifest_fault(registry: &FaultyRegistry, fault: Fault) -> String {
    registry.always("/manifests/", fault);
    registry.add_new(&layered())
}

/// Serves `body` for the manifest.
fn with_manifest(registry: &FaultyRegistry, content_type: &'static str, body: Body) -> String {
    with_manifest_fault(registry, Fault::Instead { content_type, body })
}

fn text(text: impl Into<String>) -> Body {
    Body::from(text.into().into_bytes())
}

const CASES: &[Case] = &[
    Case {
        name: "a manifest's bytes are other ones than its digest says",
        arrange: |registry| {
            let image = layered();
            let reference = registry.add_new(&image);
            registry.always("GET /v2/test", Fault::Corrupt(20));
            let (repository, _) = reference.rsplit_once(':').unwrap();
            format!("{repository}@{}", image.digest())
        },
        code: 7,
        says: &["127.0.0.1", "sha256:"],
    },
    Case {
        name: "the registry's header names another digest than the manifest has",
        arrange: |registry| {
            let other = format!("sha256:{}", "0".repeat(64));
            let header = Fault::Headers(vec![("Docker-Content-Digest", other)]);
            with_manifest_fault(registry, header)
        },
        code: 7,
        says: &["127.0.0.1"],
    },
    Case {
        name: "a layer's bytes are other ones than its digest says",
        arrange: |registry| with_layer_fault(registry, Fault::Corrupt(100_000)),
        code: 7,
        says: &["127.0.0.1", "sha256:"],
    },
    Case {
        name: "a layer is larger than the manifest says",
        arrange: |registry| {
            let image = layered().edit_manifest(|manifest| {
                manifest["layers"][0]["size"] = json!(1000);
            });
            registry.add_new(&image)
        },
        code: 7,
        says: &["127.0.0.1", "sha256:"],
    },
    Case {
        name: "a layer is smaller than the manifest says",
        arrange: |registry| {
            let image = layered().edit_manifest(|manifest| {
                manifest["layers"][0]["size"] = json!(400_000_000);
            });
            registry.add_new(&image)
        },
        code: 7,
        says: &["127.0.0.1", "sha256:"],
    },
    Case {
        name: "a layer's size is negative",
        arrange: |registry| {
            let image = layered().edit_manifest(|manifest| {
                manifest["layers"][0]["size"] = json!(-1);
            });
            registry.add_new(&image)
        },
        code: 7,
        says: &["-1"],
    },
    Case {
        name: "the server sends more than the layer has",
        arrange: |registry| with_layer_fault(registry, Fault::Lengthen(1000)),
        code: 7,
        says: &["127.0.0.1", "sha256:"],
    },
    Case {
        name: "a Content-Range is not the one asked for",
        arrange: |registry| {
            let image = Recipe::new(vec![Layer::noise(&unique("range"), 3_000_000)]).build();
            let range = Fault::ContentRange("bytes 7-13/20".to_owned());
            registry.always(&layer_of(&image), range);
            registry.add_new(&image)
        },
        code: 7,
        says: &["127.0.0.1"],
    },
    Case {
        name: "the configuration has fewer diff IDs than there are layers",
        arrange: |registry| {
            let rootfs = json!({ "type": "layers", "diff_ids": [] });
            let layer = Layer::noise(&unique("faulty"), 1000);
            registry.add_new(&Recipe::new(vec![layer]).config("rootfs", rootfs).build())
        },
        code: 7,
        says: &["diff ID"],
    },
    Case {
        name: "a layer's tar has another digest than its diff ID",
        arrange: |registry| {
            let rootfs =
                json!({ "type": "layers", "diff_ids": [format!("sha256:{}", "0".repeat(64))] });
            let layer = Layer::noise(&unique("faulty"), 1000);
            registry.add_new(&Recipe::new(vec![layer]).config("rootfs", rootfs).build())
        },
        code: 7,
        says: &["diff ID"],
    },
    Case {
        name: "a gzip layer is no gzip",
        arrange: |registry| {
            // Not a bare tar either, which containerd takes whatever its media type says.
            let mut layer = Layer::pack(&noise(&unique("faulty"), 5000), Packing::Plain);
            layer.blob.media_type += "+gzip";
            registry.add_new(&Recipe::new(vec![layer]).build())
        },
        code: 7,
        says: &["sha256:"],
    },
    Case {
        name: "a layer is no tar",
        arrange: |registry| {
            let layer = Layer::pack(&[b'x'; 2000], Packing::Gzip);
            registry.add_new(&Recipe::new(vec![layer]).build())
        },
        code: 7,
        says: &["sha256:"],
    },
    Case {
        name: "a manifest has 100 MiB",
        arrange: |registry| {
            let body = Body::generated(100 << 20, |_, buffer| buffer.fill(b' '));
            with_manifest(registry, OCI_MANIFEST, body)
        },
        code: 7,
        says: &["127.0.0.1"],
    },
    Case {
        name: "JSON is nested 10,000 deep",
        arrange: |registry| {
            let deep = format!("{{\"layers\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
            with_manifest(registry, OCI_MANIFEST, text(deep))
        },
        code: 7,
        says: &["manifest"],
    },
    Case {
        name: "the manifest is an HTML page",
        arrange: |registry| {
            let page = "<!DOCTYPE html><html><body>log in</body></html>";
            with_manifest(registry, "text/html", text(page))
        },
        code: 7,
        says: &["127.0.0.1", "web page"],
    },
    Case {
        name: "the manifest is schema1",
        arrange: |registry| {
            let manifest = json!({ "schemaVersion": 1, "name": "old", "fsLayers": [] });
            let schema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
            with_manifest(registry, schema1, text(manifest.to_string()))
        },
        code: 7,
        says: &["schema1"],
    },
    Case {
        name: "the image is not there",
        arrange: |registry| format!("{}/no/such:image", registry.authority()),
        code: 3,
        says: &["127.0.0.1", "not found"],
    },
    Case {
        name: "a layer is not there",
        arrange: |registry| with_layer_fault(registry, Fault::Status(404, Vec::new())),
        code: 3,
        says: &["127.0.0.1", "not found"],
    },
    Case {
        name: "the registry wants a login",
        arrange: |registry| {
            registry.require(Login::Basic { user: "ann".into(), password: "hunter2".into() });
            registry.add_new(&layered())
        },
        code: 4,
        says: &["127.0.0.1", "login required", "hint: "],
    },
    Case {
        name: "the registry forbids",
        arrange: |registry| with_manifest_fault(registry, Fault::Status(403, Vec::new())),
        code: 4,
        says: &["127.0.0.1", "access denied", "hint: "],
    },
    Case {
        name: "nothing listens",
        arrange: |_| format!("{}/some/image:v1", dead_authority()),
        code: 5,
        says: &["127.0.0.1", "refused"],
    },
    Case {
        name: "the registry fails for good",
        arrange: |registry| with_manifest_fault(registry, Fault::Status(503, Vec::new())),
        code: 5,
        says: &["127.0.0.1", "503", "2 attempts"],
    },
    Case {
        name: "every body is cut short",
        arrange: |registry| with_layer_fault(registry, Fault::Truncate(0)),
        code: 7,
        says: &["127.0.0.1", "ended before"],
    },
    Case {
        name: "every connection is reset",
        arrange: |registry| with_layer_fault(registry, Fault::Reset(0)),
        code: 5,
        says: &["127.0.0.1"],
    },
    Case {
        name: "redirects go round in circles",
        arrange: |registry| {
            let url = format!("http://{}/round", registry.authority());
            registry.always("/round", Fault::Redirect(url.clone()));
            with_layer_fault(registry, Fault::Redirect(url))
        },
        code: 5,
        says: &["127.0.0.1", "redirect"],
    },
    Case {
        name: "the registry asks to slow down for good",
        arrange: |registry| {
            let later = vec![("Retry-After", "0".to_owned())];
            with_manifest_fault(registry, Fault::Status(429, later))
        },
        code: 6,
        says: &["127.0.0.1", "too many requests", "hint: "],
    },
];

/// What is wrong with how `case` ended.
fn complaints(case: &Case, daemon: &Containerd) -> Vec<String> {
    let registry = FaultyRegistry::start();
    let reference = (case.arrange)(&registry);
    let outcome = Pullctl::pull(daemon, &reference).args(["--retries", "1"]).run();
    let mut complaints = Vec::new();
    let mut wants = |holds: bool, what: String| {
        if !holds {
            complaints.push(format!("{}: {what}\n{}", case.name, outcome.stderr));
        }
    };
    wants(outcome.code == Some(case.code), format!("code {:?}, not {}", outcome.code, case.code));
    wants(outcome.stderr.contains("error: "), "no error".to_owned());
    for text in case.says {
        wants(outcome.stderr.contains(text), format!("no \"{text}\""));
    }
    let (repository, _) = reference.split_once("/").unwrap();
    let images = Store::new(daemon, KUBERNETES).images();
    let visible = images.keys().any(|name| name.starts_with(repository));
    wants(!visible, "something is visible".to_owned());
    complaints
}

/// Pulls, expects success, and checks that the image's layer is what it should be.
fn survives(daemon: &Containerd, reference: &str, image: &Image) -> Outcome {
    let outcome = Pullctl::pull(daemon, reference).args(["--chunk-size", "1MiB"]).run();
    let outcome = outcome.succeeded();
    let store = Store::new(daemon, KUBERNETES);
    assert!(store.images().contains_key(reference));
    assert!(store.blob(&layer_of(image)) == image.layers()[0].bytes, "the layer differs");
    outcome
}

/// Bytes of the layer that were asked for, all requests together.
fn bytes_asked(registry: &FaultyRegistry, image: &Image) -> u64 {
    let length = image.layers()[0].bytes.len() as u64;
    let requests = registry.requests_for(&layer_of(image));
    requests
        .iter()
        .map(|request| {
            request.range(length).map_or(length, |range| range.end() + 1 - range.start())
        })
        .sum()
}

each_version! {
    fn a_fault_that_lasts_ends_in_its_exit_code_and_leaves_nothing_visible(daemon) {
        let complaints: Vec<String> =
            CASES.iter().flat_map(|case| complaints(case, daemon)).collect();
        assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
    }

    fn a_body_that_breaks_off_goes_on_at_the_same_byte(daemon) {
        for fault in [Fault::Truncate(200_000), Fault::Reset(200_000)] {
            let image = layered();
            let registry = FaultyRegistry::start();
            let reference = registry.add_new(&image);
            registry.script(&layer_of(&image), vec![Some(fault.clone())]);
            survives(daemon, &reference, &image);
            let requests = registry.requests_for(&layer_of(&image));
            assert_eq!(requests.len(), 2, "{fault:?}: {requests:?}");
            let length = image.layers()[0].bytes.len() as u64;
            let resumed = requests[1].range(length).map(|range| *range.start());
            // A reset may overtake bytes that were sent before it; what arrived is not fetched again.
            assert!(resumed.is_some_and(|start| start > 0 || matches!(fault, Fault::Reset(_))));
        }
    }

    fn a_range_that_breaks_off_goes_on_at_the_same_byte(daemon) {
        // Five whole chunks: the file's header and the archive's end are 1536 bytes.
        let image = Recipe::new(vec![Layer::noise(&unique("broken"), (5 << 20) - 1536)]).build();
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        registry.script(&layer_of(&image), vec![None, Some(Fault::Truncate(500_000))]);
        survives(daemon, &reference, &image);
        // The rest of the broken chunk is asked for again, and not what had come of it.
        assert_eq!(bytes_asked(&registry, &image), (6 << 20) - 500_000);
    }

    fn servers_without_ranges_are_served_by_one_stream(daemon) {
        for fault in [Fault::IgnoreRange, Fault::Chunked] {
            let image = Recipe::new(vec![Layer::noise(&unique("stream"), 5_000_000)]).build();
            let registry = FaultyRegistry::start();
            let reference = registry.add_new(&image);
            registry.always(&layer_of(&image), fault);
            survives(daemon, &reference, &image);
            let requests = registry.requests_for(&layer_of(&image));
            assert_eq!(requests.len(), 1, "{requests:?}");
        }
    }

    fn large_blobs_come_in_closed_ranges_each_byte_once(daemon) {
        let image = Recipe::new(vec![Layer::noise(&unique("ranges"), 5_000_000)]).build();
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        survives(daemon, &reference, &image);
        let length = image.layers()[0].bytes.len() as u64;
        let mut ranges: Vec<(u64, u64)> = registry
            .requests_for(&layer_of(&image))
            .iter()
            .filter_map(|request| request.range(length))
            .map(|range| (*range.start(), *range.end()))
            .collect();
        ranges.sort_unstable();
        assert!(ranges.len() >= 4, "{ranges:?}");
        let mut next = 0;
        for (first, last) in ranges {
            assert_eq!(first, next);
            next = last + 1;
        }
        assert_eq!(next, length);
    }

    fn passing_server_errors_are_survived(daemon) {
        for status in [500, 502, 503, 504, 408] {
            let image = layered();
            let registry = FaultyRegistry::start();
            let reference = registry.add_new(&image);
            let fault = Some(Fault::Status(status, Vec::new()));
            registry.script("/manifests/", vec![fault.clone()]);
            registry.script("/blobs/", vec![fault]);
            survives(daemon, &reference, &image);
        }
    }

    fn a_rate_limit_is_waited_for_as_long_as_it_says(daemon) {
        let seconds = || "1".to_owned();
        let date = || httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
        for later in [seconds, date] {
            let image = layered();
            let registry = FaultyRegistry::start();
            let reference = registry.add_new(&image);
            let limit = Fault::Status(429, vec![("Retry-After", later())]);
            registry.script("/blobs/", vec![Some(limit)]);
            let outcome = survives(daemon, &reference, &image);
            // A date has whole seconds, so it may be one second away.
            assert!(outcome.duration >= Duration::from_millis(900), "{:?}", outcome.duration);
        }
    }

    fn credentials_do_not_travel_with_a_redirect(daemon) {
        let image = layered();
        let (registry, storage) = (FaultyRegistry::start(), FaultyRegistry::start());
        registry.require(Login::Basic { user: "ann".into(), password: "hunter2".into() });
        let reference = registry.add_new(&image);
        let blob = image.layers()[0].bytes.clone();
        storage.serve("/bucket/layer", "application/octet-stream", None, Body::from(blob));
        let url = format!("http://{}/bucket/layer?signature=x", storage.authority());
        registry.always(&layer_of(&image), Fault::Redirect(url));
        Pullctl::pull(daemon, &reference).args(["-u", "ann:hunter2"]).run().succeeded();

        let arrived = storage.requests();
        assert!(!arrived.is_empty());
        assert!(arrived.iter().all(|request| request.header("authorization").is_none()));
        assert!(arrived.iter().all(|request| request.query == "signature=x"));
    }

    fn a_redirect_is_followed_once_a_blob(daemon) {
        let image = Recipe::new(vec![Layer::noise(&unique("redirect"), 5_000_000)]).build();
        let (registry, storage) = (FaultyRegistry::start(), FaultyRegistry::start());
        let reference = registry.add_new(&image);
        let blob = image.layers()[0].bytes.clone();
        storage.serve("/bucket/layer", "application/octet-stream", None, Body::from(blob));
        let url = format!("http://{}/bucket/layer", storage.authority());
        registry.always(&layer_of(&image), Fault::Redirect(url));
        survives(daemon, &reference, &image);
        assert_eq!(registry.requests_for(&layer_of(&image)).len(), 1);
        assert!(storage.requests().len() >= 4);
    }

    fn a_redirect_that_expired_is_asked_for_again(daemon) {
        let image = Recipe::new(vec![Layer::noise(&unique("expired"), 5_000_000)]).build();
        let (registry, storage) = (FaultyRegistry::start(), FaultyRegistry::start());
        let reference = registry.add_new(&image);
        let blob = image.layers()[0].bytes.clone();
        storage.serve("/bucket/layer", "application/octet-stream", None, Body::from(blob));
        let url = format!("http://{}/bucket/layer", storage.authority());
        registry.always(&layer_of(&image), Fault::Redirect(url));
        let expired = Some(Fault::Status(403, Vec::new()));
        storage.script("/bucket/", vec![None, None, expired]);
        survives(daemon, &reference, &image);
        assert!(registry.requests_for(&layer_of(&image)).len() >= 2);
    }

    fn a_proxy_that_compresses_bodies_on_the_way_changes_nothing(daemon) {
        let image = layered();
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        let packed = Layer::pack(&image.layers()[0].bytes, Packing::Gzip).blob.bytes;
        let path = format!("{}/blobs/{}", path_of(&reference), layer_of(&image));
        registry.serve(&path, "application/octet-stream", None, Body::from(packed));
        let encoded = Fault::Headers(vec![("Content-Encoding", "gzip".to_owned())]);
        registry.always(&layer_of(&image), encoded);
        survives(daemon, &reference, &image);
        let requests = registry.requests_for(&layer_of(&image));
        assert_eq!(requests[0].header("accept-encoding").unwrap_or("identity"), "identity");
    }

    fn bytes_beyond_the_promised_ones_are_never_kept(daemon) {
        let image = layered();
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        registry.always(&layer_of(&image), Fault::Overrun(1000));
        survives(daemon, &reference, &image);
    }

    fn a_corrupt_layer_is_fetched_afresh_by_the_next_pull(daemon) {
        let image = layered();
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        registry.always(&layer_of(&image), Fault::Corrupt(100_000));
        Pullctl::pull(daemon, &reference).run().ended_with(7);
        let ingests = Store::new(daemon, KUBERNETES).ingests();
        assert!(!ingests.keys().any(|key| key.ends_with(&layer_of(&image))), "{ingests:?}");
        registry.heal();
        survives(daemon, &reference, &image);
    }

    fn manifests_are_asked_for_by_their_media_types(daemon) {
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&layered());
        Pullctl::pull(daemon, &reference).run().succeeded();
        for request in registry.requests_for("/manifests/") {
            let accept = request.header("accept").unwrap_or_default();
            for media_type in [
                OCI_INDEX,
                OCI_MANIFEST,
                DOCKER_LIST,
                DOCKER_MANIFEST,
            ] {
                assert!(accept.contains(media_type), "{accept}");
            }
        }
    }

    fn a_registrys_own_message_is_shown(daemon) {
        let registry = FaultyRegistry::start();
        let errors = json!({ "errors": [{ "code": "DENIED", "message": "quota of team x" }] });
        let path = "/v2/denied/image/manifests/v1";
        registry.serve(path, "application/json", None, text(errors.to_string()));
        registry.always(path, Fault::StatusOf(403));
        let reference = format!("{}/denied/image:v1", registry.authority());
        Pullctl::pull(daemon, &reference).run().ended_with(4).says("quota of team x");
    }
}

/// `/v2/repository` of a reference by tag.
fn path_of(reference: &str) -> String {
    let (_, name) = reference.split_once('/').unwrap();
    let (repository, _) = name.rsplit_once(':').unwrap();
    format!("/v2/{repository}")
}
