//! Doing the same once or again and again, and keeping note of how it went.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::sleep;

use super::groups::RoundsArgs;
use super::{Error, SeedingError, Session};
use crate::failure::{Diagnose as _, Diagnostic};
use crate::output::{Status, Tally};
use crate::progress::Sink;

/// The wait after the first of several failed rounds; it doubles with each, up to the interval.
const FIRST_PAUSE: Duration = Duration::from_secs(60);

/// Has `round` done as often as `args` say, and writes how it went where they say.
///
/// # Errors
/// That of the round when there is one only; [`Error::Interrupted`] when one was interrupted, and
/// nothing when a signal came between two. [`SeedingError::NotNoted`] when a file can't be written.
pub(super) async fn run(
    args: &RoundsArgs,
    session: &Session<'_>,
    round: impl AsyncFn(&Session<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    if args.is_plain() {
        return Box::pin(round(session)).await;
    }
    let mut signals = session.catch_signals(None);
    let mut status = args.first_status()?;
    let mut failed_in_turn = 0;
    loop {
        signals.or(sleep(args.wait())).await?;
        let outcome = one(&mut status, session, &round).await;
        failed_in_turn = if outcome.is_ok() { 0 } else { failed_in_turn + 1 };
        let pause = args.interval.map(|interval| pause(interval, failed_in_turn));
        status.next = pause.and_then(later);
        if let Err(unwritten) = args.note(&status) {
            // A run ends with one error, and by this one nobody would learn of the other.
            tell(session, outcome);
            return Err(unwritten);
        }
        let Some(pause) = pause else { return outcome };
        if let Err(error @ Error::Interrupted { .. }) = outcome {
            return Err(error);
        }
        tell(session, outcome);
        // To stop what waits is how it is meant to end.
        if signals.or(sleep(pause)).await.is_err() {
            return Ok(());
        }
    }
}

/// Tells of a round's failure that nobody has told of yet.
fn tell(session: &Session<'_>, outcome: Result<(), Error>) {
    match outcome {
        Err(Error::AlreadyTold(_)) | Ok(()) => {}
        Err(error) => session.printer.error(&error),
    }
}

/// One round, counted in `status`.
async fn one(
    status: &mut Status,
    session: &Session<'_>,
    round: &impl AsyncFn(&Session<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let tally = Arc::new(Tally::default());
    let observer = Some(Arc::clone(&tally) as Arc<dyn Sink>);
    let began = Timestamp::now();
    let outcome = Box::pin(round(&Session { observer, ..*session })).await;
    let ended = Timestamp::now();
    let mut counts = tally.counts();
    let error = outcome.as_ref().err();
    let untold = error.filter(|error| !matches!(error, Error::AlreadyTold(_)));
    untold.inspect(|error| counts.fail(error.failure()));
    status.error = untold.map(|error| Diagnostic::of(error).one_line());
    status.exit_code = error.map_or(0, |error| error.failure().exit_code());
    status.count(counts);
    status.rounds += 1;
    (status.began, status.ended) = (Some(began), Some(ended));
    if outcome.is_ok() {
        status.last_success = Some(ended);
    }
    outcome
}

/// How long to wait after `failed` rounds in turn that failed.
fn pause(interval: Duration, failed: u32) -> Duration {
    match failed.checked_sub(1) {
        None => interval,
        Some(doublings) => {
            let factor = 1_u32.checked_shl(doublings.min(30)).unwrap_or(u32::MAX);
            FIRST_PAUSE.saturating_mul(factor).min(interval)
        }
    }
}

fn later(pause: Duration) -> Option<Timestamp> {
    let pause = SignedDuration::try_from(pause).ok()?;
    Timestamp::now().checked_add(pause).ok()
}

impl RoundsArgs {
    /// Whether it is an ordinary run, that nobody is told of.
    fn is_plain(&self) -> bool {
        let Self { interval, splay, status_file, metrics_file } = self;
        let is_timed = interval.is_some() || splay.is_some();
        !is_timed && status_file.is_none() && metrics_file.is_none()
    }

    /// The random part of `--splay`.
    fn wait(&self) -> Duration {
        self.splay.unwrap_or_default().mul_f64(fastrand::f64())
    }

    /// The status before the first round, written so that a file that can't be is told of at once, and
    /// that one of an earlier process tells nobody that all is in place.
    fn first_status(&self) -> Result<Status, Error> {
        let earlier = self.status_file.as_deref().and_then(|path| Status::read(path).ok());
        let last_success = earlier.and_then(|status| status.last_success);
        let status = Status { last_success, ..Status::default() };
        self.note(&status)?;
        Ok(status)
    }

    fn note(&self, status: &Status) -> Result<(), Error> {
        if let Some(path) = &self.status_file {
            status.write(path).map_err(|source| not_noted(path, source))?;
        }
        if let Some(path) = &self.metrics_file {
            status.write_metrics(path).map_err(|source| not_noted(path, source))?;
        }
        Ok(())
    }
}

fn not_noted(path: &Path, source: io::Error) -> Error {
    SeedingError::NotNoted { path: path.to_owned(), source }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_rounds_are_repeated_sooner_and_ever_less_often() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        for (interval, failed, expected) in [
            (hours(6), 0, hours(6)),
            (hours(6), 1, Duration::from_secs(60)),
            (hours(6), 2, Duration::from_secs(120)),
            (hours(6), 7, Duration::from_secs(64 * 60)),
            (hours(6), 40, hours(6)),
            (Duration::from_secs(10), 1, Duration::from_secs(10)),
        ] {
            assert_eq!(pause(interval, failed), expected, "{failed} of {interval:?}");
        }
    }
}
