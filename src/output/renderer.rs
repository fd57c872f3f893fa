//! What every way of showing progress can do.

use std::time::Instant;

use super::summary::Summary;
use crate::progress::Event;

/// One way of showing progress. Called from one thread, with the time as an argument.
pub(super) trait Renderer: Send {
    /// Takes one event. [`Event::Received`] comes summed up, and before the blob's next state.
    fn event(&mut self, event: &Event);
    /// Called ten times a second, or more often.
    fn tick(&mut self, now: Instant);
    /// Called once, last; `summary` is there when there were several images.
    fn finish(&mut self, summary: Option<&Summary>, now: Instant);
}

/// Shows nothing.
pub(super) struct Silent;

impl Renderer for Silent {
    fn event(&mut self, _event: &Event) {}
    fn tick(&mut self, _now: Instant) {}
    fn finish(&mut self, _summary: Option<&Summary>, _now: Instant) {}
}
