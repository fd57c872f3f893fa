//! Manifests from hosts that get HEAD, types, lengths or bodies wrong, with the number of requests.

use bytes::Bytes;

use super::blobs::small_chunks;
use crate::failure::{Diagnose as _, Failure};
use crate::oci::{Descriptor, Digest, MediaType};
use crate::registry::testing::{Reply, Request, Server, Setup};
use crate::registry::{Error, Fault};

const MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn manifest() -> String {
    let config = format!(
        r#"{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{EMPTY}","size":2}}"#
    );
    format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#)
}

fn digest() -> String {
    Digest::of(manifest().as_bytes()).to_string()
}

fn served() -> Reply {
    Reply::ok(manifest())
        .header("Content-Type", MEDIA_TYPE)
        .header("Docker-Content-Digest", digest())
}

fn chain(error: &Error) -> String {
    std::error::Error::source(error).unwrap().to_string()
}

#[tokio::test]
async fn where_head_fails_get_is_asked_once_and_remembered() {
    for status in [400, 403, 404, 405, 429, 500, 501] {
        let server =
            Server::start(
                move |request, _| {
                    if request.method == "HEAD" { Reply::status(status) } else { served() }
                },
            )
            .await;
        let setup = Setup::default();
        let repository = setup.repository(vec![server.host()]);
        let resolved = repository.resolve().await.unwrap();
        assert_eq!(resolved.descriptor.digest.to_string(), digest(), "{status}");
        assert_eq!(resolved.body.unwrap(), manifest());
        let path = "/v2/team/app/manifests/v1";
        assert_eq!(server.lines(), [format!("HEAD {path}"), format!("GET {path}")], "{status}");
        repository.resolve().await.unwrap();
        assert_eq!(server.lines().len(), 3, "{status}: HEAD is not asked again");
    }
}

#[tokio::test]
async fn a_host_that_is_down_is_asked_by_head_once_and_by_get_in_the_rounds_that_follow() {
    let server = Server::start(|_, _| Reply::status(503)).await;
    let repository = Setup::policy(small_chunks()).repository(vec![server.host()]);
    let error = repository.resolve().await.unwrap_err();
    assert!(chain(&error).contains("503 Service Unavailable after 6 attempts"), "{error:?}");
    let methods: Vec<_> = server.requests().into_iter().map(|request| request.method).collect();
    assert_eq!(methods, ["HEAD", "GET", "GET", "GET", "GET", "GET"]);
}

#[tokio::test]
async fn one_that_asks_for_time_or_a_login_is_not_asked_by_get() {
    for (status, after) in [(429, Some("86400")), (503, Some("86400")), (401, None)] {
        let server = Server::start(move |_, _| {
            let reply = Reply::status(status);
            after.map_or(reply.clone(), |after| reply.header("Retry-After", after))
        })
        .await;
        let repository = Setup::default().repository(vec![server.host()]);
        repository.resolve().await.unwrap_err();
        assert_eq!(server.lines(), ["HEAD /v2/team/app/manifests/v1"], "{status}");
    }
}

#[tokio::test]
async fn a_rate_limit_is_told_in_the_registrys_words() {
    let words = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"pull rate limit"}]}"#;
    let server = Server::start(move |request, _| {
        let body = if request.method == "HEAD" { "" } else { words };
        let reply = Reply::ok(body).with_status(429);
        if request.method == "HEAD" { reply } else { reply.header("Retry-After", "86400") }
    })
    .await;
    let repository = Setup::default().repository(vec![server.host()]);
    let error = repository.resolve().await.unwrap_err();
    assert_eq!(error.failure(), Failure::RateLimited);
    assert!(chain(&error).ends_with("too many requests (429): pull rate limit"), "{error:?}");
    assert_eq!(server.lines().len(), 2, "a day is not waited for");
}

#[tokio::test]
async fn every_refusal_says_its_status_and_what_the_registry_said() {
    let page = "<html><head><title>Blocked by Example Gateway</title></head></html>";
    for (status, body, expected) in [
        (400, "client certificate wanted", "400 Bad Request: client certificate wanted"),
        (401, "", "login required (401)"),
        (403, r#"{"message":"no"}"#, "access denied (403): no"),
        (403, page, "a web page instead of a registry's answer (403): Blocked by Example Gateway"),
        (404, r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#, "not found (404): name_unknown"),
        (404, page, "not found (404): Blocked by Example Gateway"),
        (451, "", "451 Unavailable For Legal Reasons"),
    ] {
        let server = Server::start(move |_, _| Reply::ok(body).with_status(status)).await;
        let repository = Setup::default().repository(vec![server.host()]);
        let error = repository.resolve().await.unwrap_err();
        assert!(chain(&error).ends_with(expected), "{status}: {}", chain(&error));
        let portal = status == 403 && body == page;
        assert_eq!(error.hint().unwrap().contains("login portal"), portal, "{status} {body}");
    }
}

#[tokio::test]
async fn a_mirror_that_answers_with_nonsense_is_told_of_and_left_out() {
    for body in [
        "<!DOCTYPE html><html>Log in</html>",
        r#"{"status":"ok"}"#,
        r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#,
        "",
    ] {
        for media_type in ["text/html; charset=utf-8", MEDIA_TYPE, "application/json"] {
            let mirror =
                Server::start(move |_, _| Reply::ok(body).header("Content-Type", media_type)).await;
            let upstream = Server::start(|_, _| served()).await;
            let setup = Setup::default();
            let repository = setup.repository(vec![mirror.host(), upstream.host()]);
            for _ in 0..2 {
                let resolved = repository.resolve().await.unwrap();
                assert_eq!(resolved.host, upstream.authority(), "{media_type} {body}");
            }
            let methods: Vec<_> = mirror.requests().into_iter().map(|asked| asked.method).collect();
            assert_eq!(methods, ["HEAD", "GET"], "{media_type} {body}");
            let told = setup.record.warnings("host-passed-over");
            let begin =
                format!("{} is passed over for {}: ", mirror.authority(), upstream.authority());
            assert!(told.len() == 1 && told[0].starts_with(&begin), "{told:?}");
        }
    }
}

#[tokio::test]
async fn nonsense_of_the_only_host_is_blamed_on_the_host() {
    let server = Server::start(|_, _| Reply::ok(r#"{"status":"ok"}"#)).await;
    let repository = Setup::default().repository(vec![server.host()]);
    let error = repository.resolve().await.unwrap_err();
    assert_eq!(error.failure(), Failure::Verification);
    assert!(chain(&error).contains("JSON of another kind instead of a manifest"), "{error:?}");
    assert!(error.hint().unwrap().contains("is a registry"), "{error:?}");
}

#[tokio::test]
async fn a_mirror_without_the_image_is_no_news() {
    let mirror = Server::start(|_, _| Reply::status(404)).await;
    let upstream = Server::start(|_, _| served()).await;
    let setup = Setup::default();
    setup.repository(vec![mirror.host(), upstream.host()]).resolve().await.unwrap();
    assert!(setup.record.warnings("host-passed-over").is_empty());
}

#[tokio::test]
async fn a_digest_that_the_header_names_otherwise_is_that_of_the_body() {
    let reference = format!("registry.example/team/app@{}", digest());
    for named in [Digest::of(b"other").to_string(), format!("sha512:{}", "0".repeat(128))] {
        let server =
            Server::start(move |_, _| served().header("Docker-Content-Digest", named.clone()))
                .await;
        let repository = Setup::default().repository_of(&reference, vec![server.host()]);
        let resolved = repository.resolve().await.unwrap();
        assert_eq!(resolved.descriptor.digest.to_string(), digest());
        assert!(server.lines().len() <= 2);
    }
}

#[tokio::test]
async fn a_length_that_head_gets_wrong_is_corrected_by_get() {
    let server = Server::start(|request, _| {
        let reply = served();
        if request.method == "HEAD" { reply.header("Content-Length", "7") } else { reply }
    })
    .await;
    let repository = Setup::default().repository(vec![server.host()]);
    let resolved = repository.resolve().await.unwrap();
    let error = repository.manifest(&resolved.descriptor).await.unwrap_err();
    assert!(error.is_misdescribed());
    assert!(repository.distrust_resolver(&resolved));
    let resolved = repository.resolve().await.unwrap();
    assert_eq!(resolved.descriptor.size, manifest().len() as u64);
    assert!(!repository.distrust_resolver(&resolved), "there is no third way");
}

#[tokio::test]
async fn the_type_is_that_of_the_members_where_the_server_has_a_generic_one() {
    for given in ["application/json", "text/plain; charset=utf-8", "application/octet-stream"] {
        let server = Server::start(move |_, _| served().header("Content-Type", given)).await;
        let repository = Setup::default().repository(vec![server.host()]);
        let resolved = repository.resolve().await.unwrap();
        assert_eq!(resolved.descriptor.media_type.as_str(), MEDIA_TYPE, "{given}");
    }
}

/// A manifest of some size, and its descriptor.
fn long() -> (Bytes, Descriptor) {
    let body = format!("{}{}", manifest(), " ".repeat(10_000));
    let descriptor =
        Descriptor::new(MediaType::new(MEDIA_TYPE), Digest::of(body.as_bytes()), body.len() as u64);
    (body.into(), descriptor)
}

#[tokio::test]
async fn a_manifest_that_breaks_off_goes_on_where_it_stopped() {
    let (body, descriptor) = long();
    let content = body.clone();
    let server = Server::start(move |request, nth| {
        let reply = Reply::blob(request, &content).header("Accept-Ranges", "bytes");
        if nth < 3 { reply.cut_at(1000) } else { reply }
    })
    .await;
    let repository = Setup::policy(small_chunks()).repository(vec![server.host()]);
    assert_eq!(repository.manifest(&descriptor).await.unwrap(), body);
    let last = body.len() - 1;
    let ranges: Vec<_> = server.requests().iter().map(Request::range).collect();
    let expected = [None, Some((1000, last)), Some((2000, last)), Some((3000, last))];
    assert_eq!(ranges, expected);
}

#[tokio::test]
async fn the_rest_of_a_manifest_is_asked_for_three_times_at_most_and_only_where_ranges_are_offered()
{
    let (body, descriptor) = long();
    for (offers, expected) in [(true, 4), (false, 1)] {
        let content = body.clone();
        let server = Server::start(move |request, _| {
            let reply = Reply::blob(request, &content).cut_at(100);
            if offers { reply.header("Accept-Ranges", "bytes") } else { reply }
        })
        .await;
        let policy = crate::registry::Policy { retries: 0, ..small_chunks() };
        let repository = Setup::policy(policy).repository(vec![server.host()]);
        let error = repository.manifest(&descriptor).await.unwrap_err();
        assert!(error.fault().is_some_and(Fault::is_interruption), "{error:?}");
        assert_eq!(server.requests().len(), expected, "{offers}");
    }
}
