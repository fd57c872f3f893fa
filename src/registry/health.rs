//! Whether a host is worth asking, as the run has learnt.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::context::lock;

/// How long a host that could not be reached is left alone before one request probes it again.
const PROBE_AFTER: Duration = Duration::from_secs(30);

/// One host's state. Reached is the state to begin with.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// When the next probe may be sent; `None` while the host answers.
    next_probe: Mutex<Option<Instant>>,
}

impl Health {
    /// Whether the host may be asked now. For one that is down, the answer is yes once in
    /// [`PROBE_AFTER`], to whoever asks first.
    pub(crate) fn admits(&self) -> bool {
        let mut next_probe = lock(&self.next_probe);
        match *next_probe {
            None => true,
            Some(at) if Instant::now() < at => false,
            Some(_) => {
                *next_probe = Some(Instant::now() + PROBE_AFTER);
                true
            }
        }
    }

    /// The host answered.
    pub(crate) fn reached(&self) {
        *lock(&self.next_probe) = None;
    }

    /// The host could not be reached.
    pub(crate) fn unreachable(&self) {
        *lock(&self.next_probe) = Some(Instant::now() + PROBE_AFTER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lets_one_probe_through_after_a_while() {
        let health = Health::default();
        assert!(health.admits());
        health.unreachable();
        assert!(!health.admits());
        tokio::time::advance(PROBE_AFTER).await;
        assert!(health.admits());
        assert!(!health.admits(), "one probe is enough");
        health.reached();
        assert!(health.admits());
    }
}
