//! Counts what a round of seeding comes to, beside what is shown of it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;

use crate::failure::Failure;
use crate::progress::{Event, Sink};
use crate::sync::lock;

/// Takes a run's events and keeps what monitoring asks for.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Counts>);

/// What a round came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Images that were begun.
    wanted: HashSet<String>,
    /// Images that are in place.
    pub present: usize,
    /// Bytes that came over the network.
    pub fetched_bytes: u64,
    /// Bytes of files that were unpacked.
    pub unpacked_bytes: u64,
    /// Images that failed, by kind.
    pub failures: BTreeMap<String, usize>,
}

impl Counts {
    /// How many images were wanted.
    pub fn wanted(&self) -> usize {
        self.wanted.len()
    }

    /// Counts one failure of this kind.
    pub fn fail(&mut self, failure: Failure) {
        *self.failures.entry(failure.code().to_owned()).or_default() += 1;
    }
}

impl Tally {
    /// What it has come to so far.
    pub fn counts(&self) -> Counts {
        lock(&self.0).clone()
    }
}

impl Sink for Tally {
    fn event(&self, event: Event) {
        let mut counts = lock(&self.0);
        match event {
            Event::Started { image } => {
                counts.wanted.insert(image);
            }
            Event::Finished(report) => {
                counts.present += 1;
                counts.fetched_bytes = counts.fetched_bytes.saturating_add(report.fetched_bytes);
                counts.unpacked_bytes = counts.unpacked_bytes.saturating_add(report.unpacked_bytes);
            }
            Event::Failed { diagnostic, .. } => counts.fail(diagnostic.failure()),
            _ => {}
        }
    }
}
