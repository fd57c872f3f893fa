//! Which hosts have been asked and have not answered yet.

use std::time::{Duration, Instant};

use super::units;
use crate::progress::Event;

/// A request without an answer.
struct Wait {
    host: String,
    request: String,
    since: Instant,
}

/// The requests that somebody may wonder about.
#[derive(Default)]
pub(super) struct Waits(Vec<Wait>);

impl Waits {
    pub(super) fn event(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Waiting { host, request, waited } => {
                self.end(host, request);
                let since = now.checked_sub(*waited).unwrap_or(now);
                let (host, request) = (host.clone(), request.clone());
                self.0.push(Wait { host, request, since });
            }
            Event::Attempt(attempt) => self.end(&attempt.host, &attempt.request),
            _ => {}
        }
    }

    fn end(&mut self, host: &str, request: &str) {
        self.0.retain(|wait| wait.host != host || wait.request != request);
    }

    /// `asking mirror.example, 12 s`, of the one that takes longest; `None` when all have answered.
    pub(super) fn text(&self, now: Instant) -> Option<String> {
        let longest = self.0.iter().min_by_key(|wait| wait.since)?;
        Some(asking(&longest.host, now.saturating_duration_since(longest.since)))
    }
}

/// `asking mirror.example, 12 s`.
pub(super) fn asking(host: &str, waited: Duration) -> String {
    format!("asking {host}, {}", units::duration(Duration::from_secs(waited.as_secs())))
        .replace(".0 s", " s")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::HostAttempt;

    fn waiting(host: &str, seconds: u64) -> Event {
        let waited = Duration::from_secs(seconds);
        Event::Waiting { host: host.to_owned(), request: "HEAD manifests/1".to_owned(), waited }
    }

    #[test]
    fn the_longest_wait_is_told_until_its_answer_comes() {
        let start = Instant::now();
        let mut waits = Waits::default();
        assert_eq!(waits.text(start), None);
        waits.event(&waiting("a.example", 12), start);
        waits.event(&waiting("b.example", 2), start);
        let later = start + Duration::from_secs(3);
        assert_eq!(waits.text(later).as_deref(), Some("asking a.example, 15 s"));
        let answer = HostAttempt {
            host: "a.example".to_owned(),
            request: "HEAD manifests/1".to_owned(),
            outcome: "200 OK".to_owned(),
            duration: Duration::from_secs(15),
        };
        waits.event(&Event::Attempt(answer), later);
        assert_eq!(waits.text(later).as_deref(), Some("asking b.example, 5 s"));
    }
}
