//! Progress as JSON, one event a line, for scripts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::printer::Printer;
use super::progress::Renderer;
use super::report::Summary;
use crate::oci::Digest;
use crate::progress::Event;

/// Shortest time between two `received` events of one blob that downloads on.
const INTERVAL: Duration = Duration::from_secs(1);

/// Writes the events to standard error as they stand; only received bytes are summed up.
pub(super) struct Json {
    printer: Printer,
    /// Received and not told yet.
    received: BTreeMap<Digest, u64>,
    last_flush: Instant,
}

impl Json {
    pub(super) fn new(printer: Printer, now: Instant) -> Self {
        Self { printer, received: BTreeMap::new(), last_flush: now }
    }

    fn write(&self, event: &impl Serialize) {
        match serde_json::to_string(event) {
            Ok(line) => self.printer.err(&line),
            Err(error) => tracing::warn!(%error, "an event can't be written as JSON"),
        }
    }

    fn tell_received(&self, digest: Digest, delta_bytes: u64) {
        self.write(&Event::Received { digest, delta_bytes });
    }

    fn tell_all_received(&mut self) {
        for (digest, delta_bytes) in std::mem::take(&mut self.received) {
            self.tell_received(digest, delta_bytes);
        }
    }
}

impl Renderer for Json {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Received { digest, delta_bytes } => {
                *self.received.entry(*digest).or_default() += delta_bytes;
                return;
            }
            // The bytes of a download are told before what follows it.
            Event::Blob { digest, .. } => {
                if let Some(delta_bytes) = self.received.remove(digest) {
                    self.tell_received(*digest, delta_bytes);
                }
            }
            _ => {}
        }
        self.write(event);
    }

    fn tick(&mut self, now: Instant) {
        if now - self.last_flush >= INTERVAL {
            self.last_flush = now;
            self.tell_all_received();
        }
    }

    fn finish(&mut self, summary: Option<&Summary>, _now: Instant) {
        self.tell_all_received();
        if let Some(summary) = summary {
            self.write(summary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::printer::captured;
    use crate::progress::{BlobKind, BlobState};

    #[test]
    fn a_downloads_bytes_are_told_once_a_second_and_before_its_end() {
        let (printer, _, stderr) = captured::printer();
        let start = Instant::now();
        let digest = Digest::of(b"");
        let blob = |state| Event::Blob {
            digest,
            kind: BlobKind::Layer,
            size_bytes: 9,
            state,
            resumed_bytes: 0,
        };
        let received = |delta_bytes| Event::Received { digest, delta_bytes };
        let mut json = Json::new(printer, start);
        json.event(&blob(BlobState::Downloading));
        json.event(&received(2));
        json.tick(start + Duration::from_millis(900));
        json.event(&received(3));
        json.tick(start + Duration::from_millis(1100));
        json.event(&received(4));
        json.event(&blob(BlobState::Done));
        json.finish(None, start + Duration::from_millis(1300));

        let line = |text: &str| text.replace("DIGEST", &digest.to_string());
        let blob_line = |state: &str| {
            line(&format!(
                r#"{{"event":"blob","digest":"DIGEST","kind":"layer","size_bytes":9,"state":"{state}","resumed_bytes":0}}"#
            ))
        };
        assert_eq!(
            stderr.text().lines().collect::<Vec<_>>(),
            [
                blob_line("downloading"),
                line(r#"{"event":"received","digest":"DIGEST","delta_bytes":5}"#),
                line(r#"{"event":"received","digest":"DIGEST","delta_bytes":4}"#),
                blob_line("done"),
            ]
        );
    }
}
