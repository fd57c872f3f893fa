//! How fast the body of a small answer comes: manifests, lists, tokens.

use std::time::Duration;

use tokio::time::Instant;

use crate::registry::fault::{Fault, Phase};
use crate::registry::policy::Policy;

/// Fewer bytes than this within the stall timeout (1 KiB) count as none: a byte now and then would
/// keep a run waiting for hours, and a manifest has some KiB.
const TRICKLE: u64 = 1024;

/// How long a host's speed is watched before it is judged: long enough for a pause to pass.
const WATCHED: Duration = Duration::from_secs(5);

/// The bytes of one body and when they came. Nobody but the host is waited for meanwhile.
pub(crate) struct Arrival<'a> {
    policy: &'a Policy,
    trickled: Span,
    watched: Span,
}

struct Span {
    bytes: u64,
    since: Instant,
}

impl Span {
    fn begin() -> Self {
        Self { bytes: 0, since: Instant::now() }
    }
}

impl<'a> Arrival<'a> {
    /// The body begins now.
    pub(crate) fn new(policy: &'a Policy) -> Self {
        Self { policy, trickled: Span::begin(), watched: Span::begin() }
    }

    /// Takes note of `bytes` more.
    ///
    /// # Errors
    /// [`Fault::Stalled`] when next to nothing came within the stall timeout, [`Fault::TooSlow`] when
    /// it came more slowly than the policy wants.
    pub(crate) fn more(&mut self, bytes: u64) -> Result<(), Fault> {
        self.trickled.bytes += bytes;
        let after = self.policy.stall_timeout;
        if self.trickled.bytes >= TRICKLE {
            self.trickled = Span::begin();
        } else if self.trickled.since.elapsed() >= after {
            return Err(Fault::Stalled { phase: Phase::Body, after });
        }
        self.watched.bytes += bytes;
        let passed = self.watched.since.elapsed();
        if passed < WATCHED {
            return Ok(());
        }
        let watched = std::mem::replace(&mut self.watched, Span::begin());
        let bytes_per_second = (watched.bytes as f64 / passed.as_secs_f64()) as u64;
        match self.policy.min_speed {
            Some(minimum) if bytes_per_second < minimum => {
                Err(Fault::TooSlow { bytes_per_second, minimum })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_a_stall() {
        let policy = Policy { stall_timeout: 30 * SECOND, ..Policy::default() };
        let mut arrival = Arrival::new(&policy);
        for _ in 0..2 {
            tokio::time::advance(10 * SECOND).await;
            assert_eq!(arrival.more(1), Ok(()));
        }
        tokio::time::advance(10 * SECOND).await;
        assert!(matches!(arrival.more(1), Err(Fault::Stalled { .. })));

        let mut arrival = Arrival::new(&policy);
        for _ in 0..100 {
            tokio::time::advance(10 * SECOND).await;
            assert_eq!(arrival.more(TRICKLE / 2), Ok(()), "slow, and on its way");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_least_speed_holds_for_small_answers_too() {
        let policy = Policy { min_speed: Some(1000), ..Policy::default() };
        let mut arrival = Arrival::new(&policy);
        tokio::time::advance(4 * SECOND).await;
        assert_eq!(arrival.more(0), Ok(()), "a pause passes");
        tokio::time::advance(SECOND).await;
        assert_eq!(arrival.more(5000), Ok(()));
        tokio::time::advance(5 * SECOND).await;
        let slow = Fault::TooSlow { bytes_per_second: 999, minimum: 1000 };
        assert_eq!(arrival.more(4999), Err(slow));
    }
}
