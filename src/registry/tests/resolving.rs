//! References and manifests.

use http::StatusCode;

use super::blobs::small_chunks;
use crate::failure::{Diagnose as _, Failure};
use crate::oci::{Digest, MAX_MANIFEST_BYTES};
use crate::registry::testing::{Reply, Server, Setup, dead_authority, host};
use crate::registry::{Error, Fault};

const MANIFEST: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}"#;
const MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

fn digest() -> String {
    Digest::of(MANIFEST.as_bytes()).to_string()
}

pub(super) fn manifest() -> Reply {
    Reply::ok(MANIFEST).header("Content-Type", MEDIA_TYPE).header("Docker-Content-Digest", digest())
}

#[tokio::test]
async fn a_head_request_is_enough() {
    let server = Server::start(|_, _| manifest()).await;
    let repository = Setup::default().repository(vec![server.host()]);
    let resolved = repository.resolve().await.unwrap();
    assert_eq!(resolved.descriptor.digest.to_string(), digest());
    assert_eq!(resolved.descriptor.size, MANIFEST.len() as u64);
    assert_eq!(resolved.descriptor.media_type.as_str(), MEDIA_TYPE);
    assert_eq!(resolved.host, server.authority());
    assert!(resolved.body.is_none());
    assert_eq!(server.lines(), ["HEAD /v2/team/app/manifests/v1"]);
    assert_eq!(repository.manifest(&resolved.descriptor).await.unwrap(), MANIFEST);
}

#[tokio::test]
async fn who_reads_in_any_case_asks_once() {
    let server = Server::start(|_, _| manifest()).await;
    let repository = Setup::default().repository(vec![server.host()]);
    let resolved = repository.resolve_and_read().await.unwrap();
    assert_eq!(resolved.descriptor.digest.to_string(), digest());
    assert_eq!(resolved.body.unwrap(), MANIFEST);
    assert_eq!(server.lines(), ["GET /v2/team/app/manifests/v1"]);
}

#[tokio::test]
async fn what_a_mirror_may_serve_and_not_resolve_is_not_read_from_its_registry() {
    let [mirror, server] =
        [Server::start(|_, _| manifest()).await, Server::start(|_, _| manifest()).await];
    let mut pulls = mirror.host();
    pulls.capabilities.resolve = false;
    let repository = Setup::default().repository(vec![pulls, server.host()]);
    let resolved = repository.resolve_and_read().await.unwrap();
    repository.manifest(&resolved.descriptor).await.unwrap();
    assert_eq!(server.lines(), ["HEAD /v2/team/app/manifests/v1"]);
    assert_eq!(mirror.lines(), [format!("GET /v2/team/app/manifests/{}", digest())]);
}

#[tokio::test]
async fn a_manifest_has_the_digest_that_its_host_says() {
    let other = Digest::of(b"other").to_string();
    let server = Server::start(move |_, _| {
        Reply::ok(MANIFEST)
            .header("Content-Type", MEDIA_TYPE)
            .header("Docker-Content-Digest", &other)
    })
    .await;
    let repository = Setup::default().repository(vec![server.host()]);
    let error = repository.resolve_and_read().await.unwrap_err();
    assert_eq!(error.failure(), Failure::Verification, "{error}");
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn reads_the_manifest_where_head_does_not_say_enough() {
    type Answer = fn() -> Reply;
    let cases: [(&str, Answer); 4] = [
        ("405", || Reply::status(405)),
        ("403", || Reply::status(403)),
        ("no digest", || Reply::ok(MANIFEST).header("Content-Type", MEDIA_TYPE)),
        ("generic type", || manifest().header("Content-Type", "text/plain; charset=utf-8")),
    ];
    for (name, head) in cases {
        let server = Server::start(move |request, _| {
            if request.method == "HEAD" {
                head()
            } else {
                Reply::ok(MANIFEST).header("Content-Type", "application/json")
            }
        })
        .await;
        let repository = Setup::default().repository(vec![server.host()]);
        let resolved = repository.resolve().await.unwrap();
        assert_eq!(resolved.descriptor.digest.to_string(), digest(), "{name}");
        assert_eq!(resolved.descriptor.media_type.as_str(), MEDIA_TYPE, "{name}");
        assert_eq!(resolved.body.unwrap(), MANIFEST, "{name}");
    }
}

#[tokio::test]
async fn the_ns_parameter_names_the_images_own_registry() {
    let server = Server::start(|_, _| manifest()).await;
    let mut mirror = server.host();
    mirror.ns = Some("registry.example:5000".to_owned());
    mirror.path = "/v2/proxy".to_owned();
    let repository = Setup::default().repository(vec![mirror]);
    repository.resolve().await.unwrap();
    assert_eq!(server.lines(), ["HEAD /v2/proxy/team/app/manifests/v1?ns=registry.example%3A5000"]);
}

#[tokio::test]
async fn a_digest_is_looked_for_among_the_blobs_as_well() {
    let server = Server::start(|request, _| {
        if request.path.contains("/blobs/") { Reply::ok(MANIFEST) } else { Reply::status(404) }
    })
    .await;
    let reference = format!("registry.example/team/app@{}", digest());
    let repository = Setup::default().repository_of(&reference, vec![server.host()]);
    let resolved = repository.resolve().await.unwrap();
    assert_eq!(resolved.descriptor.media_type.as_str(), MEDIA_TYPE);
    assert_eq!(repository.manifest(&resolved.descriptor).await.unwrap(), MANIFEST);
}

#[tokio::test]
async fn errors_are_told_apart() {
    let envelope = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such tag"}]}"#;
    type Answer = fn(&'static str) -> Reply;
    let cases: [(&str, Answer, Failure); 6] = [
        ("404", |_| Reply::status(404), Failure::NotFound),
        ("403", |body| Reply::ok(body).header("X", "y").with_status(403), Failure::Authentication),
        ("400", |_| Reply::status(400), Failure::Unreachable),
        ("429", |_| Reply::status(429).header("Retry-After", "86400"), Failure::RateLimited),
        (
            "html",
            |_| Reply::ok("<html>").header("Content-Type", "text/html"),
            Failure::Verification,
        ),
        (
            "too large",
            |_| manifest().header("Content-Length", (MAX_MANIFEST_BYTES + 1).to_string()),
            Failure::Verification,
        ),
    ];
    for (name, answer, expected) in cases {
        let server = Server::start(move |_, _| answer(envelope)).await;
        let repository = Setup::default().repository(vec![server.host()]);
        let error = repository.resolve().await.unwrap_err();
        assert_eq!(error.failure(), expected, "{name}: {error:?}");
        let chain = std::error::Error::source(&error).unwrap().to_string();
        assert!(chain.starts_with(&server.authority()), "{chain}");
        if name == "403" {
            assert!(chain.contains("no such tag"), "{chain}");
        }
    }
}

#[tokio::test]
async fn a_manifest_that_differs_from_its_descriptor_is_refused() {
    let server = Server::start(|_, _| manifest()).await;
    let repository = Setup::default().repository(vec![server.host()]);
    let mut descriptor = repository.resolve().await.unwrap().descriptor;
    descriptor.size += 1;
    let error = repository.manifest(&descriptor).await.unwrap_err();
    assert!(matches!(error.fault(), Some(Fault::SizeMismatch { .. })), "{error:?}");
    descriptor.size -= 1;
    descriptor.digest = Digest::of(b"other");
    let error = repository.manifest(&descriptor).await.unwrap_err();
    assert!(matches!(error.fault(), Some(Fault::DigestMismatch { .. })), "{error:?}");
}

#[tokio::test]
async fn a_manifest_without_end_is_read_to_the_limit_only() {
    let body = vec![b' '; MAX_MANIFEST_BYTES as usize + 1];
    let server = Server::start(move |_, _| Reply::ok(body.clone()).unannounced(b"")).await;
    let repository = Setup::default().repository(vec![server.host()]);
    let error = repository.resolve().await.unwrap_err();
    assert!(matches!(error.fault(), Some(Fault::TooLarge { .. })), "{error:?}");
}

#[tokio::test]
async fn the_error_lists_each_host_and_how_often_it_was_tried() {
    let server = Server::start(|_, _| Reply::status(503)).await;
    let dead = dead_authority();
    let repository =
        Setup::policy(small_chunks()).repository(vec![host("http", &dead), server.host()]);
    let error = repository.resolve().await.unwrap_err();
    assert_eq!(error.to_string(), "cannot resolve registry.example/team/app:v1");
    let Error::AllHostsFailed { attempts, failures, .. } = &error else { panic!("{error:?}") };
    assert_eq!(attempts.len(), 2);
    assert!(attempts[0].outcome.starts_with("connection refused"), "{attempts:?}");
    assert_eq!(attempts[1].outcome, "503 Service Unavailable after 6 attempts");
    // As often as that takes its time, which is told too.
    let told = failures.to_string();
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[1].starts_with(&format!("{}: 503", server.authority())), "{failures}");
    assert!(lines.len() == 2 && lines[1].ends_with(" s)"), "{failures}");
    let expected =
        Fault::Status { status: StatusCode::SERVICE_UNAVAILABLE, retry_after: None, reason: None };
    assert_eq!(error.fault(), Some(&expected));
}

#[tokio::test]
async fn a_host_without_the_capability_is_never_asked() {
    let server = Server::start(|_, _| manifest()).await;
    let mut mirror = server.host();
    mirror.capabilities.resolve = false;
    let repository = Setup::default().repository(vec![mirror.clone()]);
    assert!(matches!(repository.resolve().await, Err(Error::NoHost { .. })));
    let reference = format!("registry.example/team/app@{}", digest());
    let by_digest = Setup::default().repository_of(&reference, vec![mirror]);
    assert!(by_digest.resolve().await.is_ok());
    assert_eq!(server.requests().len(), 1);
}
