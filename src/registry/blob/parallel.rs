//! A large blob in closed ranges over several connections: the workers that fill an [`Assembly`].
//!
//! A worker is a task and, as long as all goes well, one connection. It fetches chunk after chunk;
//! when there is none to claim, because the window is full or the blob's end is near, it asks once
//! more for a chunk that lags behind, so that one slow connection does not hold up the blob.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, timeout};

use crate::registry::blob::assembly::{Assembly, Stop, Taken};
use crate::registry::blob::chunk::Claim;
use crate::registry::blob::ranges::ByteRange;
use crate::registry::blob::segment::Segment;
use crate::registry::blob::source::Source;
use crate::registry::blob::window::Reservation;

/// How long the first chunk from a host has the line to itself, so that it shows how fast a connection
/// is where no others share the way; beside others, each looks slow. One that needs longer is slow.
const ALONE: Duration = Duration::from_millis(20);

/// The consumer's end. Dropping it stops the workers.
pub(crate) struct Parallel {
    assembly: Arc<Assembly>,
    _workers: JoinSet<()>,
}

/// The first chunk, whose segment is open, before its bytes are wanted: it takes a connection and no more, so
/// that nothing waits for who does not come for it.
pub(crate) struct First {
    pub(crate) segment: Segment,
    pub(crate) range: ByteRange,
    pub(crate) opened: Instant,
}

impl Parallel {
    /// Fetches what follows `first` of `source`, which is `asked` for, beside it.
    pub(crate) fn start(source: Arc<Source>, first: First, asked: Reservation) -> Self {
        let First { mut segment, range, opened } = first;
        segment.rested(opened.elapsed());
        let workers = source.context.policy.workers(source.size.saturating_sub(range.start));
        let is_new = source.is_new();
        let (assembly, claim) = Assembly::new(source, range, asked);
        let assembly = Arc::new(assembly);
        let mut tasks = JoinSet::new();
        let first = claim.complete.clone();
        tasks.spawn(work(Arc::clone(&assembly), Some((claim, segment))));
        // A blob of one chunk has a worker to spare, in case its connection lags behind.
        for _ in 1..workers.max(2) {
            let (assembly, first) = (Arc::clone(&assembly), first.clone());
            tasks.spawn(async move {
                if is_new {
                    let _ = timeout(ALONE, first.cancelled()).await;
                }
                work(assembly, None).await;
            });
        }
        Self { assembly, _workers: tasks }
    }

    /// The next bytes in order.
    pub(crate) async fn next(&self) -> Taken {
        self.assembly.take().await
    }
}

async fn work(assembly: Arc<Assembly>, mut first: Option<(Claim, Segment)>) {
    loop {
        let (claim, segment) = match first.take() {
            Some(first) => first,
            None => {
                let Some(mut claim) = next_claim(&assembly).await else { return };
                let source = assembly.source();
                let preferred = if claim.again { source.alternative() } else { source.preferred() };
                let connection = claim.connection.take();
                let segment = Segment::new(Arc::clone(source), claim.range, preferred);
                (claim, segment.over(connection))
            }
        };
        if let Err(stop) = fetch(&assembly, &claim, segment).await {
            // A second try that fails leaves the first one as it was.
            if !claim.again {
                return assembly.stop(stop);
            }
        }
        // So that the connection is back in its pool when the next request looks there.
        yield_now().await;
    }
}

async fn next_claim(assembly: &Assembly) -> Option<Claim> {
    tokio::select! {
        biased;
        Some(claim) = assembly.claim() => Some(claim),
        straggler = assembly.straggler() => straggler,
    }
}

async fn fetch(assembly: &Assembly, claim: &Claim, mut segment: Segment) -> Result<(), Stop> {
    // Only from here on is the host's time counted.
    tokio::select! {
        biased;
        () = segment.admitted() => assembly.asked(claim.number),
        () = claim.complete.cancelled() => return Ok(()),
    }
    tokio::select! {
        biased;
        opened = segment.open() => opened.map_err(Stop::Failed)?,
        () = claim.complete.cancelled() => return Ok(()),
    }
    if !segment.is_as_asked() {
        return Err(Stop::Rangeless);
    }
    tokio::select! {
        biased;
        rest = assembly.admit(claim.number) => segment.rested(rest),
        () = claim.complete.cancelled() => return Ok(()),
    }
    loop {
        if claim.is_wide {
            tokio::select! {
                biased;
                rest = assembly.room(claim.number) => segment.rested(rest),
                () = claim.complete.cancelled() => return Ok(()),
            }
        }
        let position = segment.position();
        let next = tokio::select! {
            biased;
            next = segment.next() => next,
            // Someone else was faster.
            () = claim.complete.cancelled() => return Ok(()),
        };
        match next {
            None => return Ok(()),
            Some(frame) => {
                assembly.push(claim.number, position, &frame.map_err(Stop::Failed)?);
            }
        }
    }
}
