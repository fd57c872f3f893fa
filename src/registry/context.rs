//! What all requests of a run share: the policy, the deadline, the event sink, the login store, and
//! who has lost our trust.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use crate::config::Keychain;
use crate::failure::{Failure, Notice};
use crate::progress::{Event, HostAttempt, Sink};
use crate::registry::blob::pieces::Pieces;
use crate::registry::blob::throttle::Throttle;
use crate::registry::blob::window::Budget;
use crate::registry::error::SetupError;
use crate::registry::fault::{Fault, Phase};
use crate::registry::http::proxy::Proxies;
use crate::registry::policy::Policy;
use crate::sync::lock;

/// How long a host may be silent before that is told, and how often it is told again.
const FIRST_TOLD: Duration = Duration::from_secs(2);
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Shared by every endpoint and repository of a [`super::Registry`].
pub(crate) struct Context {
    pub(crate) policy: Policy,
    pub(crate) keychain: Arc<Keychain>,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) proxies: Proxies,
    pub(crate) budget: Budget,
    pub(crate) pieces: Pieces,
    throttle: Arc<Throttle>,
    deadline: Option<Instant>,
    distrusted: Arc<Mutex<BTreeSet<String>>>,
    /// Hosts of which was told that others are asked in their place.
    passed_over: Arc<Mutex<BTreeSet<String>>>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Context {
    /// Starts the run's clock.
    ///
    /// # Errors
    /// [`SetupError`] when the environment names an unusable proxy.
    pub(crate) fn new(
        policy: Policy,
        keychain: Arc<Keychain>,
        sink: Arc<dyn Sink>,
    ) -> Result<Self, SetupError> {
        let proxies = Proxies::from_environment()?;
        let deadline = policy.timeout.map(|timeout| Instant::now() + timeout);
        let budget = Budget::new(&policy);
        let throttle = Arc::new(Throttle::new(policy.limit_rate));
        Ok(Self {
            policy,
            keychain,
            sink,
            proxies,
            budget,
            pieces: Pieces::default(),
            throttle,
            deadline,
            distrusted: Arc::default(),
            passed_over: Arc::default(),
        })
    }

    /// The same run, as somebody else: its limits, its clock and whom it trusts are shared.
    pub(crate) fn with_keychain(&self, keychain: Keychain) -> Self {
        Self {
            policy: self.policy.clone(),
            keychain: Arc::new(keychain),
            sink: Arc::clone(&self.sink),
            proxies: self.proxies.clone(),
            budget: self.budget.clone(),
            pieces: self.pieces.clone(),
            throttle: Arc::clone(&self.throttle),
            deadline: self.deadline,
            distrusted: Arc::clone(&self.distrusted),
            passed_over: Arc::clone(&self.passed_over),
        }
    }

    /// Runs `operation` within the stall timeout, or `at_least` where that is longer, and the run's
    /// deadline.
    pub(crate) async fn within<T>(
        &self,
        phase: Phase,
        at_least: Duration,
        operation: impl Future<Output = T>,
    ) -> Result<T, Fault> {
        let after = self.policy.stall_timeout.max(at_least);
        let stalled = Instant::now() + after;
        let end = self.deadline.map_or(stalled, |deadline| deadline.min(stalled));
        timeout_at(end, operation)
            .await
            .map_err(|_elapsed| self.expired().unwrap_or(Fault::Stalled { phase, after }))
    }

    /// The same for an operation that sends: whenever `progress` changes, the wait begins anew, and for
    /// the answer, once all has been sent, it is at least as long as `settling`.
    pub(crate) async fn within_progress<T>(
        &self,
        phase: Phase,
        at_least: Duration,
        settling: Duration,
        mut progress: watch::Receiver<u64>,
        operation: impl Future<Output = T>,
    ) -> Result<T, Fault> {
        let mut operation = pin!(operation);
        let mut is_sent = false;
        loop {
            let at_least = if is_sent { at_least.max(settling) } else { at_least };
            let step = async {
                tokio::select! {
                    biased;
                    done = operation.as_mut() => Some(done),
                    changed = progress.changed(), if !is_sent => {
                        is_sent = changed.is_err();
                        None
                    }
                }
            };
            match self.within(phase, at_least, step).await {
                Ok(Some(done)) => return Ok(done),
                Ok(None) => {}
                // Bytes are still to be taken: whoever takes them is the one that stalls.
                Err(Fault::Stalled { after, .. }) if progress.has_changed().is_ok() => {
                    return Err(Fault::Stalled { phase: Phase::Request, after });
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Waits until `bytes` that have just come are within the run's speed limit, or until its time is
    /// up.
    pub(crate) async fn throttled(&self, bytes: u64) -> Result<(), Fault> {
        let within_limit = self.throttle.take(bytes);
        let Some(deadline) = self.deadline else {
            within_limit.await;
            return Ok(());
        };
        timeout_at(deadline, within_limit).await.map_err(|_elapsed| self.deadline_reached())
    }

    /// The fault to give up with when the run's time is up.
    pub(crate) fn expired(&self) -> Option<Fault> {
        self.leaves_no_time_for(Duration::ZERO)
    }

    /// The fault to give up with when the run's time would be up after `wait`.
    pub(crate) fn leaves_no_time_for(&self, wait: Duration) -> Option<Fault> {
        let over = self.deadline.is_some_and(|deadline| Instant::now() + wait >= deadline);
        over.then(|| self.deadline_reached())
    }

    fn deadline_reached(&self) -> Fault {
        Fault::Deadline { limit: self.policy.timeout.unwrap_or_default(), after: None }
    }

    /// Runs `operation`, by which `host` answers `request`, and tells of it while it does not, nor
    /// takes anything of what is sent, which `progress` tells.
    pub(crate) async fn awaited<T>(
        &self,
        host: &str,
        request: &str,
        mut progress: watch::Receiver<u64>,
        operation: impl Future<Output = T>,
    ) -> T {
        let mut since = Instant::now();
        let mut operation = pin!(operation);
        let mut silence = FIRST_TOLD;
        loop {
            tokio::select! {
                biased;
                answer = operation.as_mut() => return answer,
                Ok(()) = progress.changed() => {
                    (since, silence) = (Instant::now(), FIRST_TOLD);
                    continue;
                }
                () = sleep(silence) => {}
            }
            silence = TOLD_EVERY;
            self.sink.event(Event::Waiting {
                host: host.to_owned(),
                request: request.to_owned(),
                waited: since.elapsed(),
            });
        }
    }

    /// Tells, once a run, that `instead` gave what `host` did not give because of `fault`.
    pub(crate) fn passed_over(&self, host: &str, instead: &str, fault: &Fault, hint: String) {
        if lock(&self.passed_over).insert(host.to_owned()) {
            let message = format!("{host} is passed over for {instead}: {fault}");
            let notice = Notice::new("host-passed-over", message).with_hint(hint);
            self.sink.event(Event::Warning(notice));
        }
    }

    /// Tells, once a run, that `host` is asked no more because its bytes were wrong.
    pub(crate) fn found_wrong(&self, host: &str) {
        if lock(&self.passed_over).insert(host.to_owned()) {
            let message = format!("{host} is left out: it gave wrong bytes");
            let hint = format!("find out what alters the content of {host}");
            let notice = Notice::new("host-passed-over", message).with_hint(hint);
            self.sink.event(Event::Warning(notice));
        }
    }

    /// Reports one request.
    pub(crate) fn attempt(&self, host: &str, request: &str, outcome: String, started: Instant) {
        self.sink.event(Event::Attempt(HostAttempt {
            host: host.to_owned(),
            request: request.to_owned(),
            outcome,
            duration: started.elapsed(),
        }));
    }

    /// Reports why `host`, whose response looked well until it was read, is left all the same: its
    /// status, which was reported before, does not tell.
    pub(crate) fn unusable(&self, host: &str, request: &str, fault: &Fault, started: Instant) {
        if fault.failure() == Failure::Verification {
            self.attempt(host, &format!("GET {request}"), fault.to_string(), started);
        }
    }

    /// Leaves `hosts` out for the rest of the run.
    pub(crate) fn distrust(&self, hosts: &[String]) {
        lock(&self.distrusted).extend(hosts.iter().cloned());
    }

    /// Asks `hosts` again, which were left out by [`Context::distrust`].
    pub(crate) fn trust(&self, hosts: &[String]) {
        lock(&self.distrusted).retain(|distrusted| !hosts.contains(distrusted));
    }

    /// Whether `host` was left out by [`Context::distrust`].
    pub(crate) fn is_distrusted(&self, host: &str) -> bool {
        lock(&self.distrusted).contains(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who is told nothing.
    struct Nobody;

    impl Sink for Nobody {
        fn event(&self, _: Event) {}
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_answer_to_much_may_take_longer() {
        let policy = Policy { stall_timeout: 30 * SECOND, ..Policy::default() };
        let context = Context::new(policy, Arc::default(), Arc::new(Nobody)).unwrap();
        for (settling, answers_after, is_awaited) in
            [(100, 99, true), (100, 101, false), (10, 29, true), (10, 31, false)]
        {
            let (taken, progress) = watch::channel(0);
            // Bytes are taken for longer than any wait, and then there is silence.
            let sending = async {
                for _ in 0..20 {
                    sleep(20 * SECOND).await;
                    taken.send_modify(|count| *count += 1);
                }
                drop(taken);
                sleep(answers_after * SECOND).await;
            };
            let settling = settling * SECOND;
            let answered =
                context.within_progress(Phase::Response, SECOND, settling, progress, sending);
            assert_eq!(answered.await.is_ok(), is_awaited, "{settling:?}, {answers_after} s");
        }
    }
}
