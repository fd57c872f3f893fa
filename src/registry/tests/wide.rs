//! Ranges that are longer than their room in the window, mostly by a clock that stands still, where nobody
//! is asked.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{advance, timeout};

use crate::oci::{Descriptor, Digest, MediaType};
use crate::registry::Policy;
use crate::registry::blob::assembly::{Assembly, Taken};
use crate::registry::blob::chunk::Claim;
use crate::registry::blob::ranges::ByteRange;
use crate::registry::blob::segment::Segment;
use crate::registry::testing::{Reply, Server, Setup, dead_authority, host, layer, noise};

const MIB: u64 = 1 << 20;

/// What has room at a time, by default.
const ROOM: u64 = 8 * MIB;

/// A blob of 256 MiB at a host whose connections are fast, and the claim to its first 8 MiB.
async fn begun() -> (Arc<Assembly>, Claim) {
    let (assembly, claim) = begun_at(Duration::ZERO).await;
    assert_eq!(claim.range, ByteRange { start: 0, end: ROOM });
    (assembly, claim)
}

/// A blob of 256 MiB at a host where 2 MiB have taken a connection so long, and the claim to its first chunk,
/// which has room.
pub(super) async fn begun_at(spent: Duration) -> (Arc<Assembly>, Claim) {
    let repository =
        Setup::policy(Policy::default()).repository(vec![host("http", &dead_authority())]);
    let media_type = MediaType::new("application/vnd.oci.image.layer.v1.tar+gzip");
    let blob = Descriptor::new(media_type, Digest::of(b"blob"), 256 * MIB);
    let source = Arc::new(repository.source(&blob).unwrap());
    for _ in 0..3 {
        source.locations[0].endpoint.pace().record(2 * MIB, spent);
    }
    let first = source.chunk(0, None);
    let asked = source.ask(first).await.unwrap();
    let (assembly, claim) = Assembly::new(source, first, asked);
    assembly.admit(claim.number).await;
    (Arc::new(assembly), claim)
}

/// Adds `bytes` of chunk `claim`, from byte `start` of the blob on.
pub(super) fn bring(assembly: &Assembly, claim: &Claim, start: u64, bytes: u64) {
    for part in 0..bytes / MIB {
        assembly.push(claim.number, start + part * MIB, &[0; MIB as usize]);
    }
}

pub(super) async fn take(assembly: &Assembly, bytes: u64) {
    let mut taken = 0;
    while taken < bytes {
        match assembly.take().await {
            Taken::Bytes(bytes) => taken += bytes.len() as u64,
            Taken::End | Taken::Stopped(_) => panic!("after {taken} bytes"),
        }
    }
    assert_eq!(taken, bytes);
}

/// A wide chunk of 64 MiB in front, asked for, with nothing of it there.
async fn wide() -> (Arc<Assembly>, Claim) {
    let (assembly, first) = begun().await;
    bring(&assembly, &first, 0, ROOM);
    take(&assembly, ROOM).await;
    advance(Duration::from_millis(100)).await;
    let claim = assembly.claim().await.unwrap();
    assert_eq!((claim.range, claim.is_wide), (ByteRange { start: ROOM, end: 9 * ROOM }, true));
    assembly.asked(claim.number);
    (assembly, claim)
}

#[tokio::test(start_paused = true)]
async fn one_connection_brings_much_where_the_consumer_is_who_is_waited_for() {
    let (assembly, _) = wide().await;
    // It takes no more of the window than other ranges.
    for _ in 0..2 {
        assert!(assembly.claim().await.unwrap().is_wide);
    }
    assert!(timeout(Duration::from_secs(1), assembly.claim()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn ranges_stay_short_where_the_consumer_waits() {
    let (assembly, first) = begun().await;
    let consumer = tokio::spawn({
        let assembly = Arc::clone(&assembly);
        async move { take(&assembly, ROOM).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    bring(&assembly, &first, 0, ROOM);
    consumer.await.unwrap();
    let claim = assembly.claim().await.unwrap();
    assert_eq!((claim.range.length(), claim.is_wide), (ROOM, false));
}

#[tokio::test(start_paused = true)]
async fn a_slow_consumer_gets_no_more_at_once_than_it_takes_in_a_second() {
    let (assembly, first) = begun().await;
    bring(&assembly, &first, 0, ROOM);
    take(&assembly, ROOM).await;
    advance(Duration::from_millis(400)).await;
    assert_eq!(assembly.claim().await.unwrap().range.length(), 2 * ROOM);
}

#[tokio::test(start_paused = true)]
async fn a_connection_waits_from_when_half_its_room_is_full_until_half_of_that_is_empty() {
    let (assembly, claim) = wide().await;
    bring(&assembly, &claim, ROOM, ROOM / 2 - MIB);
    assert_eq!(assembly.room(claim.number).await, Duration::ZERO);
    bring(&assembly, &claim, ROOM + ROOM / 2 - MIB, MIB);
    let waiting = tokio::spawn({
        let assembly = Arc::clone(&assembly);
        async move { assembly.room(claim.number).await }
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    take(&assembly, ROOM / 4 - MIB).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!waiting.is_finished());
    take(&assembly, MIB).await;
    assert_eq!(waiting.await.unwrap().as_secs(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_lags_gets_help_and_one_that_waits_for_the_consumer_does_not() {
    let (assembly, claim) = wide().await;
    let lags = async |time| timeout(Duration::from_millis(time), assembly.straggler()).await;
    // Each 8 MiB has as much time as a range of that length: 500 ms.
    for lap in 1..=2 {
        assert!(lags(450).await.is_err());
        bring(&assembly, &claim, lap * ROOM, ROOM);
        let rest = assembly.room(claim.number);
        let consumer = async {
            assert!(lags(60_000).await.is_err());
            take(&assembly, ROOM).await;
        };
        tokio::join!(rest, consumer);
    }
    assert!(lags(450).await.is_err());
    let help = lags(100).await.unwrap().unwrap();
    assert_eq!((help.number, help.range.start), (claim.number, 3 * ROOM));
    assert!(help.again && help.is_wide);
    assert!(lags(60_000).await.is_err(), "twice is enough");
}

#[tokio::test]
async fn a_host_is_as_fast_as_it_would_be_if_nobody_let_it_wait() {
    let blob = noise(2 * MIB as usize);
    let content = blob.clone();
    let server = Server::start(move |request, _| Reply::blob(request, &content)).await;
    let repository = Setup::policy(Policy::default()).repository(vec![server.host()]);
    let source = Arc::new(repository.source(&layer(&blob)).unwrap());
    let whole = ByteRange { start: 0, end: 2 * MIB };
    let mut segment = Segment::new(Arc::clone(&source), whole, 0);
    let mut read = segment.next().await.unwrap().unwrap().len();
    segment.rested(Duration::from_secs(3600));
    while let Some(bytes) = segment.next().await {
        read += bytes.unwrap().len();
    }
    assert_eq!(read, blob.len());
    let pace = source.locations[0].endpoint.pace();
    assert_eq!(pace.chunk_bytes(), Some(u64::MAX), "less than an hour was spent");
}
