//! Progress as plain lines, fit for a log: a line a step, and while bytes flow one every few seconds.

use std::time::{Duration, Instant};

use super::board::Board;
use super::printer::Printer;
use super::renderer::Renderer;
use super::summary::Summary;
use super::units;
use super::waits::asking;
use crate::failure::printable;
use crate::progress::{BlobKind, BlobState, Event, HostAttempt};

/// Time between two lines about the whole.
const INTERVAL: Duration = Duration::from_secs(5);

/// Writes lines to standard error.
pub(super) struct Lines {
    printer: Printer,
    attempts: bool,
    board: Board,
    last_line: Instant,
    last_moved: u64,
    /// When the first byte came: what was waited before says nothing about the speed.
    flowing_since: Option<Instant>,
    last_tick: Instant,
}

impl Lines {
    /// With `attempts`, each request and each layer gets a line too.
    pub(super) fn new(printer: Printer, attempts: bool, now: Instant) -> Self {
        Self {
            printer,
            attempts,
            board: Board::default(),
            last_line: now,
            last_moved: 0,
            flowing_since: None,
            last_tick: now,
        }
    }

    fn overall(&mut self, now: Instant) {
        let totals = self.board.totals();
        let since = self.flowing_since.unwrap_or(now).max(self.last_line);
        let moved = totals.moved_bytes.saturating_sub(self.last_moved);
        let speed = units::speed(moved, now.saturating_duration_since(since));
        self.last_line = now;
        self.last_moved = totals.moved_bytes;
        if totals.blobs == totals.blobs_finished {
            return;
        }
        self.printer.err(&format!(
            "{} of {}, {}, {} of {} blobs done",
            units::bytes(totals.position_bytes),
            units::bytes(totals.size_bytes),
            speed.unwrap_or_else(|| "no bytes arriving".to_owned()),
            totals.blobs_finished,
            totals.blobs,
        ));
    }
}

impl Renderer for Lines {
    fn event(&mut self, event: &Event) {
        self.board.event(event);
        if let Some(line) = step(event) {
            self.printer.err(&line);
        } else if self.attempts
            && let Some(line) = detail(event)
        {
            self.printer.err(&line);
        }
    }

    fn tick(&mut self, now: Instant) {
        if self.flowing_since.is_none() && self.board.totals().moved_bytes > 0 {
            // It came since the last call, a tenth of a second ago.
            self.flowing_since = Some(self.last_tick);
        }
        self.last_tick = now;
        if now - self.last_line >= INTERVAL {
            self.overall(now);
        }
    }

    fn finish(&mut self, summary: Option<&Summary>, _now: Instant) {
        if let Some(summary) = summary {
            self.printer.err(&summary.text());
        }
    }
}

/// The line of an event that is a step of an image.
fn step(event: &Event) -> Option<String> {
    match event {
        Event::Resolved { image, digest, host } => {
            Some(format!("{image}: resolved to {digest} by {host}"))
        }
        Event::Planned { image, platforms, blobs, total_bytes } => Some(format!(
            "{image}: {}, {blobs} {}, {}",
            printable(&platforms.join(", ")),
            if *blobs == 1 { "blob" } else { "blobs" },
            units::bytes(*total_bytes)
        )),
        Event::Waiting { host, waited, .. } => Some(printable(&asking(host, *waited))),
        _ => None,
    }
}

/// The line of an event that only `-v` shows.
fn detail(event: &Event) -> Option<String> {
    match event {
        Event::Attempt(attempt) => Some(attempt_line(attempt)),
        Event::Blob { digest, kind, size_bytes, state, resumed_bytes } => {
            let resumed = match resumed_bytes {
                0 => String::new(),
                bytes => format!(", resumed at {}", units::bytes(*bytes)),
            };
            let (kind, state) = (kind_name(*kind), state_name(*state));
            let size = units::bytes(*size_bytes);
            Some(format!("{kind} {}: {state}, {size}{resumed}", digest.short()))
        }
        _ => None,
    }
}

/// `mirror.local: HEAD manifests/3.6: 200 OK (12 ms)`.
pub(super) fn attempt_line(attempt: &HostAttempt) -> String {
    printable(&format!(
        "{}: {}: {} ({})",
        attempt.host,
        attempt.request,
        attempt.outcome,
        units::duration(attempt.duration)
    ))
}

pub(super) fn kind_name(kind: BlobKind) -> &'static str {
    match kind {
        BlobKind::Index => "index",
        BlobKind::Manifest => "manifest",
        BlobKind::Config => "config",
        BlobKind::Layer => "layer",
    }
}

pub(super) fn state_name(state: BlobState) -> &'static str {
    match state {
        BlobState::Waiting => "waiting",
        BlobState::Downloading => "downloading",
        BlobState::Uploading => "uploading",
        BlobState::Reading => "reading",
        BlobState::Verifying => "verifying",
        BlobState::AwaitingLowerLayers => "waits for lower layers",
        BlobState::Unpacking => "unpacking",
        BlobState::Done => "done",
        BlobState::Exists => "exists",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;
    use crate::output::printer::captured;

    fn layer(name: &str, state: BlobState) -> Event {
        Event::Blob {
            digest: Digest::of(name.as_bytes()),
            kind: BlobKind::Layer,
            size_bytes: 100 << 20,
            state,
            resumed_bytes: 0,
        }
    }

    #[test]
    fn the_time_before_the_first_byte_and_what_was_there_are_no_part_of_the_speed() {
        let (printer, _, stderr) = captured::printer();
        let start = Instant::now();
        let mut lines = Lines::new(printer, false, start);
        let mut layer = layer("a", BlobState::Downloading);
        if let Event::Blob { resumed_bytes, .. } = &mut layer {
            *resumed_bytes = 50 << 20;
        }
        lines.event(&layer);
        lines.tick(start + Duration::from_secs(3));
        lines.event(&Event::Received { digest: Digest::of(b"a"), delta_bytes: 20 << 20 });
        lines.tick(start + Duration::from_secs(5));
        assert_eq!(stderr.text(), "70.00 MiB of 100.00 MiB, 10.00 MiB/s, 0 of 1 blobs done\n");
    }

    #[test]
    fn a_host_that_does_not_answer_is_named() {
        let (printer, _, stderr) = captured::printer();
        let mut lines = Lines::new(printer, false, Instant::now());
        lines.event(&Event::Waiting {
            host: "mirror.example".to_owned(),
            request: "HEAD manifests/1".to_owned(),
            waited: Duration::from_millis(12_030),
        });
        assert_eq!(stderr.text(), "asking mirror.example, 12 s\n");
    }

    #[test]
    fn a_long_download_gets_a_line_every_few_seconds() {
        let (printer, _, stderr) = captured::printer();
        let start = Instant::now();
        let mut lines = Lines::new(printer, false, start);
        for name in ["a", "b"] {
            lines.event(&layer(name, BlobState::Downloading));
        }
        for second in 1..=11 {
            let second = Duration::from_secs(second);
            if second <= Duration::from_secs(5) {
                lines.event(&Event::Received { digest: Digest::of(b"a"), delta_bytes: 10 << 20 });
            }
            lines.tick(start + second);
        }
        for name in ["a", "b"] {
            lines.event(&layer(name, BlobState::Done));
        }
        lines.tick(start + Duration::from_secs(20));
        assert_eq!(
            stderr.text(),
            "50.00 MiB of 200.00 MiB, 10.00 MiB/s, 0 of 2 blobs done\n\
             50.00 MiB of 200.00 MiB, no bytes arriving, 0 of 2 blobs done\n"
        );
    }
}
