//! Ranges that are asked for before they have room in the window, by a clock that stands still, and what that
//! must not lead to.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::timeout;

use super::blobs::{collect, read, small_chunks};
use super::wide::{begun_at, bring, take};
use crate::registry::Policy;
use crate::registry::blob::assembly::Assembly;
use crate::registry::blob::chunk::Claim;
use crate::registry::testing::{Reply, Server, Setup, layer, noise};
use crate::sync::lock;

const MIB: u64 = 1 << 20;

/// A range of a host that is no fast one.
const SHORT: u64 = 2 * MIB;

const HOUR: Duration = Duration::from_secs(3600);

/// All claims that may be made, to a blob at a host where a range takes a tenth of a second; the
/// first one has room.
async fn claimed() -> (Arc<Assembly>, Vec<Claim>) {
    let (assembly, first) = begun_at(Duration::from_millis(100)).await;
    let mut claims = vec![first];
    while let Ok(claim) = timeout(Duration::from_millis(1), assembly.claim()).await {
        claims.push(claim.unwrap());
    }
    (assembly, claims)
}

/// Whether chunk `number` waits for room.
async fn waits(assembly: &Assembly, number: usize) -> bool {
    timeout(HOUR, assembly.admit(number as u64)).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn more_is_asked_for_than_has_room_while_it_is_on_its_way() {
    let (assembly, claims) = claimed().await;
    let policy = Policy::default();
    assert_eq!(claims.len(), policy.connections);
    assert!(claims.iter().all(|claim| claim.range.length() == SHORT && !claim.is_wide));
    let room = usize::try_from(policy.window_bytes / SHORT).unwrap();
    assert!(room < policy.connections);
    for number in 1..room {
        assert!(!waits(&assembly, number).await, "{number}");
    }
    assert!(waits(&assembly, room).await);
    bring(&assembly, &claims[0], 0, SHORT);
    take(&assembly, SHORT).await;
    assert!(!waits(&assembly, room).await);
    assert!(waits(&assembly, room + 1).await);
}

#[tokio::test(start_paused = true)]
async fn those_before_have_room_first_whoever_answers_first() {
    let (assembly, claims) = claimed().await;
    let full = usize::try_from(Policy::default().window_bytes / SHORT).unwrap();
    assert!(!waits(&assembly, full - 1).await);
    assert!(waits(&assembly, full).await);
    for number in 1..full {
        assert!(!waits(&assembly, number).await, "{number}");
    }
    for claim in &claims[..full] {
        bring(&assembly, claim, claim.range.start, SHORT);
    }
    take(&assembly, full as u64 * SHORT).await;
}

#[tokio::test(start_paused = true)]
async fn a_range_that_has_room_does_not_wait_for_a_later_ones() {
    let (assembly, claims) = claimed().await;
    let full = Policy::default().window_bytes / SHORT;
    assert!(!waits(&assembly, full as usize - 1).await);
    let waiting = |number| {
        let assembly = Arc::clone(&assembly);
        tokio::spawn(async move { assembly.admit(number).await })
    };
    // The later one answers first, so that it is who waits for the room of both.
    let later = waiting(full + 1);
    tokio::task::yield_now().await;
    let first = waiting(full);
    tokio::task::yield_now().await;
    bring(&assembly, &claims[0], 0, SHORT);
    take(&assembly, SHORT).await;
    timeout(HOUR, first).await.unwrap().unwrap();
    assert!(!later.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_range_that_waits_for_room_is_not_late_until_it_has_some() {
    let (assembly, claims) = claimed().await;
    let full = usize::try_from(Policy::default().window_bytes / SHORT).unwrap();
    let last = &claims[full];
    assert!(!waits(&assembly, full - 1).await);
    for claim in &claims[..full] {
        bring(&assembly, claim, claim.range.start, SHORT);
    }
    assembly.asked(last.number);
    let (waited, ()) = tokio::join!(assembly.admit(last.number), async {
        assert!(timeout(HOUR, assembly.straggler()).await.is_err());
        take(&assembly, SHORT).await;
    });
    assert_eq!(waited, HOUR);
    let lags = async |time| timeout(Duration::from_millis(time), assembly.straggler()).await;
    assert!(lags(450).await.is_err());
    assert_eq!(lags(100).await.unwrap().unwrap().number, last.number);
}

#[tokio::test(start_paused = true)]
async fn a_range_whose_host_is_silent_is_late_without_room() {
    let (assembly, claims) = claimed().await;
    assembly.asked(claims[15].number);
    assert_eq!(assembly.straggler().await.unwrap().number, 15);
}

#[tokio::test]
async fn a_blob_that_nobody_reads_takes_one_connection_and_nothing_else() {
    let blobs = [600, 601].map(|number| noise(number * 1024));
    let contents = blobs.clone();
    let server = Server::start(move |request, _| {
        let of = |blob: &&Bytes| request.path.ends_with(&layer(blob).digest.to_string());
        Reply::blob(request, contents.iter().find(of).unwrap())
    })
    .await;
    // A range is as long as the window.
    let chunk_bytes = 256 * 1024;
    let policy = Policy { chunk_bytes, long_chunk_bytes: chunk_bytes, ..small_chunks() };
    let repository = Setup::policy(policy).repository(vec![server.host()]);
    let mut begun = repository.blob(&layer(&blobs[0]), 0).await.unwrap();
    assert_eq!(server.requests().len(), 1);
    assert_eq!(read(&repository, &layer(&blobs[1])).await.unwrap(), blobs[1]);
    assert_eq!(collect(&mut begun).await.unwrap(), blobs[0]);
    assert_eq!(server.requests().len(), 2 * 3, "nothing was asked for twice");
}

#[tokio::test]
async fn blobs_never_wait_for_each_other_in_a_narrow_window_however_often_they_break_off() {
    let blobs: Vec<_> = (0..6).map(|number| noise(600 * 1024 + number)).collect();
    let (contents, seen) = (blobs.clone(), Mutex::new(HashSet::new()));
    let server = Server::start(move |request, _| {
        let of = |blob: &&Bytes| request.path.ends_with(&layer(blob).digest.to_string());
        let reply = Reply::blob(request, contents.iter().find(of).unwrap());
        // Each range breaks off in its middle once.
        match lock(&seen).insert((request.path.clone(), request.range())) {
            true => reply.cut_at(30 * 1024),
            false => reply,
        }
    })
    .await;
    let policy = Policy { connections: 3, window_bytes: 192 * 1024, ..small_chunks() };
    assert!(policy.asks_ahead(policy.chunk_bytes));
    let repository = Setup::policy(policy).repository(vec![server.host()]);
    for _ in 0..10 {
        let all = blobs.iter().map(|blob| async {
            assert_eq!(read(&repository, &layer(blob)).await.unwrap(), *blob);
        });
        timeout(HOUR, join_all(all)).await.unwrap();
    }
}
