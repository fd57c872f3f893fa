//! Tags and referrers, page by page, with the number of requests.

use crate::oci::{Descriptor, Digest};
use crate::registry::testing::{Reply, Server, Setup};
use crate::registry::{Error, Fault};

fn malformed(error: &Error) -> bool {
    matches!(error.fault(), Some(Fault::Malformed(_)))
}

#[tokio::test]
async fn tags_come_page_by_page_with_ns_on_each() {
    let server = Server::start(|request, _| match request.path.contains("last=") {
        false => Reply::ok(r#"{"name":"x","tags":["v1","a\u001b[0m",""]}"#).header(
            "Link",
            r#"<http://127.0.0.1/v2/team/app/tags/list?n=1000&last=v1>; rel="next""#,
        ),
        true => Reply::ok(r#"{"name":"x","tags":null}"#),
    })
    .await;
    let mut mirror = server.host();
    mirror.ns = Some("registry.example".to_owned());
    let tags = Setup::default().repository(vec![mirror]).tags().await.unwrap();
    assert_eq!(tags, ["v1"], "what is no tag is left out");
    assert_eq!(
        server.lines(),
        [
            "GET /v2/team/app/tags/list?n=1000&ns=registry.example",
            "GET /v2/team/app/tags/list?n=1000&last=v1&ns=registry.example",
        ]
    );
}

#[tokio::test]
async fn a_list_without_end_or_elsewhere_is_refused() {
    type Answer = fn(usize) -> Reply;
    let cases: [(&str, Answer, usize); 3] = [
        ("itself", |_| Reply::ok("{}").header("Link", r#"<?n=1000>; rel="next""#), 1),
        (
            "elsewhere",
            |_| Reply::ok("{}").header("Link", r#"<http://evil.example/>; rel="next""#),
            1,
        ),
        (
            "no end",
            |seen| Reply::ok("{}").header("Link", format!(r#"</v2/more?last={seen}>; rel="next""#)),
            256,
        ),
    ];
    for (name, answer, requests) in cases {
        let seen = std::sync::atomic::AtomicUsize::new(0);
        let server = Server::start(move |_, _| {
            answer(seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        })
        .await;
        let error = Setup::default().repository(vec![server.host()]).tags().await.unwrap_err();
        assert!(malformed(&error), "{name}: {error:?}");
        assert_eq!(server.requests().len(), requests, "{name}");
    }
}

const SUBJECT: &[u8] = b"subject";

fn index() -> String {
    let digest = Digest::of(b"signature");
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{media_type}","digest":"{digest}","size":9}}]}}"#
    )
}

#[tokio::test]
async fn referrers_come_from_the_list_or_from_the_tag_that_stands_for_it() {
    let subject = Digest::of(SUBJECT);
    let list = format!("GET /v2/team/app/referrers/{subject}");
    let tag = format!("GET /v2/team/app/manifests/{}", subject.to_string().replace(':', "-"));
    for (at, expected, lines) in [
        ("/referrers/", 1, vec![list.clone()]),
        ("/manifests/", 1, vec![list.clone(), tag.clone()]),
        ("nowhere", 0, vec![list, tag]),
    ] {
        let server = Server::start(move |request, _| {
            if request.path.contains(at) { Reply::ok(index()) } else { Reply::status(404) }
        })
        .await;
        let repository = Setup::default().repository(vec![server.host()]);
        let found: Vec<Descriptor> = repository.referrers(subject).await.unwrap();
        assert_eq!(found.len(), expected, "{at}");
        assert_eq!(server.lines(), lines);
    }
}

#[tokio::test]
async fn a_host_without_the_capability_is_not_asked_for_referrers() {
    let server = Server::start(|_, _| Reply::ok(index())).await;
    let mut mirror = server.host();
    mirror.capabilities.referrers = false;
    let asked = Setup::default().repository(vec![mirror]).referrers(Digest::of(SUBJECT)).await;
    assert!(matches!(asked, Err(Error::NoHost { .. })));
    assert!(server.requests().is_empty());
}
