//! How long a host usually takes for its bytes, so that a straggler can be told from a slow host.

use std::sync::Mutex;
use std::time::Duration;

use super::context::lock;

/// A chunk is a straggler when it takes this many times as long as usual.
const STRAGGLER_FACTOR: f64 = 3.0;

/// How many chunks must have come before it is known what is usual.
const ENOUGH_CHUNKS: u32 = 3;

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
        let totals = lock(&self.0);
        if totals.chunks < ENOUGH_CHUNKS || totals.bytes == 0 {
            return None;
        }
        let usual = totals.spent.as_secs_f64() * bytes as f64 / totals.bytes as f64;
        Duration::try_from_secs_f64(usual * STRAGGLER_FACTOR).ok()
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
}
