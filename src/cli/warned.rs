//! A document with the warnings of its run: for people they stand on standard error, for scripts in it.

use std::fmt;

use serde::Serialize;

use crate::failure::Notice;
use crate::output::Progress;

/// What is told, an object, and what should be known beside it.
#[derive(Debug, Serialize)]
pub(super) struct Warned<T> {
    #[serde(flatten)]
    pub(super) told: T,
    pub(super) warnings: Vec<Notice>,
}

impl<T> Warned<T> {
    /// With what `progress` was warned of so far.
    pub(super) fn of(told: T, progress: &Progress) -> Self {
        Self { told, warnings: progress.warnings() }
    }
}

impl<T: fmt::Display> fmt::Display for Warned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.told.fmt(f)
    }
}
