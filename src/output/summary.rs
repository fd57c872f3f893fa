//! What a run did, as the last lines that it writes.

use std::time::Duration;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::units;
use crate::failure::printable;
use crate::progress::{Seen, TransferReport, Verb};

/// `docker.io/library/busybox:latest@sha256:… fetched 2.15 MiB, reused 0 B in 1.2 s (1.79 MiB/s)`.
pub(super) fn finished(report: &TransferReport, verb: Verb) -> String {
    let mut moved = Moved::default();
    moved.add(report);
    let text = moved.text(report.duration, verb);
    format!("{} {} {text}{}", report.image, report.digest, seen(report))
}

/// `, the kubelet sees it`, where it was asked.
fn seen(report: &TransferReport) -> String {
    match &report.kubelet {
        None => String::new(),
        Some(Seen { seen: true, .. }) => ", the kubelet sees it".to_owned(),
        Some(Seen { reason, .. }) => {
            let reason = reason.as_deref().unwrap_or("no reason is known");
            printable(&format!(", the kubelet does not see it: {reason}"))
        }
    }
}

/// Bytes of one image or of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Moved {
    /// Bytes that came over the network.
    pub(super) fetched_bytes: u64,
    /// Bytes that were there already.
    pub(super) reused_bytes: u64,
    /// Bytes that went out over the network.
    pub(super) sent_bytes: u64,
    /// What was unpacked of them, in bytes of files.
    pub(super) unpacked_bytes: u64,
}

impl Moved {
    pub(super) fn add(&mut self, report: &TransferReport) {
        self.fetched_bytes = self.fetched_bytes.saturating_add(report.fetched_bytes);
        self.reused_bytes = self.reused_bytes.saturating_add(report.reused_bytes);
        self.sent_bytes = self.sent_bytes.saturating_add(report.sent_bytes);
        self.unpacked_bytes = self.unpacked_bytes.saturating_add(report.unpacked_bytes);
    }

    /// `fetched 2.15 MiB, reused 0 B, unpacked 4.30 MiB in 1.2 s (1.79 MiB/s)`; `sent` and `unpacked`
    /// where something was.
    fn text(&self, duration: Duration, verb: Verb) -> String {
        let Self { fetched_bytes, reused_bytes, sent_bytes, unpacked_bytes } = *self;
        let moved = fetched_bytes.max(sent_bytes);
        // Of an image that was there, the time says nothing about the network.
        let speed = units::speed(moved, duration).filter(|_| moved >= reused_bytes);
        let (fetched, reused) = match verb {
            // It comes from this machine, and images share what is in an archive already.
            Verb::Save => ("saved", "shared"),
            _ => ("fetched", "reused"),
        };
        let mut parts = Vec::new();
        // A push whose blobs are all there sends none.
        let sends = sent_bytes > 0 || verb == Verb::Push;
        if !sends || fetched_bytes > 0 {
            parts.push(format!("{fetched} {}", units::bytes(fetched_bytes)));
        }
        if sends {
            parts.push(format!("sent {}", units::bytes(sent_bytes)));
        }
        parts.push(format!("{reused} {}", units::bytes(reused_bytes)));
        if unpacked_bytes > 0 {
            parts.push(format!("unpacked {}", units::bytes(unpacked_bytes)));
        }
        let speed = speed.map(|speed| format!(" ({speed})")).unwrap_or_default();
        format!("{} in {}{speed}", parts.join(", "), units::duration(duration))
    }
}

/// What became of several images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    /// What was done.
    pub(super) verb: Verb,
    /// Images that were begun.
    pub(super) images: usize,
    /// Those in place.
    pub(super) done: usize,
    /// The others, in the order in which they failed.
    pub(super) failed: Vec<String>,
    /// The bytes of those in place.
    pub(super) moved: Moved,
    /// Wall-clock time of the whole run.
    pub(super) duration_ms: u64,
}

/// As an event; how many are in place stands under `pulled`, `pushed`, ….
impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Moved { fetched_bytes, reused_bytes, sent_bytes, unpacked_bytes } = self.moved;
        let mut members = serializer.serialize_struct("Summary", 9)?;
        members.serialize_field("event", "summary")?;
        members.serialize_field("images", &self.images)?;
        members.serialize_field(self.verb.participle(), &self.done)?;
        members.serialize_field("failed", &self.failed)?;
        members.serialize_field("fetched_bytes", &fetched_bytes)?;
        members.serialize_field("reused_bytes", &reused_bytes)?;
        members.serialize_field("sent_bytes", &sent_bytes)?;
        members.serialize_field("unpacked_bytes", &unpacked_bytes)?;
        members.serialize_field("duration_ms", &self.duration_ms)?;
        members.end()
    }
}

impl Summary {
    /// The lines for people: one, and one more for each image that failed.
    pub(super) fn text(&self) -> String {
        let duration = Duration::from_millis(self.duration_ms);
        let (done, moved) = (self.verb.participle(), self.moved.text(duration, self.verb));
        let mut text = format!("{} of {} images {done}: {moved}", self.done, self.images);
        for image in &self.failed {
            text.push_str("\nfailed: ");
            text.push_str(image);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_told_and_what_was_there_has_no_rate() {
        let moved = |fetched_bytes, reused_bytes, sent_bytes| {
            Moved { fetched_bytes, reused_bytes, sent_bytes, ..Moved::default() }
                .text(Duration::from_secs(2), Verb::Copy)
        };
        assert_eq!(moved(0, 0, 4 << 20), "sent 4.00 MiB, reused 0 B in 2.0 s (2.00 MiB/s)");
        assert_eq!(
            moved(1 << 20, 0, 1 << 20),
            "fetched 1.00 MiB, sent 1.00 MiB, reused 0 B in 2.0 s (512.00 KiB/s)"
        );
        assert_eq!(moved(500, 4 << 20, 0), "fetched 500 B, reused 4.00 MiB in 2.0 s");
        let again = Moved { reused_bytes: 500, ..Moved::default() };
        assert_eq!(
            again.text(Duration::from_secs(1), Verb::Push),
            "sent 0 B, reused 500 B in 1.0 s"
        );
    }

    #[test]
    fn what_was_unpacked_is_told() {
        let moved = Moved { fetched_bytes: 1 << 20, unpacked_bytes: 3 << 20, ..Moved::default() };
        let text = moved.text(Duration::from_secs(1), Verb::Pull);
        let expected = "fetched 1.00 MiB, reused 0 B, unpacked 3.00 MiB in 1.0 s (1.00 MiB/s)";
        assert_eq!(text, expected);
    }

    #[test]
    fn each_verb_has_its_word() {
        let verbs = [Verb::Pull, Verb::Push, Verb::Save, Verb::Load, Verb::Copy];
        let words = ["pulled", "pushed", "saved", "loaded", "copied"];
        for (verb, word) in verbs.into_iter().zip(words) {
            let summary = Summary {
                verb,
                images: 2,
                done: 1,
                failed: vec!["a".to_owned()],
                moved: Moved::default(),
                duration_ms: 1,
            };
            assert!(summary.text().starts_with(&format!("1 of 2 images {word}: ")));
            assert_eq!(serde_json::to_value(&summary).unwrap()[word], 1);
        }
    }
}
