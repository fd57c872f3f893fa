//! What the last round of seeding did, as a file for probes and one for Prometheus.
//!
//! The second is in the [text format](https://prometheus.io/docs/instrumenting/exposition_formats/)
//! that node_exporter's textfile collector reads.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::file::replace_file;
use super::tally::Counts;
use super::units;

/// Longest status file that is read, in bytes (64 KiB). Ours have less than one.
const MAX_BYTES: u64 = 64 << 10;

/// What the last round of seeding did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Rounds that have ended since the process began.
    pub rounds: u64,
    /// When the last one began; `None` before the first has ended.
    pub began: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Images that were wanted.
    pub wanted: usize,
    /// Those that are in place.
    pub present: usize,
    /// Bytes that came over the network.
    pub fetched_bytes: u64,
    /// Bytes of files that were unpacked.
    pub unpacked_bytes: u64,
    /// Failures by kind, `not-found`, `unreachable`, …
    pub failures: BTreeMap<String, usize>,
    /// What ended the round before its images, if something did.
    pub error: Option<String>,
    /// The exit code that the round alone would have had.
    pub exit_code: u8,
    /// When everything was in place last, by this process or the one before it.
    pub last_success: Option<Timestamp>,
    /// When the next round begins at the earliest.
    pub next: Option<Timestamp>,
}

impl Status {
    /// Reads the status that an earlier process, or this one, has written.
    ///
    /// # Errors
    /// When the file can't be read, or is none of ours.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut text = String::new();
        File::open(path)?.take(MAX_BYTES).read_to_string(&mut text)?;
        serde_json::from_str(&text).map_err(io::Error::from)
    }

    /// Takes over what a round came to.
    pub fn count(&mut self, counts: Counts) {
        self.wanted = counts.wanted();
        let Counts { present, fetched_bytes, unpacked_bytes, failures, .. } = counts;
        (self.present, self.fetched_bytes, self.unpacked_bytes) =
            (present, fetched_bytes, unpacked_bytes);
        self.failures = failures;
    }

    /// Whether a round has ended and all is in place.
    pub fn is_seeded(&self) -> bool {
        self.ended.is_some() && self.exit_code == 0
    }

    /// Writes the status as JSON; readers see the old one or the new one, whole.
    ///
    /// # Errors
    /// When the directory can't be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let json = serde_json::to_string_pretty(self).map_err(io::Error::from)?;
        replace_file(path, &format!("{json}\n"))
    }

    /// Writes the status for Prometheus, likewise.
    ///
    /// # Errors
    /// When the directory can't be written.
    pub fn write_metrics(&self, path: &Path) -> io::Result<()> {
        replace_file(path, &self.metrics())
    }

    fn metrics(&self) -> String {
        let seconds = |time: Option<Timestamp>| time.map_or(0, Timestamp::as_second);
        let lasted = match (self.began, self.ended) {
            (Some(began), Some(ended)) => ended.duration_since(began).as_secs_f64(),
            _ => 0.0,
        };
        let failed: usize = self.failures.values().sum();
        let mut text = String::new();
        let mut gauge = |name: &str, help: &str, value: &dyn fmt::Display| {
            let _ = write!(
                text,
                "# HELP pullctl_{name} {help}\n# TYPE pullctl_{name} gauge\npullctl_{name} {value}\n"
            );
        };
        gauge("images_wanted", "Images that the last round was to bring.", &self.wanted);
        gauge("images_present", "Images of them that are in place.", &self.present);
        gauge("failures", "Failures of the last round.", &failed);
        gauge("fetched_bytes", "Bytes that the last round fetched.", &self.fetched_bytes);
        gauge("unpacked_bytes", "Bytes that the last round unpacked.", &self.unpacked_bytes);
        gauge("exit_code", "Exit code of the last round.", &self.exit_code);
        gauge("round_duration_seconds", "How long the last round took.", &lasted);
        gauge("last_round_timestamp_seconds", "When it ended.", &seconds(self.ended));
        gauge(
            "last_success_timestamp_seconds",
            "When everything was in place last.",
            &seconds(self.last_success),
        );
        let name = "pullctl_failures_by_kind";
        let _ = write!(
            text,
            "# HELP {name} Failures of the last round, by kind.\n# TYPE {name} gauge\n"
        );
        for (kind, count) in &self.failures {
            let _ = writeln!(text, "{name}{{kind=\"{kind}\"}} {count}");
        }
        text
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(ended) = self.ended else {
            return f.write_str("the first round has not ended");
        };
        let Self { wanted, present, .. } = self;
        write!(f, "{present} of {wanted} images in place at {ended:.0}")?;
        write!(f, ", fetched {}", units::bytes(self.fetched_bytes))?;
        for (kind, count) in &self.failures {
            write!(f, "\n{count} failed: {kind}")?;
        }
        if let Some(error) = &self.error {
            write!(f, "\nerror: {error}")?;
        }
        if let (Some(success), false) = (self.last_success, self.is_seeded()) {
            write!(f, "\nall was in place last at {success:.0}")?;
        }
        self.next.map_or(Ok(()), |next| write!(f, "\nthe next round begins at {next:.0}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use crate::output::tally::Tally;
    use crate::progress::{Event, Sink as _};

    fn failed_round() -> Status {
        let time = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        let tally = Tally::default();
        for image in ["a", "b"] {
            tally.event(Event::Started { image: image.to_owned() });
        }
        let mut counts = tally.counts();
        (counts.present, counts.fetched_bytes) = (1, 2048);
        counts.fail(Failure::NotFound);
        let mut status = Status {
            rounds: 3,
            began: time("2026-11-28T10:00:00Z"),
            ended: time("2026-11-28T10:00:02.5Z"),
            exit_code: 11,
            last_success: time("2026-11-28T04:00:00Z"),
            next: time("2026-11-28T10:01:02Z"),
            ..Status::default()
        };
        status.count(counts);
        status
    }

    #[test]
    fn what_was_written_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("status.json");
        failed_round().write(&path).unwrap();
        assert_eq!(Status::read(&path).unwrap(), failed_round());
    }

    #[test]
    fn text_says_what_failed_and_when_all_was_well() {
        assert_eq!(
            failed_round().to_string(),
            "1 of 2 images in place at 2026-11-28T10:00:02Z, fetched 2.00 KiB\n\
             1 failed: not-found\n\
             all was in place last at 2026-11-28T04:00:00Z\n\
             the next round begins at 2026-11-28T10:01:02Z"
        );
        assert_eq!(Status::default().to_string(), "the first round has not ended");
    }

    #[test]
    fn metrics_are_in_the_text_format() {
        let metrics = failed_round().metrics();
        for line in [
            "# TYPE pullctl_images_present gauge",
            "pullctl_images_present 1",
            "pullctl_failures 1",
            "pullctl_failures_by_kind{kind=\"not-found\"} 1",
            "pullctl_round_duration_seconds 2.5",
            "pullctl_last_success_timestamp_seconds 1795838400",
        ] {
            assert!(metrics.lines().any(|written| written == line), "{line} in {metrics}");
        }
    }

    #[test]
    fn a_file_that_is_no_status_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("status.json");
        std::fs::write(&path, "{}").unwrap();
        assert!(Status::read(&path).is_err());
    }
}
