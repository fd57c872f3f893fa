//! Progress as JSON, one event a line, for scripts.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::moved::Moved;
use super::printer::Printer;
use super::renderer::Renderer;
use super::summary::Summary;
use crate::failure::json_escaped;
use crate::progress::Event;

/// Shortest time between two `received` events of one blob that downloads on.
const INTERVAL: Duration = Duration::from_secs(1);

/// Writes the events to standard error as they stand; only received bytes are summed up.
pub(super) struct Json {
    printer: Printer,
    moved: Moved,
    last_flush: Instant,
}

impl Json {
    pub(super) fn new(printer: Printer, now: Instant) -> Self {
        Self { printer, moved: Moved::default(), last_flush: now }
    }

    fn write(&self, event: &impl Serialize) {
        match serde_json::to_string(event) {
            Ok(line) => self.printer.err(&json_escaped(&line)),
            Err(error) => tracing::warn!(%error, "an event can't be written as JSON"),
        }
    }

    fn write_all(&self, events: &[Event]) {
        for event in events {
            self.write(event);
        }
    }
}

impl Renderer for Json {
    fn event(&mut self, event: &Event) {
        if !self.moved.count(event) {
            // The bytes of a download are told before what follows it.
            let moved = self.moved.before(event);
            self.write_all(&moved);
            self.write(event);
        }
    }

    fn tick(&mut self, now: Instant) {
        if now - self.last_flush >= INTERVAL {
            self.last_flush = now;
            let moved = self.moved.take();
            self.write_all(&moved);
        }
    }

    fn finish(&mut self, summary: Option<&Summary>, _now: Instant) {
        let moved = self.moved.take();
        self.write_all(&moved);
        if let Some(summary) = summary {
            self.write(summary);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::failure::{Diagnose, Diagnostic, Failure, Notice};
    use crate::oci::Digest;
    use crate::output::printer::captured;
    use crate::progress::{BlobKind, BlobState, HostAttempt, TransferReport, Verb};

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

    #[derive(Debug, thiserror::Error)]
    #[error("text")]
    struct Plain;

    impl Diagnose for Plain {
        fn failure(&self) -> Failure {
            Failure::Other
        }

        fn hint(&self) -> Option<String> {
            None
        }
    }

    /// One event of each kind, and the summary, as JSON.
    fn one_of_each() -> Vec<Value> {
        let digest = Digest::of(b"");
        let duration = Duration::from_millis(1);
        let text = || "text".to_owned();
        let events = [
            Event::Started { image: text() },
            Event::Resolved { image: text(), digest, host: text() },
            Event::Planned { image: text(), platforms: vec![text()], blobs: 1, total_bytes: 1 },
            Event::Blob {
                digest,
                kind: BlobKind::Layer,
                size_bytes: 1,
                state: BlobState::Waiting,
                resumed_bytes: 0,
            },
            Event::Received { digest, delta_bytes: 1 },
            Event::Sent { digest, delta_bytes: 1 },
            Event::Attempt(HostAttempt {
                host: text(),
                request: text(),
                outcome: text(),
                duration,
            }),
            Event::Waiting { host: text(), request: text(), waited: duration },
            Event::Warning(Notice::new("code", text())),
            Event::Finished(TransferReport {
                image: text(),
                digest,
                fetched_bytes: 1,
                reused_bytes: 0,
                sent_bytes: 0,
                unpacked_bytes: 0,
                duration,
                kubelet: Some(crate::progress::Seen { seen: false, reason: Some(text()) }),
            }),
            Event::Failed { image: text(), diagnostic: Diagnostic::of(&Plain) },
        ];
        // A kind of event that is new here belongs into the list above, too.
        for event in &events {
            match event {
                Event::Started { .. }
                | Event::Resolved { .. }
                | Event::Planned { .. }
                | Event::Blob { .. }
                | Event::Received { .. }
                | Event::Sent { .. }
                | Event::Attempt(_)
                | Event::Waiting { .. }
                | Event::Warning(_)
                | Event::Finished(_)
                | Event::Failed { .. } => {}
            }
        }
        let summary = Summary {
            verb: Verb::Pull,
            images: 2,
            done: 1,
            failed: vec![text()],
            moved: crate::output::summary::Moved::default(),
            duration_ms: 1,
        };
        let events = events.iter().map(|event| serde_json::to_value(event).unwrap());
        events.chain([serde_json::to_value(summary).unwrap()]).collect()
    }

    /// The words of `text` that are set as code.
    fn code_words(text: &str) -> Vec<&str> {
        text.split('`').skip(1).step_by(2).collect()
    }

    /// The rows of README's table of events: name, other members, when.
    fn readme_rows() -> Vec<[&'static str; 3]> {
        let (_, section) = include_str!("../../README.md").split_once("## JSON events").unwrap();
        let rows = section.lines().skip_while(|line| !line.starts_with("|---"));
        rows.skip(1)
            .take_while(|line| line.starts_with('|'))
            .map(|row| row.trim_matches('|').splitn(3, '|').collect::<Vec<_>>())
            .map(|cells| cells.try_into().unwrap())
            .collect()
    }

    #[test]
    fn readme_lists_every_event_with_its_members() {
        let documented: Vec<Vec<&str>> = readme_rows()
            .iter()
            .map(|[name, members, _]| [code_words(name), code_words(members)].concat())
            .collect();
        let events = one_of_each();
        let written: Vec<Vec<&str>> = events
            .iter()
            .map(|event| {
                let members = event.as_object().unwrap().keys().map(String::as_str);
                let name = event["event"].as_str().unwrap();
                std::iter::once(name).chain(members.filter(|member| *member != "event")).collect()
            })
            .collect();
        assert_eq!(documented, written);
    }

    #[test]
    fn readme_lists_every_state_of_a_blob() {
        use BlobState::{
            AwaitingLowerLayers, Done, Downloading, Exists, Reading, Unpacking, Uploading,
            Verifying, Waiting,
        };
        let states = [
            Waiting,
            Downloading,
            Uploading,
            Reading,
            Verifying,
            AwaitingLowerLayers,
            Unpacking,
            Done,
            Exists,
        ];
        for state in states {
            match state {
                Waiting | Downloading | Uploading | Reading | Verifying | AwaitingLowerLayers
                | Unpacking | Done | Exists => {}
            }
        }
        let rows = readme_rows();
        let [_, _, when] = rows.iter().find(|[name, ..]| name.contains("`blob`")).unwrap();
        let written = states.map(|state| serde_json::to_value(state).unwrap());
        let documented: Vec<&str> = code_words(when)
            .into_iter()
            .filter(|word| !matches!(*word, "layer" | "resumed_bytes"))
            .collect();
        assert_eq!(documented, written);
    }
}
