//! Chunks that lag behind, and how long a dead host is waited for.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::Semaphore;

use super::blobs::{collect, failure, read, small_chunks};
use crate::registry::testing::{Reply, Request, Server, Setup, dead_authority, host, layer, noise};
use crate::registry::{Fault, Policy};

const KIB: usize = 1024;

/// A second connection is opened as soon as a chunk lags behind at all.
fn hasty() -> Policy {
    Policy { hedge_after: Duration::from_millis(20), ..small_chunks() }
}

fn asked_for_first_chunk(server: &Server) -> usize {
    let of_first =
        |request: &Request| request.range().is_some_and(|(_, last)| last == 64 * KIB - 1);
    server.requests().iter().filter(|request| of_first(request)).count()
}

#[tokio::test]
async fn a_chunk_that_hangs_is_fetched_over_a_second_connection_from_where_it_is() {
    let blob = noise(1000 * KIB);
    let (content, gate) = (blob.clone(), Arc::new(Semaphore::new(0)));
    let server = Server::start(move |request, _| {
        let reply = Reply::blob(request, &content);
        if request.range().is_some_and(|(first, _)| first == 0) {
            reply.stall_at(1000, &gate)
        } else {
            reply
        }
    })
    .await;
    let setup = Setup::policy(hasty());
    let repository = setup.repository(vec![server.host()]);
    assert_eq!(read(&repository, &layer(&blob)).await.unwrap(), blob);
    assert_eq!(asked_for_first_chunk(&server), 2);
    assert_eq!(setup.record.received_bytes(), blob.len() as u64, "each byte is counted once");
}

#[tokio::test]
async fn a_chunk_that_hangs_is_asked_for_at_another_mirror_but_not_at_the_registry() {
    let blob = noise(1000 * KIB);
    let (content, gate) = (blob.clone(), Arc::new(Semaphore::new(0)));
    let first = Server::start(move |request, nth| {
        let reply = Reply::blob(request, &content);
        if nth == 0 { reply.stall_at(1000, &gate) } else { reply }
    })
    .await;
    let content = blob.clone();
    let second = Server::start(move |request, _| Reply::blob(request, &content)).await;
    let registry = Server::start(|_, _| Reply::status(500)).await;
    let mut hosts = vec![first.host(), second.host(), registry.host()];
    for mirror in &mut hosts[..2] {
        mirror.ns = Some("registry.example".to_owned());
    }
    let repository = Setup::policy(hasty()).repository(hosts);
    let mut stream = repository.blob(&layer(&blob), 0).await.unwrap();
    assert_eq!(collect(&mut stream).await.unwrap(), blob);
    let asked: Vec<_> = second.requests().iter().filter_map(Request::range).collect();
    assert_eq!(asked.first(), Some(&(1000, 64 * KIB - 1)));
    assert!(stream.hosts().contains(&second.authority()));
    assert!(registry.requests().is_empty());
}

/// A permit to pass a server's gate is added by the test; here for any number of passes.
fn open(gate: &Semaphore) {
    gate.add_permits(100);
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_wait_for_a_free_connection_makes_no_chunk_late() {
    let hour = Duration::from_secs(3600);
    let [known, large, other] = [2000 * KIB, 128 * KIB, KIB].map(noise);
    let paths = [&known, &large, &other].map(|blob| format!("/blobs/{}", layer(blob).digest));
    let gates = [(); 3].map(|()| Arc::new(Semaphore::new(0)));
    let (contents, answered) = ([known.clone(), large.clone(), other.clone()], gates.clone());
    let server = Server::start(move |request, _| {
        let [known, large, other] = &contents;
        let [first, second, third] = &answered;
        match paths.iter().position(|path| request.path.ends_with(path)) {
            Some(0) => Reply::blob(request, known),
            Some(1) if request.range() == Some((0, 64 * KIB - 1)) => {
                Reply::blob(request, large).stall_at(0, first)
            }
            Some(1) => Reply::blob(request, large).stall_at(0, second),
            _ => Reply::blob(request, other).stall_at(0, third),
        }
    })
    .await;
    // Two connections: one for the small blob, one for the first chunk of the large one.
    let policy =
        Policy { connections: 2, hedge_after: hour, stall_timeout: 10 * hour, ..small_chunks() };
    let repository = Setup::policy(policy).repository(vec![server.host()]);
    assert_eq!(read(&repository, &layer(&known)).await.unwrap(), known);
    let before = server.requests().len();
    let mut small = repository.blob(&layer(&other), 0).await.unwrap();
    let mut stream = repository.blob(&layer(&large), 0).await.unwrap();
    assert!(stream.next().now_or_never().is_none());
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.requests().len(), before + 2, "the second chunk waits");

    tokio::time::pause();
    tokio::time::advance(2 * hour).await;
    tokio::time::resume();
    let [first, second, third] = &gates;
    open(first);
    open(third);
    assert_eq!(collect(&mut small).await.unwrap(), other);
    until(|| server.requests().len() > before + 2).await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    open(second);
    assert_eq!(collect(&mut stream).await.unwrap(), large);
    assert_eq!(server.requests().len(), before + 3, "nothing was asked for twice");
}

#[tokio::test]
async fn retries_are_spent_once_on_a_dead_registry() {
    let dead = dead_authority();
    let setup = Setup::policy(small_chunks());
    let repository = setup.repository(vec![host("http", &dead)]);
    for tries in [6, 7, 8] {
        assert!(matches!(
            failure(&repository, &layer(b"x")).await.fault(),
            Some(Fault::Refused | Fault::Connect(_))
        ));
        assert_eq!(setup.record.attempts().len(), tries);
    }
}
