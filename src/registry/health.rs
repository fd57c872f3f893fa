//! Whether a host is worth asking, as the run has learnt.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::context::lock;
use super::fault::Fault;

/// How long a host that could not be reached is left alone before one request probes it again.
const PROBE_AFTER: Duration = Duration::from_secs(30);

/// One host's state. Reached is the state to begin with.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<Option<Down>>);

/// What is known of a host that could not be reached.
#[derive(Debug)]
struct Down {
    fault: Fault,
    next_probe: Instant,
    /// All retries of an operation were spent on it.
    given_up: bool,
}

impl Health {
    /// Whether the host answered when it was last asked.
    pub(crate) fn is_up(&self) -> bool {
        lock(&self.0).is_none()
    }

    /// Whether [`Health::admits`] would say yes now.
    pub(crate) fn may_admit(&self) -> bool {
        lock(&self.0).as_ref().is_none_or(|down| Instant::now() >= down.next_probe)
    }

    /// Whether the host may be asked now, by a caller who then does. For one that is down, the answer
    /// is yes once in [`PROBE_AFTER`], to whoever asks first.
    pub(crate) fn admits(&self) -> bool {
        match &mut *lock(&self.0) {
            None => true,
            Some(down) if Instant::now() < down.next_probe => false,
            Some(down) => {
                down.next_probe = Instant::now() + PROBE_AFTER;
                true
            }
        }
    }

    /// Why it is down.
    pub(crate) fn fault(&self) -> Option<Fault> {
        lock(&self.0).as_ref().map(|down| down.fault.clone())
    }

    /// Whether an operation has spent all its retries on it, so that the next one should not.
    pub(crate) fn is_given_up(&self) -> bool {
        lock(&self.0).as_ref().is_some_and(|down| down.given_up)
    }

    /// The host answered.
    pub(crate) fn reached(&self) {
        *lock(&self.0) = None;
    }

    /// The host could not be reached.
    pub(crate) fn unreachable(&self, fault: Fault) {
        let next_probe = Instant::now() + PROBE_AFTER;
        let mut down = lock(&self.0);
        let given_up = down.as_ref().is_some_and(|down| down.given_up);
        *down = Some(Down { fault, next_probe, given_up });
    }

    /// An operation has given up on the host.
    pub(crate) fn give_up(&self) {
        if let Some(down) = &mut *lock(&self.0) {
            down.given_up = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lets_one_probe_through_after_a_while() {
        let health = Health::default();
        assert!(health.admits());
        health.unreachable(Fault::Refused);
        assert_eq!(health.fault(), Some(Fault::Refused));
        assert!(!health.admits());
        tokio::time::advance(PROBE_AFTER).await;
        assert!(health.may_admit() && health.may_admit(), "looking costs nothing");
        assert!(health.admits());
        assert!(!health.admits(), "one probe is enough");
        health.reached();
        assert!(health.admits());
    }
}
