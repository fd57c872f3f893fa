//! The lines of a terminal on which bars are drawn, shared by those who draw and those who write.

use indicatif::{MultiProgress, ProgressDrawTarget};

/// Where bars are drawn: nowhere, until a run shows them.
#[derive(Clone)]
pub(super) struct Screen(pub(super) MultiProgress);

impl Screen {
    pub(super) fn hidden() -> Self {
        Self(MultiProgress::with_draw_target(ProgressDrawTarget::hidden()))
    }

    /// Runs `write` while the bars are out of the way.
    pub(super) fn suspend<R>(&self, write: impl FnOnce() -> R) -> R {
        self.0.suspend(write)
    }
}
