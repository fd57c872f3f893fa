//! Whether a host is worth asking, as the run has learnt.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::registry::fault::Fault;
use crate::sync::lock;

/// How long a host that could not be reached is left alone before one request probes it again.
const PROBE_AFTER: Duration = Duration::from_secs(30);

/// A host that was overtaken by another one is not asked again in this run, unless no other is left.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// How often the usual time of an answer is waited for before another host is asked as well, and
/// between which bounds: an answer of a few milliseconds may take a second once.
const TIMES_USUAL: u32 = 4;
const SHORTEST_PATIENCE: Duration = Duration::from_secs(1);
const LONGEST_PATIENCE: Duration = Duration::from_secs(10);

/// One host's state. Reached is the state to begin with.
#[derive(Debug, Default)]
pub(crate) struct Health {
    down: Mutex<Option<Down>>,
    pause: Mutex<Option<Pause>>,
    /// How long its small answers usually take.
    usual: Mutex<Option<Duration>>,
    /// What it answers to HEAD is wrong where GET is right.
    head_misleads: AtomicBool,
    /// It takes a blob as a whole only.
    refuses_pieces: AtomicBool,
    /// It takes a blob in pieces only.
    refuses_wholes: AtomicBool,
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

    /// Another host was faster than this one, which was asked long before it.
    pub(crate) fn slow(&self, fault: Fault) {
        *lock(&self.down) =
            Some(Down { fault, next_probe: Instant::now() + NEVER, given_up: false });
    }

    /// Whether GET is to be asked in place of HEAD.
    pub(crate) fn head_misleads(&self) -> bool {
        self.head_misleads.load(Ordering::Relaxed)
    }

    /// HEAD was answered otherwise than GET. Returns whether that is news.
    pub(crate) fn distrust_head(&self) -> bool {
        !self.head_misleads.swap(true, Ordering::Relaxed)
    }

    /// Whether a blob is to be sent as a whole.
    pub(crate) fn refuses_pieces(&self) -> bool {
        self.refuses_pieces.load(Ordering::Relaxed)
    }

    /// A piece of a blob was refused for being one.
    pub(crate) fn refuse_pieces(&self) {
        self.refuses_pieces.store(true, Ordering::Relaxed);
    }

    /// Whether a large blob is to be sent in pieces.
    pub(crate) fn refuses_wholes(&self) -> bool {
        self.refuses_wholes.load(Ordering::Relaxed)
    }

    /// A large blob was refused for coming as a whole.
    pub(crate) fn refuse_wholes(&self) {
        self.refuses_wholes.store(true, Ordering::Relaxed);
    }

    /// A small answer came after `time`.
    pub(crate) fn answered_after(&self, time: Duration) {
        let mut usual = lock(&self.usual);
        *usual = Some(usual.map_or(time, |usual| (usual * 3 + time) / 4));
    }

    /// How long to wait for a small answer before another host is asked as well; `None` while none
    /// has come.
    pub(crate) fn patience(&self) -> Option<Duration> {
        let usual = (*lock(&self.usual))?;
        Some((usual * TIMES_USUAL).clamp(SHORTEST_PATIENCE, LONGEST_PATIENCE))
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
    async fn one_that_was_overtaken_is_not_probed() {
        let health = Health::default();
        health.slow(Fault::Refused);
        tokio::time::advance(10 * PROBE_AFTER).await;
        assert!(!health.may_admit() && !health.admits());
        health.reached();
        assert!(health.admits());
    }

    #[test]
    fn patience_follows_the_usual_time_within_bounds() {
        let milliseconds = Duration::from_millis;
        for (times, expected) in [
            (vec![], None),
            (vec![5], Some(SHORTEST_PATIENCE)),
            (vec![500], Some(milliseconds(2000))),
            (vec![400, 800], Some(milliseconds(2000))),
            (vec![60_000], Some(LONGEST_PATIENCE)),
        ] {
            let health = Health::default();
            for time in &times {
                health.answered_after(milliseconds(*time));
            }
            assert_eq!(health.patience(), expected, "{times:?}");
        }
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
