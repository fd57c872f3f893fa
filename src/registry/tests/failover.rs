//! Several hosts: who is asked next, and from which byte.

use std::sync::Arc;
use std::time::Duration;

use super::blobs::{read, small_chunks};
use crate::registry::blob::ranges::ByteRange;
use crate::registry::blob::segment::Segment;
use crate::registry::testing::{Reply, Request, Server, Setup, dead_authority, host, layer, noise};

const KIB: usize = 1024;

#[tokio::test]
async fn a_blob_goes_on_at_the_next_host_at_the_byte_where_the_mirror_broke_off() {
    let blob = noise(60 * KIB);
    let content = blob.clone();
    let mirror = Server::start(move |request, _| Reply::blob(request, &content).cut_at(5000)).await;
    let content = blob.clone();
    let upstream = Server::start(move |request, _| Reply::blob(request, &content)).await;
    let setup = Setup::policy(small_chunks());
    let repository = setup.repository(vec![mirror.host(), upstream.host()]);
    let mut stream = repository.blob(&layer(&blob), 0).await.unwrap();
    assert_eq!(super::blobs::collect(&mut stream).await.unwrap(), blob);
    assert_eq!(mirror.requests().len(), 1);
    let asked: Vec<_> = upstream.requests().iter().map(Request::range).collect();
    assert_eq!(asked, [Some((5000, 60 * KIB - 1))]);
    assert_eq!(setup.record.received_bytes(), blob.len() as u64);
    assert_eq!(stream.hosts(), [mirror.authority(), upstream.authority()]);
}

#[tokio::test]
async fn who_closes_a_connection_that_we_let_wait_is_not_to_blame() {
    let blob = noise(60 * KIB);
    for (seconds, asked_of_upstream) in [(9, 1), (10, 0)] {
        let content = blob.clone();
        let mirror = Server::start(move |request, nth| {
            let reply = Reply::blob(request, &content);
            if nth == 0 { reply.cut_at(5000) } else { reply }
        })
        .await;
        let content = blob.clone();
        let upstream = Server::start(move |request, _| Reply::blob(request, &content)).await;
        let setup = Setup::policy(small_chunks());
        let repository = setup.repository(vec![mirror.host(), upstream.host()]);
        let source = Arc::new(repository.source(&layer(&blob)).unwrap());
        let whole = ByteRange { start: 0, end: blob.len() as u64 };
        let mut segment = Segment::new(source, whole, 0);
        let mut read = Vec::new();
        while read.len() < blob.len() {
            read.extend_from_slice(&segment.next().await.unwrap().unwrap());
            if read.len() == 5000 {
                segment.rested(Duration::from_secs(seconds));
            }
        }
        assert_eq!(read, blob);
        assert_eq!(upstream.requests().len(), asked_of_upstream, "{seconds}");
    }
}

#[tokio::test]
async fn the_next_host_is_asked_at_once_when_the_mirror_does_not_have_it() {
    let blob = noise(500 * KIB);
    // Of some, it may be the range that is refused: then the whole is asked for, once.
    for (status, requests) in [(401, 1), (404, 1), (429, 1), (403, 2), (500, 2), (503, 2)] {
        let mirror = Server::start(move |_, _| Reply::status(status)).await;
        let content = blob.clone();
        let upstream = Server::start(move |request, _| Reply::blob(request, &content)).await;
        let repository =
            Setup::policy(small_chunks()).repository(vec![mirror.host(), upstream.host()]);
        assert_eq!(read(&repository, &layer(&blob)).await.unwrap(), blob, "{status}");
        assert_eq!(mirror.requests().len(), requests, "{status}");
    }
}

#[tokio::test]
async fn why_a_host_is_left_is_told_where_its_status_does_not_tell() {
    let blob = noise(500 * KIB);
    let longer = noise(500 * KIB + 1);
    let mirror = Server::start(move |request, _| Reply::blob(request, &longer)).await;
    let content = blob.clone();
    let upstream = Server::start(move |request, _| Reply::blob(request, &content)).await;
    let setup = Setup::policy(small_chunks());
    let repository = setup.repository(vec![mirror.host(), upstream.host()]);
    assert_eq!(read(&repository, &layer(&blob)).await.unwrap(), blob);
    let mut told = setup.record.attempts();
    told.retain(|attempt| attempt.host == mirror.authority());
    let told: Vec<_> = told.into_iter().map(|attempt| attempt.outcome).collect();
    let reason = "content has 512001 bytes where the descriptor says 512000";
    assert_eq!(told, ["206 Partial Content", "200 OK", reason]);
}

#[tokio::test]
async fn what_comes_with_more_than_was_promised_is_fetched_from_the_next_host() {
    for size in [60 * KIB, 500 * KIB] {
        let blob = noise(size);
        let content = blob.clone();
        let mirror =
            Server::start(move |request, _| Reply::blob(request, &content).unannounced(b"more"))
                .await;
        let content = blob.clone();
        let upstream = Server::start(move |request, _| Reply::blob(request, &content)).await;
        let repository =
            Setup::policy(small_chunks()).repository(vec![mirror.host(), upstream.host()]);
        assert_eq!(read(&repository, &layer(&blob)).await.unwrap(), blob, "{size}");
        assert!(!upstream.requests().is_empty(), "{size}");
    }
}

#[tokio::test]
async fn a_host_is_left_alone_for_as_long_as_it_asks_though_others_ask_for_less() {
    let blob = noise(KIB);
    let busy = Server::start(|_, _| Reply::status(429).header("Retry-After", "100")).await;
    let content = blob.clone();
    let recovering = Server::start(move |request, nth| match nth {
        0..3 => Reply::status(503),
        _ => Reply::blob(request, &content),
    })
    .await;
    let repository = Setup::policy(small_chunks()).repository(vec![busy.host(), recovering.host()]);
    assert_eq!(read(&repository, &layer(&blob)).await.unwrap(), blob);
    assert_eq!(busy.requests().len(), 1);
}

#[tokio::test]
async fn a_dead_host_is_paid_for_once_a_run() {
    let blob = noise(KIB);
    let content = blob.clone();
    let upstream = Server::start(move |request, _| Reply::blob(request, &content)).await;
    let dead = dead_authority();
    let setup = Setup::policy(small_chunks());
    let repository = setup.repository(vec![host("http", &dead), upstream.host()]);
    for _ in 0..5 {
        assert_eq!(read(&repository, &layer(&blob)).await.unwrap(), blob);
    }
    let to_dead = setup.record.attempts().iter().filter(|attempt| attempt.host == dead).count();
    assert_eq!(to_dead, 1);
}

#[tokio::test]
async fn goes_on_with_one_stream_where_only_a_host_without_ranges_is_left() {
    let blob = noise(1000 * KIB);
    let content = blob.clone();
    let mirror = Server::start(move |request, _| match request.range() {
        Some((first, _)) if first >= 256 * KIB => Reply::status(404),
        _ => Reply::blob(request, &content),
    })
    .await;
    let content = blob.clone();
    let upstream = Server::start(move |_, _| Reply::ok(content.clone())).await;
    let repository = Setup::policy(small_chunks()).repository(vec![mirror.host(), upstream.host()]);
    assert_eq!(read(&repository, &layer(&blob)).await.unwrap(), blob);
}

#[tokio::test]
async fn a_host_whose_bytes_failed_verification_is_left_out() {
    let blob = noise(KIB);
    let mirror = Server::start(|_, _| Reply::ok(vec![0; KIB])).await;
    let content = blob.clone();
    let upstream = Server::start(move |request, _| Reply::blob(request, &content)).await;
    let repository = Setup::policy(small_chunks()).repository(vec![mirror.host(), upstream.host()]);
    let mut stream = repository.blob(&layer(&blob), 0).await.unwrap();
    assert_ne!(super::blobs::collect(&mut stream).await.unwrap(), blob);
    assert_eq!(stream.hosts(), [mirror.authority()]);
    assert!(repository.distrust(&stream.hosts()));
    assert_eq!(read(&repository, &layer(&blob)).await.unwrap(), blob);
    assert_eq!(mirror.requests().len(), 1);

    assert!(!repository.distrust(&[upstream.authority()]), "nobody would be left");
    repository.trust(&[mirror.authority()]);
    assert!(repository.distrust(&[upstream.authority()]));
}

#[tokio::test]
async fn a_foreign_layer_comes_from_its_own_urls_first() {
    let blob = noise(KIB);
    let content = blob.clone();
    let foreign = Server::start(move |request, _| Reply::blob(request, &content)).await;
    let content = blob.clone();
    let registry = Server::start(move |request, _| Reply::blob(request, &content)).await;
    let mut descriptor = layer(&blob);
    descriptor.media_type =
        crate::oci::MediaType::new("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
    descriptor.urls = vec!["ftp://x/y".to_owned(), foreign.url("/layers/one?x=y")];
    let repository = Setup::default().repository(vec![registry.host()]);
    assert_eq!(read(&repository, &descriptor).await.unwrap(), blob);
    assert_eq!(foreign.lines(), ["GET /layers/one?x=y"]);
    assert!(registry.requests().is_empty());

    let dead = dead_authority();
    descriptor.urls = vec![format!("http://{dead}/x")];
    assert_eq!(read(&repository, &descriptor).await.unwrap(), blob);
    assert_eq!(registry.requests().len(), 1);
}
