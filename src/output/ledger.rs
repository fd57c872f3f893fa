//! Follows a run's events and writes what counts at once: results, failures, warnings.

use std::collections::HashSet;
use std::time::Instant;

use super::printer::{Error, Printer};
use super::summary::{Moved, Summary, finished};
use crate::progress::{Event, TransferReport, Verb};

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResultStyle {
    /// Image, digest, bytes, time and speed.
    Line,
    /// The digest alone.
    Digest,
    /// Nothing: the events tell it.
    Silent,
}

/// Follows the events and writes results, failures, warnings and, at the end of a batch, the
/// summary's data.
pub(super) struct Ledger {
    printer: Printer,
    style: ResultStyle,
    /// Whether results go to standard error.
    aside: bool,
    remarks: bool,
    began: Instant,
    images: HashSet<String>,
    verb: Verb,
    done: usize,
    failed: Vec<String>,
    moved: Moved,
    warned: HashSet<String>,
    broken: Option<Error>,
}

impl Ledger {
    /// With `remarks`, warnings and failures are written as text.
    pub(super) fn new(
        printer: Printer,
        style: ResultStyle,
        remarks: bool,
        verb: Verb,
        now: Instant,
    ) -> Self {
        Self {
            printer,
            style,
            aside: false,
            remarks,
            began: now,
            images: HashSet::new(),
            verb,
            done: 0,
            failed: Vec::new(),
            moved: Moved::default(),
            warned: HashSet::new(),
            broken: None,
        }
    }

    /// The same with results on standard error, if they are to go there.
    pub(super) fn aside(self, aside: bool) -> Self {
        Self { aside, ..self }
    }

    pub(super) fn event(&mut self, event: &Event) {
        match event {
            Event::Started { image } => {
                self.images.insert(image.clone());
            }
            Event::Finished(report) => self.finished(report),
            Event::Failed { image, diagnostic } => {
                self.failed.push(image.clone());
                // Images that fail together, for want of room for instance, fail for one reason.
                if self.remarks && self.warned.insert(diagnostic.one_line()) {
                    self.printer.diagnostic(diagnostic);
                }
            }
            // Fifty images behind one misconfigured mirror deserve one warning.
            Event::Warning(notice) if self.remarks && self.warned.insert(notice.to_string()) => {
                self.printer.warning(notice);
            }
            _ => {}
        }
    }

    fn finished(&mut self, report: &TransferReport) {
        self.done += 1;
        self.moved.add(report);
        let result = match self.style {
            ResultStyle::Line => finished(report, self.verb),
            ResultStyle::Digest => report.digest.to_string(),
            ResultStyle::Silent => return,
        };
        if self.aside {
            return self.printer.err(&result);
        }
        let written = self.printer.out(&result);
        if let (Err(error), None) = (written, &self.broken) {
            self.broken = Some(error);
        }
    }

    /// The summary; `None` for a single image, whose own last line says it all.
    pub(super) fn summary(&self, now: Instant) -> Option<Summary> {
        (self.images.len() > 1).then(|| Summary {
            images: self.images.len(),
            verb: self.verb,
            done: self.done,
            failed: self.failed.clone(),
            moved: self.moved,
            duration_ms: u64::try_from((now - self.began).as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// The first failure to write a result.
    pub(super) fn close(self) -> Result<(), Error> {
        self.broken.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::failure::{Diagnose, Diagnostic, Failure, Notice};
    use crate::oci::Digest;
    use crate::output::printer::captured;

    #[derive(Debug, thiserror::Error)]
    #[error("not found")]
    struct NotFound;

    impl Diagnose for NotFound {
        fn failure(&self) -> Failure {
            Failure::NotFound
        }

        fn hint(&self) -> Option<String> {
            None
        }
    }

    fn report(image: &str) -> TransferReport {
        TransferReport {
            image: image.to_owned(),
            digest: Digest::of(b""),
            fetched_bytes: 4 << 20,
            reused_bytes: 1 << 20,
            sent_bytes: 0,
            unpacked_bytes: 0,
            duration: Duration::from_secs(2),
            kubelet: None,
        }
    }

    fn run(ledger: &mut Ledger, events: Vec<Event>) {
        for event in &events {
            ledger.event(event);
        }
    }

    fn started(image: &str) -> Event {
        Event::Started { image: image.to_owned() }
    }

    #[test]
    fn the_last_line_tells_image_digest_bytes_time_and_speed() {
        assert_eq!(
            finished(&report("docker.io/library/busybox:latest"), Verb::Pull),
            "docker.io/library/busybox:latest \
             sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 \
             fetched 4.00 MiB, reused 1.00 MiB in 2.0 s (2.00 MiB/s)"
        );
    }

    #[test]
    fn quiet_writes_the_digest_alone() {
        let (printer, stdout, stderr) = captured::printer();
        let mut ledger =
            Ledger::new(printer, ResultStyle::Digest, true, Verb::Pull, Instant::now());
        run(&mut ledger, vec![started("a"), Event::Finished(report("a"))]);
        assert_eq!(stdout.text(), format!("{}\n", Digest::of(b"")));
        assert_eq!(stderr.text(), "");
    }

    #[test]
    fn one_image_needs_no_summary_and_several_get_one() {
        let (printer, ..) = captured::printer();
        let now = Instant::now();
        let mut ledger = Ledger::new(printer, ResultStyle::Silent, true, Verb::Pull, now);
        run(&mut ledger, vec![started("a"), Event::Finished(report("a"))]);
        assert_eq!(ledger.summary(now), None);

        let failed = Event::Failed { image: "b".to_owned(), diagnostic: Diagnostic::of(&NotFound) };
        run(&mut ledger, vec![started("b"), failed]);
        let summary = ledger.summary(now + Duration::from_secs(4)).unwrap();
        assert_eq!(
            summary.text(),
            "1 of 2 images pulled: fetched 4.00 MiB, reused 1.00 MiB in 4.0 s (1.00 MiB/s)\n\
             failed: b"
        );
        assert_eq!(
            serde_json::to_value(&summary).unwrap(),
            serde_json::json!({
                "event": "summary",
                "images": 2,
                "pulled": 1,
                "failed": ["b"],
                "fetched_bytes": 4 << 20,
                "reused_bytes": 1 << 20,
                "sent_bytes": 0,
                "unpacked_bytes": 0,
                "duration_ms": 4000,
            })
        );
    }

    #[test]
    fn a_warning_is_written_once() {
        let (printer, _, stderr) = captured::printer();
        let mut ledger = Ledger::new(printer, ResultStyle::Line, true, Verb::Pull, Instant::now());
        let notice = Notice::new("unknown-key", "hosts.toml: unknown key capabilites");
        let warning = Event::Warning(notice);
        run(&mut ledger, vec![warning.clone(), warning]);
        assert_eq!(stderr.text(), "warning: hosts.toml: unknown key capabilites\n");
    }
}
