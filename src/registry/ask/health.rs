//! Whether a host is worth asking, as the run has learnt.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::registry::fault::Fault;
use crate::sync::lock;

/// How long a host that could not be reached is left alone before one request probes it again.
const PROBE_AFTER: Duration = Duration::from_secs(30);

/// One host's state. Reached is the state to begin with.
#[derive(Debug, Default)]
pub(crate) struct Health {
    down: Mutex<Option<Down>>,
    pause: Mutex<Option<Pause>>,
}

/// What is known of a host that could not be reached.
#[derive(Debug)]
struct Down {
    fault: Fault,
    next_probe: Instant,
    /// All retries of an operation were spent on it.
    given_up: bool,
}

/// What the host itself asked for: to be left alone for a while.
#[derive(Debug)]
struct Pause {
    fault: Fault,
    until: Instant,
}

impl Health {
    /// Whether the host answered when it was last asked, and did not ask to be left alone.
    pub(crate) fn is_up(&self) -> bool {
        lock(&self.down).is_none() && self.paused_by().is_none()
    }

    /// Whether [`Health::admits`] would say yes now.
    pub(crate) fn may_admit(&self) -> bool {
        let is_due = |down: &Down| Instant::now() >= down.next_probe;
        self.paused_by().is_none() && lock(&self.down).as_ref().is_none_or(is_due)
    }

    /// Whether the host may be asked now, by a caller who then does. For one that is down, the answer
    /// is yes once in [`PROBE_AFTER`], to whoever asks first.
    pub(crate) fn admits(&self) -> bool {
        if self.paused_by().is_some() {
            return false;
        }
        match &mut *lock(&self.down) {
            None => true,
            Some(down) if Instant::now() < down.next_probe => false,
            Some(down) => {
                down.next_probe = Instant::now() + PROBE_AFTER;
                true
            }
        }
    }

    /// Why it is down or left alone.
    pub(crate) fn fault(&self) -> Option<Fault> {
        let down = lock(&self.down).as_ref().map(|down| down.fault.clone());
        down.or_else(|| self.paused_by())
    }

    /// Why it is left alone now.
    fn paused_by(&self) -> Option<Fault> {
        let pause = lock(&self.pause);
        let pause = pause.as_ref().filter(|pause| Instant::now() < pause.until);
        pause.map(|pause| pause.fault.clone())
    }

    /// Whether an operation has spent all its retries on it, so that the next one should not.
    pub(crate) fn is_given_up(&self) -> bool {
        lock(&self.down).as_ref().is_some_and(|down| down.given_up)
    }

    /// The host answered.
    pub(crate) fn reached(&self) {
        *lock(&self.down) = None;
    }

    /// The host could not be reached.
    pub(crate) fn unreachable(&self, fault: Fault) {
        let next_probe = Instant::now() + PROBE_AFTER;
        let mut down = lock(&self.down);
        let given_up = down.as_ref().is_some_and(|down| down.given_up);
        *down = Some(Down { fault, next_probe, given_up });
    }

    /// The host answered with `fault` and asked not to be asked again before `until`.
    pub(crate) fn pause(&self, fault: Fault, until: Instant) {
        *lock(&self.pause) = Some(Pause { fault, until });
    }

    /// An operation has given up on the host.
    pub(crate) fn give_up(&self) {
        if let Some(down) = &mut *lock(&self.down) {
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
    #[tokio::test(start_paused = true)]
    async fn leaves_alone_whoever_asks_for_it() {
        let health = Health::default();
        let fault = Fault::RateLimited { retry_after: None, reason: None };
        health.pause(fault.clone(), Instant::now() + 2 * PROBE_AFTER);
        // Other requests may be answered meanwhile.
        health.reached();
        tokio::time::advance(PROBE_AFTER).await;
        assert!(!health.may_admit() && !health.admits() && !health.is_up());
        assert_eq!(health.fault(), Some(fault));
        tokio::time::advance(PROBE_AFTER).await;
        assert!(health.may_admit() && health.admits() && health.is_up());
        assert_eq!(health.fault(), None);
    }
}
