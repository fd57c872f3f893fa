//! What a run did, as the last lines that it writes.

use std::time::Duration;

use serde::Serialize;

use super::units;
use crate::progress::PullReport;

/// `docker.io/library/busybox:latest@sha256:… fetched 2.15 MiB, reused 0 B in 1.2 s (1.79 MiB/s)`.
pub(super) fn finished(report: &PullReport) -> String {
    let PullReport { image, digest, fetched_bytes, reused_bytes, duration } = report;
    format!("{image} {digest} {}", transfer(*fetched_bytes, *reused_bytes, *duration))
}

fn transfer(fetched_bytes: u64, reused_bytes: u64, duration: Duration) -> String {
    // Of an image that was there, the time says nothing about the network.
    let speed = units::speed(fetched_bytes, duration).filter(|_| fetched_bytes >= reused_bytes);
    format!(
        "fetched {}, reused {} in {}{}",
        units::bytes(fetched_bytes),
        units::bytes(reused_bytes),
        units::duration(duration),
        speed.map(|speed| format!(" ({speed})")).unwrap_or_default()
    )
}

/// What became of several images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename = "summary")]
pub(super) struct Summary {
    /// Images that were begun.
    pub(super) images: usize,
    /// Those in place.
    pub(super) pulled: usize,
    /// The others, in the order in which they failed.
    pub(super) failed: Vec<String>,
    /// Bytes that came over the network.
    pub(super) fetched_bytes: u64,
    /// Bytes that were there already.
    pub(super) reused_bytes: u64,
    /// Wall-clock time of the whole run.
    pub(super) duration_ms: u64,
}

impl Summary {
    /// The lines for people: one, and one more for each image that failed.
    pub(super) fn text(&self) -> String {
        let duration = Duration::from_millis(self.duration_ms);
        let transfer = transfer(self.fetched_bytes, self.reused_bytes, duration);
        let mut text = format!("{} of {} images pulled: {transfer}", self.pulled, self.images);
        for image in &self.failed {
            text.push_str("\nfailed: ");
            text.push_str(image);
        }
        text
    }
}
