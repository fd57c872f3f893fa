//! How long a host usually takes for its bytes, so that a straggler can be told from a slow host.

use std::sync::Mutex;
use std::time::Duration;

use super::context::lock;

/// A chunk is a straggler when it takes this many times as long as usual.
const STRAGGLER_FACTOR: f64 = 3.0;

/// How many chunks must have come before it is known what is usual.
const ENOUGH_CHUNKS: u32 = 3;

/// How long one chunk should take its connection. A registry's work for a request, some
/// milliseconds of its processor, then hardly counts, and a connection of 20 MB/s still takes no
/// more than 2 MiB at a time, of which many fit into the window.
const CHUNK_TIME: Duration = Duration::from_millis(100);

/// What one host's chunks have taken so far in this run.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<Totals>);

#[derive(Debug, Default)]
struct Totals {
    chunks: u32,
    bytes: u64,
    spent: Duration,
}

impl Pace {
    /// Takes note that `bytes` came over one connection in `spent`, its request included.
    pub(crate) fn record(&self, bytes: u64, spent: Duration) {
        let mut totals = lock(&self.0);
        totals.chunks = totals.chunks.saturating_add(1);
        totals.bytes = totals.bytes.saturating_add(bytes);
        totals.spent = totals.spent.saturating_add(spent);
    }

    /// How long to wait for `bytes` before a second connection is worth it; `None` while too little
    /// is known.
    pub(crate) fn patience(&self, bytes: u64) -> Option<Duration> {
        let usual = lock(&self.0).seconds_a_byte()? * bytes as f64;
        Duration::try_from_secs_f64(usual * STRAGGLER_FACTOR).ok()
    }

    /// How many bytes are worth a request, as far as is known.
    pub(crate) fn chunk_bytes(&self) -> Option<u64> {
        let bytes = CHUNK_TIME.as_secs_f64() / lock(&self.0).seconds_a_byte()?;
        // Saturates where the clock is too coarse for so fast a host.
        Some(bytes as u64)
    }
}

impl Totals {
    /// `None` while too little is known.
    fn seconds_a_byte(&self) -> Option<f64> {
        let enough = self.chunks >= ENOUGH_CHUNKS && self.bytes > 0;
        enough.then(|| self.spent.as_secs_f64() / self.bytes as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_follows_what_is_usual() {
        let pace = Pace::default();
        for _ in 0..3 {
            assert_eq!(pace.patience(1000), None);
            pace.record(1000, Duration::from_secs(2));
        }
        assert_eq!(pace.patience(1000), Some(Duration::from_secs(6)));
        assert_eq!(pace.patience(500), Some(Duration::from_secs(3)));
    }

    #[test]
    fn a_chunk_takes_a_connection_a_tenth_of_a_second() {
        let pace = Pace::default();
        assert_eq!(pace.chunk_bytes(), None);
        for _ in 0..3 {
            pace.record(1_000_000, Duration::from_millis(50));
        }
        assert_eq!(pace.chunk_bytes(), Some(2_000_000));
        let pace = Pace::default();
        for _ in 0..3 {
            pace.record(1_000_000, Duration::ZERO);
        }
        assert_eq!(pace.chunk_bytes(), Some(u64::MAX));
    }
}
