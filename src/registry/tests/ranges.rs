//! Hosts that dislike ranges, and answers to them that are not quite what was asked for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::blobs::{failure, read, small_chunks};
use crate::registry::testing::{Reply, Request, Server, Setup, layer, noise};
use crate::registry::{Fault, Policy, Repository};

const KIB: usize = 1024;

/// How a server answers a request with a range, its well-behaved reply given.
trait Answers: Fn(&Request, Reply) -> Reply + Send + Sync {}

impl<F: Fn(&Request, Reply) -> Reply + Send + Sync> Answers for F {}

/// A server that has `blobs`, and answers requests with a `Range` as `answer` says.
async fn serving(
    blobs: &[Bytes],
    answer: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static,
) -> Server {
    let blobs = blobs.to_vec();
    Server::start(move |request, _| {
        let is_asked_for = |blob: &&Bytes| request.path.ends_with(&layer(blob).digest.to_string());
        let blob = blobs.iter().find(is_asked_for).unwrap();
        let reply = Reply::blob(request, blob);
        if request.range().is_some() { answer(request, reply) } else { reply }
    })
    .await
}

/// Whether each request had a `Range`, in the order they came.
fn with_range(server: &Server) -> Vec<bool> {
    server.requests().iter().map(|request| request.range().is_some()).collect()
}

async fn reads(repository: &Repository, blob: &Bytes) {
    assert_eq!(read(repository, &layer(blob)).await.unwrap(), blob);
}

#[tokio::test]
async fn a_host_that_refuses_a_range_is_asked_without_for_the_rest_of_the_run() {
    let blobs = [noise(200 * KIB), noise(300 * KIB)];
    type Answer = fn(&Request, Reply) -> Reply;
    let odd =
        |value: &'static str| move |_: &Request, reply: Reply| reply.header("Content-Range", value);
    let mut cases: Vec<(String, Box<dyn Answers>)> = Vec::new();
    for status in [400, 403, 405, 406, 416, 500, 501, 502, 503] {
        cases.push((status.to_string(), Box::new(move |_, _| Reply::status(status))));
    }
    for value in [
        "bytes=0-65535/204800",
        "bytes 0-65535/1",
        "bytes 0-65535",
        "bytes 1-65536/204800",
        "items 0-65535/204800",
        "",
    ] {
        cases.push((format!("{value:?}"), Box::new(odd(value))));
    }
    let others: [(&str, Answer); 3] = [
        ("416 with the right length", |_, _| {
            Reply::status(416).header("Content-Range", "bytes */204800")
        }),
        ("no Content-Range", |_, _| Reply::status(206).body(noise(64 * KIB))),
        ("fewer bytes than said", |_, reply| reply.body(noise(1000))),
    ];
    for (name, answer) in others {
        cases.push((name.to_owned(), Box::new(answer)));
    }
    for (name, answer) in cases {
        let server = serving(&blobs, answer).await;
        let repository = Setup::policy(small_chunks()).repository(vec![server.host()]);
        reads(&repository, &blobs[0]).await;
        assert_eq!(with_range(&server), [true, false], "{name}");
        reads(&repository, &blobs[1]).await;
        assert_eq!(with_range(&server), [true, false, false], "{name}");
    }
}

#[tokio::test]
async fn a_host_that_is_silent_when_asked_for_a_range_is_asked_without() {
    let blobs = [noise(200 * KIB), noise(300 * KIB)];
    let gate = Arc::new(Semaphore::new(0));
    let server = serving(&blobs, move |_, _| Reply::silent(&gate)).await;
    let policy = Policy { stall_timeout: Duration::from_millis(500), ..small_chunks() };
    let mut host = server.host();
    host.dial_timeout = Some(Duration::from_millis(10));
    let repository = Setup::policy(policy).repository(vec![host]);
    reads(&repository, &blobs[0]).await;
    reads(&repository, &blobs[1]).await;
    assert_eq!(with_range(&server), [true, false, false]);
}

#[tokio::test]
async fn a_host_that_fails_with_and_without_a_range_is_not_asked_more_often_for_that() {
    let blob = noise(200 * KIB);
    let server = Server::start(|_, _| Reply::status(503)).await;
    let repository = Setup::policy(small_chunks()).repository(vec![server.host()]);
    let error = failure(&repository, &layer(&blob)).await;
    assert!(matches!(error.fault(), Some(Fault::Status { .. })), "{error:?}");
    let asked = with_range(&server);
    let whole = asked.iter().filter(|ranged| !**ranged).count();
    assert_eq!((asked.len(), whole), (9, 3), "one try, five retries and three of the whole");
}

#[tokio::test]
async fn who_has_served_ranges_is_not_doubted_for_a_passing_fault() {
    let blob = noise(200 * KIB);
    let content = blob.clone();
    let server = Server::start(move |request, nth| match nth {
        2 => Reply::status(503),
        _ => Reply::blob(request, &content),
    })
    .await;
    let policy = Policy { connections: 1, ..small_chunks() };
    let repository = Setup::policy(policy).repository(vec![server.host()]);
    reads(&repository, &blob).await;
    assert_eq!(with_range(&server), [true; 5], "four ranges, one of them twice");
}

#[tokio::test]
async fn a_shorter_part_is_taken_and_the_rest_asked_for() {
    let blob = noise(200 * KIB);
    let content = blob.clone();
    let server = serving(std::slice::from_ref(&blob), move |request, _| {
        let (first, last) = request.range().unwrap();
        // Half of what was asked for, and of the last 30,000 bytes all.
        let last = if last - first < 30_000 { last } else { first + (last - first) / 2 };
        let range = format!("bytes {first}-{last}/{}", content.len());
        Reply::status(206).body(content.slice(first..=last)).header("Content-Range", range)
    })
    .await;
    let policy = Policy { connections: 1, ..small_chunks() };
    let repository = Setup::policy(policy).repository(vec![server.host()]);
    reads(&repository, &blob).await;
    // 64 KiB come as 32, 16 and 16, three times; the last 8 KiB at once.
    let mut ranges: Vec<_> = server.requests().iter().filter_map(Request::range).collect();
    ranges.sort_unstable();
    assert_eq!(ranges[..3], [(0, 65_535), (32_768, 65_535), (49_152, 65_535)]);
    assert_eq!(with_range(&server), [true; 10]);
}

#[tokio::test]
async fn a_host_that_gives_a_few_bytes_at_a_time_is_asked_for_the_whole() {
    let blob = noise(200 * KIB);
    let content = blob.clone();
    let server = serving(std::slice::from_ref(&blob), move |request, _| {
        let (first, _) = request.range().unwrap();
        let range = format!("bytes {first}-{}/{}", first + 9, content.len());
        Reply::status(206).body(content.slice(first..first + 10)).header("Content-Range", range)
    })
    .await;
    let policy = Policy { connections: 1, ..small_chunks() };
    let repository = Setup::policy(policy).repository(vec![server.host()]);
    reads(&repository, &blob).await;
    let ranged = with_range(&server).iter().filter(|ranged| **ranged).count();
    assert_eq!(ranged, 17, "sixteen small parts and one that is too many");
    // Each of the workers that were at it finds out by itself.
    assert!(server.requests().len() <= 24, "{}", server.requests().len());
}

#[tokio::test]
async fn the_right_part_with_the_status_of_the_whole_is_the_part() {
    let blob = noise(200 * KIB);
    let server = serving(std::slice::from_ref(&blob), |_, reply| reply.with_status(200)).await;
    let repository = Setup::policy(small_chunks()).repository(vec![server.host()]);
    reads(&repository, &blob).await;
    assert_eq!(with_range(&server), [true; 4]);
}

#[tokio::test]
async fn the_whole_may_come_as_a_part_that_is_all_of_it() {
    let blob = noise(1000);
    let content = blob.clone();
    let server = Server::start(move |_, _| {
        Reply::ok(content.clone()).with_status(206).header("Content-Range", "bytes 0-999/1000")
    })
    .await;
    let repository = Setup::policy(small_chunks()).repository(vec![server.host()]);
    reads(&repository, &blob).await;
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_store_behind_a_redirect_may_dislike_ranges_as_well() {
    let blobs = [noise(200 * KIB), noise(300 * KIB)];
    let store = serving(&blobs, |_, _| Reply::status(403)).await;
    let base = store.url("");
    let registry =
        Server::start(move |request, _| Reply::redirect(format!("{base}{}", request.path))).await;
    let repository = Setup::policy(small_chunks()).repository(vec![registry.host()]);
    reads(&repository, &blobs[0]).await;
    reads(&repository, &blobs[1]).await;
    assert_eq!(with_range(&store), [true, false, false]);
    assert_eq!(registry.requests().len(), 3);
}

#[tokio::test]
async fn a_chunk_goes_on_at_a_host_without_ranges() {
    // One chunk is asked for and no more, so that nobody else finds out.
    let blob = noise(70 * KIB);
    let content = blob.clone();
    let broken = Server::start(move |request, _| match request.range() {
        Some((0, _)) => Reply::blob(request, &content).cut_at(1000),
        _ => Reply::status(404),
    })
    .await;
    let rangeless = serving(std::slice::from_ref(&blob), |_, _| Reply::status(501)).await;
    let policy = Policy { connections: 1, ..small_chunks() };
    let repository = Setup::policy(policy).repository(vec![broken.host(), rangeless.host()]);
    reads(&repository, &blob).await;
    let ranged = with_range(&rangeless).iter().filter(|ranged| **ranged).count();
    assert_eq!(ranged, 1);
}
