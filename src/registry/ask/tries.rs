//! Who is asked next, after what wait, and when to give up.
//!
//! A *round* asks every host that may still help, once, without waiting in between. When a round is
//! over, the next one waits: exponentially longer each time, with jitter, or as long as the hosts
//! ask for. Where an operation hedges, a host that has not answered in time gets company by the next
//! one of its round.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::registry::ask::host::Host;
use crate::registry::context::Context;
use crate::registry::error::{Error, HostFailure};
use crate::registry::fault::{Fault, Phase};
use crate::registry::http::endpoint::Endpoint;
use crate::registry::place::SettingsPlace;

/// Longest wait that is our own choice.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Longest `Retry-After` that is waited for (2 min); beyond it, failing now tells the user more.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(120);

/// How long a host whose usual time is not known is waited for before the next one is asked beside it.
const PATIENCE: Duration = Duration::from_secs(3);

/// A wait that no run lasts (a day): what a host that asks for more is taken to ask for.
const FOREVER: Duration = Duration::from_secs(24 * 3600);

/// Where jitter comes from: numbers in `0.0..1.0`.
pub(crate) type Random = fn() -> f64;

/// The tries of one operation over its hosts.
#[derive(Debug)]
pub(crate) struct Tries {
    context: Arc<Context>,
    candidates: Vec<Candidate>,
    /// Candidates still to be asked in this round, the next one last.
    queue: Vec<usize>,
    /// The queue has hosts that are down, for want of others.
    is_last_resort: bool,
    /// Asked first in every round.
    preferred: usize,
    round: u32,
    random: Random,
}

#[derive(Debug)]
struct Candidate {
    endpoint: Arc<Endpoint>,
    place: SettingsPlace,
    last: Option<Fault>,
    tries: u32,
    /// When it was first asked, and last.
    asked: Option<(Instant, Instant)>,
    /// From when it was first asked to its last fault.
    duration: Duration,
    /// Asking again is futile.
    hopeless: bool,
    /// When it may be asked again, as it said itself.
    not_before: Option<Instant>,
}

/// No host is left to ask, or no time.
#[derive(Debug)]
pub(crate) struct GivenUp(Vec<HostFailure>);

impl GivenUp {
    /// The error of the operation `what`, which sends `request`.
    pub(crate) fn error(self, what: &str, request: &str) -> Error {
        if self.0.is_empty() {
            Error::NoHost { what: what.to_owned() }
        } else {
            Error::all_hosts_failed(what.to_owned(), request, self.0)
        }
    }
}

impl Tries {
    /// Will ask `hosts` in their order.
    pub(crate) fn of(context: &Arc<Context>, hosts: &[Host]) -> Self {
        let hosts = hosts.iter().map(|host| (host.endpoint(), host.place()));
        Self::new(Arc::clone(context), hosts, 0)
    }

    /// Will ask `hosts` in their order, but `preferred` first.
    pub(crate) fn new<'a>(
        context: Arc<Context>,
        hosts: impl IntoIterator<Item = (&'a Arc<Endpoint>, &'a SettingsPlace)>,
        preferred: usize,
    ) -> Self {
        let candidates = hosts
            .into_iter()
            .map(|(endpoint, place)| Candidate {
                endpoint: Arc::clone(endpoint),
                place: place.clone(),
                last: None,
                tries: 0,
                asked: None,
                duration: Duration::ZERO,
                hopeless: false,
                not_before: None,
            })
            .collect();
        let mut tries = Self {
            context,
            candidates,
            queue: Vec::new(),
            is_last_resort: false,
            preferred,
            round: 0,
            random: fastrand::f64,
        };
        tries.fill();
        tries
    }

    /// The index of the endpoint to ask now; waits between rounds.
    pub(crate) async fn next(&mut self) -> Result<usize, GivenUp> {
        if let Some(fault) = self.context.expired() {
            return Err(self.give_up(Some(fault)));
        }
        if let Some(next) = self.pop() {
            return Ok(next);
        }
        // The first round may have passed over hosts that are down: they are the only ones now.
        let wait = if self.candidates.iter().all(|candidate| candidate.tries == 0) {
            Duration::ZERO
        } else {
            self.round += 1;
            match self.wait() {
                Ok(wait) => wait,
                Err(fault) => return Err(self.give_up(fault)),
            }
        };
        tokio::time::sleep(wait).await;
        self.fill();
        if let Some(next) = self.pop() {
            return Ok(next);
        }
        // Those that are down are being asked by others; there is nobody else to ask.
        self.fill_with_all();
        self.pop().ok_or_else(|| self.give_up(None))
    }

    /// How long the host `index` is still to be waited for alone; `None` when no other host of this
    /// round can be asked beside it.
    pub(crate) fn patience(&self, index: usize) -> Option<Duration> {
        let others = self.queue.iter().filter_map(|index| self.candidates.get(*index));
        let mut others = others.filter(|other| {
            !other.hopeless
                && !self.context.is_distrusted(other.endpoint.name())
                && other.endpoint.health().may_admit()
        });
        others.next()?;
        let candidate = self.candidates.get(index)?;
        let usual = candidate.endpoint.health().patience().unwrap_or(PATIENCE);
        let patience = usual.min(self.context.policy.stall_timeout / 2);
        Some(patience.saturating_sub(candidate.asked?.1.elapsed()))
    }

    /// The index of the endpoint to ask beside those that are silent.
    pub(crate) fn beside(&mut self) -> Option<usize> {
        self.pop()
    }

    /// Takes note that the endpoint `index` gave what was asked for, a `small` answer or the beginning
    /// of a large one. Those that failed before are told of, and left out if what they gave was wrong.
    pub(crate) fn answered(&self, index: usize, small: bool) {
        let Some(winner) = self.candidates.get(index) else { return };
        let instead = winner.endpoint.name();
        if let Some((_, asked)) = winner.asked.filter(|_| small) {
            winner.endpoint.health().answered_after(asked.elapsed());
        }
        for candidate in self.candidates.iter().filter(|other| other.endpoint.name() != instead) {
            let Some(fault) = &candidate.last else { continue };
            let host = candidate.endpoint.name();
            if fault.is_wrong_content() {
                self.context.distrust(&[host.to_owned()]);
            }
            // That a mirror has not got everything is no trouble, and who is on trial may be innocent.
            if !matches!(fault, Fault::NotFound { .. } | Fault::Distrusted) {
                let hint = fault.hint(host, &candidate.place);
                self.context.passed_over(host, instead, fault, hint);
            }
        }
    }

    /// Reports why the endpoint `index` is left all the same, where the status of its answer to
    /// `request` does not tell.
    pub(crate) fn unusable(&self, index: usize, request: &str, fault: &Fault) {
        let Some(candidate) = self.candidates.get(index) else { return };
        if let Some((_, asked)) = candidate.asked {
            self.context.unusable(candidate.endpoint.name(), request, fault, asked);
        }
    }

    /// Takes note that another endpoint has answered `request`, and `index`, asked before it, has not.
    pub(crate) fn slow(&mut self, index: usize, request: &str) {
        let Some(candidate) = self.candidates.get_mut(index) else { return };
        let Some((_, asked)) = candidate.asked else { return };
        // To a tenth of a second: what is told is read by people.
        let after = Duration::from_millis(100) * (asked.elapsed().as_millis() / 100) as u32;
        let fault = Fault::Stalled { phase: Phase::Response, after };
        self.context.attempt(candidate.endpoint.name(), request, fault.to_string(), asked);
        candidate.endpoint.health().slow(fault.clone());
        candidate.last = Some(fault);
    }

    /// Takes note that the endpoint `index` failed with `fault`.
    pub(crate) fn failed(&mut self, index: usize, fault: Fault) {
        let Some(candidate) = self.candidates.get_mut(index) else { return };
        if fault.is_unreachable() {
            candidate.endpoint.health().unreachable(fault.clone());
        }
        candidate.tries += 1;
        candidate.duration = candidate.asked.map(|(first, _)| first.elapsed()).unwrap_or_default();
        candidate.hopeless |= !fault.is_retryable();
        candidate.not_before = fault.retry_after().map(|wait| Instant::now() + wait.min(FOREVER));
        if let Some(until) = candidate.not_before {
            candidate.endpoint.health().pause(fault.clone(), until);
        }
        // That the time is up says nothing about the host; what it did before does.
        if !fault.is_deadline() || candidate.last.is_none() {
            candidate.last = Some(fault);
        }
    }

    /// Takes note that the endpoint `index` delivered something before it failed, which renews the
    /// patience with all of them. The others are asked before it.
    pub(crate) fn progressed(&mut self, index: usize) {
        self.round = 0;
        self.fill();
        if let Some(position) = self.queue.iter().position(|queued| *queued == index) {
            self.queue.remove(position);
            self.queue.insert(0, index);
        }
    }

    fn pop(&mut self) -> Option<usize> {
        while let Some(index) = self.queue.pop() {
            let Some(candidate) = self.candidates.get_mut(index) else { continue };
            if self.context.is_distrusted(candidate.endpoint.name()) {
                candidate.hopeless = true;
                candidate.last = Some(Fault::Distrusted);
            } else if !candidate.hopeless
                && (self.is_last_resort || candidate.endpoint.health().admits())
            {
                let now = Instant::now();
                candidate.asked = Some((candidate.asked.map_or(now, |(first, _)| first), now));
                return Some(index);
            }
        }
        None
    }

    /// Queues the hosts for a round: those in good health, or all when none is. One that asked to be
    /// left alone is not, whichever operation it told so.
    fn fill(&mut self) {
        self.queue_if(|candidate| candidate.endpoint.health().may_admit());
        self.is_last_resort = self.queue.is_empty();
        if self.is_last_resort {
            self.fill_with_all();
        }
    }

    /// Queues all hosts that may still help, those that are down too.
    fn fill_with_all(&mut self) {
        self.is_last_resort = true;
        self.queue_if(|_| true);
    }

    /// Queues the hosts that are `wanted`, but for those that asked to be left alone for longer.
    fn queue_if(&mut self, wanted: impl Fn(&Candidate) -> bool) {
        let now = Instant::now();
        let is_due = |candidate: &Candidate| candidate.not_before.is_none_or(|time| time <= now);
        let mut queue: Vec<usize> = self
            .candidates
            .iter()
            .enumerate()
            .filter(|(_, candidate)| !candidate.hopeless && is_due(candidate) && wanted(candidate))
            .map(|(index, _)| index)
            .collect();
        queue.sort_by_key(|index| *index != self.preferred);
        queue.reverse();
        self.queue = queue;
    }

    /// How long to wait before the round that begins; `Err` when it is not worth it.
    fn wait(&self) -> Result<Duration, Option<Fault>> {
        let hopeful = || self.candidates.iter().filter(|candidate| !candidate.hopeless);
        let given_up = hopeful().all(|candidate| candidate.endpoint.health().is_given_up());
        if given_up || self.round > self.context.policy.retries {
            hopeful().for_each(|candidate| candidate.endpoint.health().give_up());
            return Err(None);
        }
        // Hosts that ask for time get it; the one that asks for the least decides.
        let now = Instant::now();
        let asked = hopeful()
            .map(|candidate| candidate.not_before.unwrap_or(now).saturating_duration_since(now))
            .min()
            .unwrap_or_default();
        if asked > LONGEST_RETRY_AFTER {
            return Err(None);
        }
        let own = backoff(self.context.policy.first_wait, self.round, self.random);
        let wait = asked.max(own);
        match self.context.leaves_no_time_for(wait) {
            Some(fault) => Err(Some(fault)),
            None => Ok(wait),
        }
    }

    /// What every host came to, one that was passed over because it is down included. `limit` is
    /// why there is no time left.
    pub(crate) fn give_up(&self, limit: Option<Fault>) -> GivenUp {
        let failures = self.candidates.iter().filter_map(|candidate| {
            let last = candidate.last.clone().or_else(|| candidate.endpoint.health().fault());
            let fault = match &limit {
                Some(Fault::Deadline { limit, .. }) => {
                    let after = last.filter(|fault| !fault.is_deadline()).map(Box::new);
                    Some(Fault::Deadline { limit: *limit, after })
                }
                _ => last,
            };
            Some(HostFailure {
                host: candidate.endpoint.name().to_owned(),
                place: candidate.place.clone(),
                fault: fault?,
                tries: candidate.tries,
                duration: candidate.duration,
            })
        });
        GivenUp(failures.collect())
    }
}

/// The wait before round `round` (the first retry is round 1): doubling, capped, and between half
/// and the whole of that, so that many clients do not come back at one moment.
fn backoff(first: Duration, round: u32, random: Random) -> Duration {
    let doubled = first.saturating_mul(2_u32.saturating_pow(round.saturating_sub(1)));
    doubled.min(LONGEST_WAIT).mul_f64(0.5 + random() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_longer_each_round_and_never_more_than_the_cap() {
        let first = Duration::from_millis(250);
        let longest: Random = || 1.0;
        let waits: Vec<_> =
            (1..=8).map(|round| backoff(first, round, longest).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        assert_eq!(backoff(first, 1, || 0.0).as_millis(), 125);
        assert_eq!(backoff(first, u32::MAX, longest), LONGEST_WAIT);
    }
}
