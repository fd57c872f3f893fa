//! Blobs from one host: ranges, order, bounds, broken bodies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::resolving::manifest;
use crate::failure::{Diagnose as _, Failure};
use crate::oci::Descriptor;
use crate::registry::testing::{Reply, Request, Server, Setup, layer, noise};
use crate::registry::{BlobStream, Error, Fault, Policy, Repository};

const KIB: usize = 1024;

/// Chunks of 64 KiB and a window of four of them, so that a MiB is a large blob.
pub(super) fn small_chunks() -> Policy {
    Policy {
        connections: 4,
        chunk_bytes: 64 * KIB as u64,
        long_chunk_bytes: 64 * KIB as u64,
        window_bytes: 256 * KIB as u64,
        first_wait: Duration::from_millis(1),
        hedge_after: Duration::from_secs(3600),
        ..Policy::default()
    }
}

pub(super) async fn collect(stream: &mut BlobStream) -> Result<Bytes, Error> {
    let mut all = Vec::new();
    while let Some(bytes) = stream.next().await {
        all.extend_from_slice(&bytes?);
    }
    Ok(all.into())
}

pub(super) async fn read(repository: &Repository, descriptor: &Descriptor) -> Result<Bytes, Error> {
    collect(&mut repository.blob(descriptor, 0).await?).await
}

/// The error of a read that must not succeed.
pub(super) async fn failure(repository: &Repository, descriptor: &Descriptor) -> Error {
    let read = read(repository, descriptor).await;
    read.map(|bytes| bytes.len()).unwrap_err()
}

/// A server that answers every request about `blob` as `answer` says, its well-behaved reply given.
async fn serving(
    blob: &Bytes,
    answer: impl Fn(&Request, usize, Reply) -> Reply + Send + Sync + 'static,
) -> Server {
    let blob = blob.clone();
    Server::start(move |request, nth| answer(request, nth, Reply::blob(request, &blob))).await
}

/// The ranges that were asked for, sorted.
fn ranges(server: &Server) -> Vec<Option<(usize, usize)>> {
    let mut ranges: Vec<_> = server.requests().iter().map(Request::range).collect();
    ranges.sort_unstable();
    ranges
}

#[tokio::test]
async fn a_small_blob_is_asked_for_whole() {
    let blob = noise(1000);
    let server = serving(&blob, |_, _, reply| reply).await;
    let setup = Setup::policy(small_chunks());
    let repository = setup.repository(vec![server.host()]);
    assert_eq!(read(&repository, &layer(&blob)).await.unwrap(), blob);
    assert_eq!(ranges(&server), [None]);
    assert_eq!(server.requests()[0].header("accept-encoding"), Some("identity"));
    assert_eq!(setup.record.received_bytes(), 1000);
}

#[tokio::test]
async fn a_small_blob_comes_over_the_connection_of_the_manifest_first_and_a_large_one_never() {
    let (small, large) = (noise(1000), noise(600 * KIB));
    let blobs = [small.clone(), large.clone()];
    let refused = AtomicBool::new(false);
    let server = Server::start(move |request, _| {
        let blob =
            blobs.iter().find(|blob| request.path.ends_with(&layer(blob).digest.to_string()));
        match blob {
            None => manifest(),
            Some(blob) if blob.len() == 1000 && !refused.swap(true, Ordering::Relaxed) => {
                Reply::blob(request, blob).with_status(503)
            }
            Some(blob) => Reply::blob(request, blob),
        }
    })
    .await;
    let repository =
        Setup::policy(Policy { first_wait: Duration::from_millis(1), ..Policy::default() })
            .repository(vec![server.host()]);
    repository.resolve_and_read().await.unwrap();
    assert_eq!(read(&repository, &layer(&small)).await.unwrap(), small);
    assert_eq!(read(&repository, &layer(&large)).await.unwrap(), large);
    let connections: Vec<usize> = server.requests().iter().map(|it| it.connection).collect();
    assert_eq!(connections, [0, 0, 1, 1]);
}

#[tokio::test]
async fn an_empty_blob_is_not_asked_for() {
    let server = serving(&Bytes::new(), |_, _, reply| reply).await;
    let repository = Setup::default().repository(vec![server.host()]);
    assert_eq!(read(&repository, &layer(b"")).await.unwrap(), "");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_large_blob_comes_in_closed_ranges_each_asked_for_once() {
    let blob = noise(1000 * KIB);
    let server = serving(&blob, |_, _, reply| reply).await;
    let setup = Setup::policy(small_chunks());
    let repository = setup.repository(vec![server.host()]);
    assert_eq!(read(&repository, &layer(&blob)).await.unwrap(), blob);
    let expected: Vec<_> = (0..blob.len())
        .step_by(64 * KIB)
        .map(|start| Some((start, (start + 64 * KIB).min(blob.len()) - 1)))
        .collect();
    assert_eq!(ranges(&server), expected);
    assert_eq!(setup.record.received_bytes(), blob.len() as u64);
    let connections = server.requests().iter().map(|request| request.connection).max().unwrap() + 1;
    assert!(connections <= 4, "{connections} connections for {} ranges", expected.len());
}

#[tokio::test]
async fn goes_on_at_the_offset_asked_for() {
    let blob = noise(300 * KIB);
    let server = serving(&blob, |_, _, reply| reply).await;
    let repository = Setup::policy(small_chunks()).repository(vec![server.host()]);
    for offset in [1, 64 * KIB, 299 * KIB, 300 * KIB] {
        let mut stream = repository.blob(&layer(&blob), offset as u64).await.unwrap();
        assert_eq!(collect(&mut stream).await.unwrap(), blob.slice(offset..), "{offset}");
    }
    let asked_for = |range: &(usize, usize)| range.0 >= blob.len();
    assert!(!ranges(&server).iter().flatten().any(asked_for), "nothing is left beyond the end");
}

#[tokio::test]
async fn takes_one_stream_from_a_server_that_ignores_ranges() {
    let blob = noise(1000 * KIB);
    let whole = blob.clone();
    let server = Server::start(move |_, _| Reply::ok(whole.clone())).await;
    let repository = Setup::policy(small_chunks()).repository(vec![server.host()]);
    assert_eq!(read(&repository, &layer(&blob)).await.unwrap(), blob);
    assert_eq!(server.requests().len(), 1);
    let mut stream = repository.blob(&layer(&blob), 500).await.unwrap();
    assert_eq!(collect(&mut stream).await.unwrap(), blob.slice(500..));
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn several_blobs_share_a_window_smaller_than_all_of_them() {
    let blob = noise(2000 * KIB);
    let server = serving(&blob, |_, _, reply| reply).await;
    let policy = Policy { window_bytes: 64 * KIB as u64, ..small_chunks() };
    let repository = Setup::policy(policy).repository(vec![server.host()]);
    let descriptor = layer(&blob);
    let reads = [(); 4].map(|()| read(&repository, &descriptor));
    for result in futures_util::future::join_all(reads).await {
        assert_eq!(result.unwrap(), blob);
    }
}

#[tokio::test]
async fn asks_for_no_more_than_the_window_while_the_consumer_waits() {
    let blob = noise(1000 * KIB);
    let server = serving(&blob, |_, _, reply| reply).await;
    let repository = Setup::policy(small_chunks()).repository(vec![server.host()]);
    let mut stream = repository.blob(&layer(&blob), 0).await.unwrap();
    // What was taken leaves the window.
    let mut taken = 0;
    while taken < 64 * KIB {
        taken += stream.next().await.unwrap().unwrap().len();
    }
    // The four chunks that fit the window arrive, and a third of that is asked for; the others are not.
    while server.requests().len() < 1 + 5 {
        tokio::task::yield_now().await;
    }
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.requests().len(), 1 + 5);
    assert_eq!(collect(&mut stream).await.unwrap(), blob.slice(taken..));
}

#[tokio::test]
async fn what_the_consumer_has_taken_leaves_the_window_and_no_more() {
    let blob = noise(2048 * KIB);
    let server = serving(&blob, |_, _, reply| reply).await;
    let chunk_bytes = 512 * KIB as u64;
    let policy = Policy {
        chunk_bytes,
        long_chunk_bytes: chunk_bytes,
        window_bytes: 2 * chunk_bytes,
        ..small_chunks()
    };
    let repository = Setup::policy(policy).repository(vec![server.host()]);
    let mut stream = repository.blob(&layer(&blob), 0).await.unwrap();
    let first = stream.next().await.unwrap().unwrap();
    while server.requests().len() < 2 {
        tokio::task::yield_now().await;
    }
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.requests().len(), 2, "{} bytes are less than a chunk", first.len());
    assert_eq!(collect(&mut stream).await.unwrap(), blob.slice(first.len()..));
}

#[tokio::test]
async fn a_range_longer_than_the_window_comes_no_faster_than_it_is_taken_and_over_one_connection() {
    let blob = noise(16 << 20);
    let server = serving(&blob, |_, _, reply| reply).await;
    let (chunk_bytes, window_bytes) = (8 << 20, 64 * KIB as u64);
    let hedge_after = Duration::ZERO;
    let policy = Policy {
        chunk_bytes,
        long_chunk_bytes: chunk_bytes,
        window_bytes,
        hedge_after,
        ..small_chunks()
    };
    let setup = Setup::policy(policy);
    let repository = setup.repository(vec![server.host()]);
    let mut stream = repository.blob(&layer(&blob), 0).await.unwrap();
    let first = stream.next().await.unwrap().unwrap();
    while setup.record.received_bytes() < window_bytes / 2 {
        tokio::task::yield_now().await;
    }
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    // What one read of a socket gives at most may be beyond.
    let received = setup.record.received_bytes();
    assert!(received < window_bytes + (1 << 20), "{received} bytes");
    assert_eq!(collect(&mut stream).await.unwrap(), blob.slice(first.len()..));
    assert_eq!(setup.record.received_bytes(), blob.len() as u64);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn resumes_at_the_byte_where_the_body_broke_off() {
    let blob = noise(200 * KIB);
    for reset in [false, true] {
        let server = serving(&blob, move |request, _, reply| match request.range() {
            Some((0, _)) if reset => reply.reset_at(1000),
            Some((0, _)) => reply.cut_at(1000),
            _ => reply,
        })
        .await;
        let repository = Setup::policy(small_chunks()).repository(vec![server.host()]);
        assert_eq!(read(&repository, &layer(&blob)).await.unwrap(), blob);
        let last = 64 * KIB - 1;
        let of_first: Vec<_> =
            ranges(&server).into_iter().flatten().filter(|(_, end)| *end == last).collect();
        assert!(of_first.len() == 2 && of_first[0] == (0, last), "{of_first:?}");
        // A reset may discard bytes that were on their way.
        assert!(if reset { of_first[1].0 <= 1000 } else { of_first[1].0 == 1000 }, "{of_first:?}");
    }
}

#[tokio::test]
async fn gives_up_on_a_body_that_always_ends_early() {
    let blob = noise(KIB);
    let server = serving(&blob, |request, _, reply| match request.range() {
        None => reply.cut_at(500),
        Some(_) => reply.cut_at(0),
    })
    .await;
    let repository = Setup::policy(small_chunks()).repository(vec![server.host()]);
    let mut stream = repository.blob(&layer(&blob), 0).await.unwrap();
    let error = collect(&mut stream).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Verification, "{error:?}");
    assert_eq!(server.requests().len(), 6, "one try and five retries");
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn retries_as_the_status_and_retry_after_ask() {
    let blob = noise(KIB);
    let server = serving(&blob, |_, nth, reply| match nth {
        0 => Reply::status(429).header("Retry-After", "1"),
        1 => Reply::status(503).header("Retry-After", "Thu, 01 Jan 1970 00:00:00 GMT"),
        2 => Reply::status(500),
        _ => reply,
    })
    .await;
    let repository = Setup::policy(small_chunks()).repository(vec![server.host()]);
    let started = tokio::time::Instant::now();
    assert_eq!(read(&repository, &layer(&blob)).await.unwrap(), blob);
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn refuses_answers_that_are_not_what_was_asked_for() {
    let blob = noise(200 * KIB);
    type Answer = fn(&Request, Reply) -> Reply;
    type Expected = fn(&Fault) -> bool;
    let cases: [(&str, Answer, Expected); 5] = [
        (
            "a part that nobody asked for",
            |request, _| {
                Reply::status(206).body(noise(request.range().map_or(1, |(a, b)| b - a + 1)))
            },
            |fault| matches!(fault, Fault::WrongRange(_)),
        ),
        (
            "a longer blob",
            |_, _| Reply::ok(noise(300 * KIB)),
            |fault| matches!(fault, Fault::SizeMismatch { actual: 307_200, .. }),
        ),
        (
            "a shorter blob",
            |_, _| Reply::status(416).header("Content-Range", "bytes */10"),
            |fault| matches!(fault, Fault::SizeMismatch { actual: 10, .. }),
        ),
        (
            "a web page",
            |_, _| Reply::ok(noise(200 * KIB)).header("Content-Type", "text/html; charset=x"),
            |fault| *fault == Fault::Html,
        ),
        (
            "more bytes than announced",
            |_, reply| reply.unannounced(b"more"),
            |fault| matches!(fault, Fault::Excess { .. }),
        ),
    ];
    for (name, answer, expected) in cases {
        let server = serving(&blob, move |request, _, reply| answer(request, reply)).await;
        let repository = Setup::policy(small_chunks()).repository(vec![server.host()]);
        let error = failure(&repository, &layer(&blob)).await;
        assert!(error.fault().is_some_and(expected), "{name}: {error:?}");
        assert_eq!(error.failure(), Failure::Verification, "{name}");
    }
}

#[tokio::test]
async fn undoes_an_encoding_that_a_proxy_applied() {
    use std::io::Write as _;
    let blob = noise(200 * KIB);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&blob).unwrap();
    let mut deflate = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    deflate.write_all(&blob).unwrap();
    let zstd = zstd::encode_all(&blob[..], 1).unwrap();
    for (name, encoded) in
        [("gzip", gzip.finish().unwrap()), ("deflate", deflate.finish().unwrap()), ("zstd", zstd)]
    {
        let encoded = Bytes::from(encoded);
        let server = Server::start(move |request, _| {
            Reply::blob(request, &encoded).header("Content-Encoding", name)
        })
        .await;
        let repository = Setup::policy(small_chunks()).repository(vec![server.host()]);
        let mut stream = repository.blob(&layer(&blob), 10).await.unwrap();
        assert_eq!(collect(&mut stream).await.unwrap(), blob.slice(10..), "{name}");
    }
}

#[tokio::test]
async fn the_checksum_behind_an_encoded_body_may_come_by_itself() {
    use std::io::Write as _;
    let blob = noise(200 * KIB);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&blob).unwrap();
    let encoded = Bytes::from(gzip.finish().unwrap());
    let server = Server::start(move |_, _| {
        let (body, trailer) = encoded.split_at(encoded.len() - 8);
        Reply::ok(Bytes::copy_from_slice(body))
            .unannounced(trailer)
            .header("Content-Encoding", "gzip")
    })
    .await;
    let repository = Setup::policy(small_chunks()).repository(vec![server.host()]);
    assert_eq!(read(&repository, &layer(&blob)).await.unwrap(), blob);
}

#[tokio::test]
async fn a_body_that_inflates_beyond_the_blob_is_refused() {
    let blob = noise(KIB);
    let bomb = Bytes::from(zstd::encode_all(&vec![0; 10_000 * KIB][..], 1).unwrap());
    let server =
        Server::start(move |_, _| Reply::ok(bomb.clone()).header("Content-Encoding", "zstd")).await;
    let repository = Setup::policy(small_chunks()).repository(vec![server.host()]);
    let error = failure(&repository, &layer(&blob)).await;
    assert!(matches!(error.fault(), Some(Fault::Excess { .. })), "{error:?}");
}

#[tokio::test]
async fn a_stalled_body_is_given_up_after_the_stall_timeout() {
    let blob = noise(KIB);
    let gate = Arc::new(Semaphore::new(0));
    let server = {
        let gate = Arc::clone(&gate);
        serving(
            &blob,
            move |_, nth, reply| if nth == 0 { reply.stall_at(100, &gate) } else { reply },
        )
        .await
    };
    let policy = Policy { stall_timeout: Duration::from_secs(1), ..small_chunks() };
    let setup = Setup::policy(policy);
    let repository = setup.repository(vec![server.host()]);
    assert_eq!(read(&repository, &layer(&blob)).await.unwrap(), blob);
    assert_eq!(ranges(&server), [None, Some((100, 1023))]);
    let outcomes: Vec<_> =
        setup.record.attempts().into_iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, ["200 OK", "no data for 1s", "206 Partial Content"]);
}

#[tokio::test]
async fn the_time_limit_ends_retries() {
    let server = Server::start(|_, _| Reply::status(500)).await;
    let policy = Policy { timeout: Some(Duration::from_secs(1)), retries: 1000, ..small_chunks() };
    let repository = Setup::policy(policy).repository(vec![server.host()]);
    let error = failure(&repository, &layer(b"x")).await;
    assert!(matches!(error.fault(), Some(Fault::Deadline { .. })), "{error:?}");
    assert_eq!(error.failure(), Failure::Unreachable);
}

#[tokio::test]
async fn the_time_limit_ends_a_wait_for_the_rate_limit_and_is_told_once() {
    let blob = noise(KIB);
    let server = serving(&blob, |_, _, reply| reply).await;
    let timeout = Some(Duration::from_secs(1));
    let policy = Policy { timeout, limit_rate: Some(1), ..small_chunks() };
    let repository = Setup::policy(policy).repository(vec![server.host()]);
    let error = failure(&repository, &layer(&blob)).await;
    let limit = Duration::from_secs(1);
    assert_eq!(error.fault(), Some(&Fault::Deadline { limit, after: None }));
}
