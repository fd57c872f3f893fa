//! How long a host usually takes for its bytes, so that a straggler can be told from a slow host.

use std::sync::Mutex;
use std::time::Duration;

use crate::sync::lock;

/// A chunk is a straggler when it takes this many times as long as usual.
const STRAGGLER_FACTOR: f64 = 3.0;

/// How many chunks must have come before it is known what is usual.
const ENOUGH_CHUNKS: u32 = 3;

/// How long a long chunk may take its connection. Long ones spare the registry requests, each of which
/// costs it some milliseconds of its processor; but few of them fit into the window, so that few
/// connections carry the blob, and those must be fast.
const LONG_CHUNK_TIME: Duration = Duration::from_millis(150);

/// What is shorter says more of the way to the host than of its speed, in bytes (1 MiB).
const TELLING_BYTES: u64 = 1024 * 1024;

/// After this many chunks, what came before counts half.
const RECENT_CHUNKS: u32 = 8;

/// What one host's chunks have taken so far in this run.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<Account>);

#[derive(Debug, Default)]
struct Account {
    all: Totals,
    /// Of the last chunks that are long enough to tell.
    recent: Totals,
}

#[derive(Debug, Default)]
struct Totals {
    chunks: u32,
    bytes: u64,
    spent: Duration,
}

impl Pace {
    /// Takes note that `bytes` came over one connection in `spent`, its request included.
    pub(crate) fn record(&self, bytes: u64, spent: Duration) {
        let mut account = lock(&self.0);
        account.all.add(bytes, spent);
        if bytes >= TELLING_BYTES {
            account.recent.add(bytes, spent);
            if account.recent.chunks == RECENT_CHUNKS {
                account.recent.halve();
            }
        }
    }

    /// How long to wait for `bytes` before a second connection is worth it; `None` while too little
    /// is known.
    pub(crate) fn patience(&self, bytes: u64) -> Option<Duration> {
        let account = lock(&self.0);
        let known = (account.all.chunks >= ENOUGH_CHUNKS).then_some(&account.all)?;
        let usual = known.seconds_a_byte()? * bytes as f64;
        Duration::try_from_secs_f64(usual * STRAGGLER_FACTOR).ok()
    }

    /// How long a chunk may be; `None` while nothing is known.
    pub(crate) fn chunk_bytes(&self) -> Option<u64> {
        let bytes = LONG_CHUNK_TIME.as_secs_f64() / lock(&self.0).recent.seconds_a_byte()?;
        // Saturates where the clock is too coarse for so fast a host.
        Some(bytes as u64)
    }
}

impl Totals {
    fn add(&mut self, bytes: u64, spent: Duration) {
        self.chunks = self.chunks.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        self.spent = self.spent.saturating_add(spent);
    }

    fn halve(&mut self) {
        *self = Self { chunks: self.chunks / 2, bytes: self.bytes / 2, spent: self.spent / 2 };
    }

    /// `None` while nothing is known.
    fn seconds_a_byte(&self) -> Option<f64> {
        (self.bytes > 0).then(|| self.spent.as_secs_f64() / self.bytes as f64)
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
    fn a_chunk_is_as_long_as_the_last_ones_allow() {
        let pace = Pace::default();
        pace.record(TELLING_BYTES - 1, Duration::from_secs(1));
        assert_eq!(pace.chunk_bytes(), None, "that was the way to the host");
        pace.record(2_000_000, Duration::from_millis(10));
        assert_eq!(pace.chunk_bytes(), Some(30_000_000));
        for _ in 0..100 {
            pace.record(2_000_000, Duration::from_millis(100));
        }
        assert_eq!(pace.chunk_bytes().map(|bytes| bytes / 100_000), Some(30));

        let pace = Pace::default();
        pace.record(2_000_000, Duration::ZERO);
        assert_eq!(pace.chunk_bytes(), Some(u64::MAX));
    }
}
