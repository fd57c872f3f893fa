//! The process's speed limit, shared by all connections.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::sync::lock;

/// How far the connections may run ahead of the limit, so that one frame need not wait for another
/// one's last byte.
const SLACK: Duration = Duration::from_millis(100);

/// Lets bytes through at a rate.
#[derive(Debug)]
pub(crate) struct Throttle {
    bytes_per_second: Option<u64>,
    /// When the bytes let through so far will have come at the rate.
    paid_until: Mutex<Instant>,
}

impl Throttle {
    /// `None` or zero is no limit.
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Self {
        let bytes_per_second = bytes_per_second.filter(|rate| *rate > 0);
        Self { bytes_per_second, paid_until: Mutex::new(Instant::now()) }
    }

    /// Waits as long as `bytes` that have just come are ahead of the rate. Not reading on in the
    /// meantime is what slows the sender down.
    pub(crate) async fn take(&self, bytes: u64) {
        let Some(rate) = self.bytes_per_second else { return };
        let cost = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let paid_until = {
            let mut paid_until = lock(&self.paid_until);
            *paid_until = (*paid_until).max(Instant::now()) + cost;
            *paid_until
        };
        if let Some(until) = paid_until.checked_sub(SLACK) {
            sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_take_their_time_whoever_reads_them() {
        let throttle = Throttle::new(Some(1000));
        let started = Instant::now();
        let takes = [(); 10].map(|()| throttle.take(500));
        futures_util::future::join_all(takes).await;
        assert_eq!(started.elapsed().as_millis(), 4900);
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_takes_no_time() {
        let started = Instant::now();
        Throttle::new(None).take(u64::MAX).await;
        Throttle::new(Some(0)).take(u64::MAX).await;
        assert!(started.elapsed().is_zero());
    }
}
