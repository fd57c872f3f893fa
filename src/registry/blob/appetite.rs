//! How fast a blob's consumer takes it, and whether it waits for more.

use std::time::Duration;

use tokio::time::Instant;

/// How much must have been taken before it is known, in bytes (8 MiB). The first few go into the queues
/// behind, as fast as they come.
const TELLING_BYTES: u64 = 8 << 20;

/// What came before so long ago counts half.
const RECENT: Duration = Duration::from_secs(2);

/// What share of the time a consumer may wait for bytes that were asked for and still be the one who is
/// waited for.
const HUNGRY: f64 = 0.25;

/// What a consumer has taken of late, and how long it had to wait.
#[derive(Debug)]
pub(crate) struct Appetite {
    since: Instant,
    taken: u64,
    hungered: Duration,
    is_telling: bool,
}

impl Appetite {
    /// The clock runs from here on.
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), taken: 0, hungered: Duration::ZERO, is_telling: false }
    }

    /// Takes note that `bytes` were taken.
    pub(crate) fn took(&mut self, bytes: u64) {
        self.taken += bytes;
    }

    /// Takes note that nothing was there to be taken for so long.
    pub(crate) fn hungered(&mut self, time: Duration) {
        self.hungered += time;
    }

    /// How many bytes it takes in a second; `None` as long as that is not known, or where it would take
    /// more if only they came.
    pub(crate) fn sated(&mut self) -> Option<u64> {
        self.is_telling |= self.taken >= TELLING_BYTES;
        let spent = self.since.elapsed();
        let is_hungry = self.hungered > spent.mul_f64(HUNGRY);
        // Saturates where the clock is too coarse for it.
        let a_second = (self.taken as f64 / spent.as_secs_f64()) as u64;
        if spent >= RECENT {
            self.since += spent / 2;
            self.taken /= 2;
            self.hungered /= 2;
        }
        (self.is_telling && !is_hungry).then_some(a_second)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[tokio::test(start_paused = true)]
    async fn it_is_known_once_enough_was_taken_and_tells_of_the_last_seconds() {
        let mut appetite = Appetite::new();
        appetite.took(TELLING_BYTES - MIB);
        advance(Duration::from_secs(1)).await;
        assert_eq!(appetite.sated(), None);
        appetite.took(MIB);
        assert_eq!(appetite.sated(), Some(TELLING_BYTES));
        let mut last = TELLING_BYTES;
        for _ in 0..10 {
            appetite.took(2 * MIB);
            advance(Duration::from_secs(2)).await;
            let sated = appetite.sated().unwrap();
            assert!(sated < last, "{sated} and {last}");
            last = sated;
        }
        assert!(last < MIB + MIB / 10, "{last}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_bytes_is_not_who_is_waited_for() {
        let mut appetite = Appetite::new();
        appetite.took(TELLING_BYTES);
        advance(Duration::from_secs(1)).await;
        appetite.hungered(Duration::from_millis(250));
        assert!(appetite.sated().is_some());
        appetite.hungered(Duration::from_millis(50));
        assert_eq!(appetite.sated(), None);
        appetite.took(TELLING_BYTES);
        advance(Duration::from_secs(1)).await;
        assert!(appetite.sated().is_some());
    }
}
