//! Bytes that came in and went out and have not been told yet, summed up by blob: there are far more
//! such events than anybody wants to see.

use std::collections::BTreeMap;

use crate::oci::Digest;
use crate::progress::Event;

/// Sums of what came in and of what went out.
#[derive(Debug, Default)]
pub(super) struct Moved(BTreeMap<Digest, Sums>);

#[derive(Debug, Default)]
struct Sums {
    received_bytes: u64,
    sent_bytes: u64,
}

impl Moved {
    /// Counts `event` if it is about bytes, and tells whether it was.
    pub(super) fn count(&mut self, event: &Event) -> bool {
        let (digest, delta_bytes, is_received) = match event {
            Event::Received { digest, delta_bytes } => (digest, delta_bytes, true),
            Event::Sent { digest, delta_bytes } => (digest, delta_bytes, false),
            _ => return false,
        };
        let sums = self.0.entry(*digest).or_default();
        let sum = if is_received { &mut sums.received_bytes } else { &mut sums.sent_bytes };
        *sum = sum.saturating_add(*delta_bytes);
        true
    }

    /// What of the blob that `event` is about has to be told before it: what moved before a blob
    /// enters a state.
    pub(super) fn before(&mut self, event: &Event) -> Vec<Event> {
        let Event::Blob { digest, .. } = event else { return Vec::new() };
        self.0.remove(digest).map_or_else(Vec::new, |sums| sums.events(*digest))
    }

    /// Everything.
    pub(super) fn take(&mut self) -> Vec<Event> {
        let sums = std::mem::take(&mut self.0);
        sums.into_iter().flat_map(|(digest, sums)| sums.events(digest)).collect()
    }
}

impl Sums {
    fn events(self, digest: Digest) -> Vec<Event> {
        let Self { received_bytes, sent_bytes } = self;
        let received = Event::Received { digest, delta_bytes: received_bytes };
        let sent = Event::Sent { digest, delta_bytes: sent_bytes };
        [(received_bytes, received), (sent_bytes, sent)]
            .into_iter()
            .filter_map(|(bytes, event)| (bytes > 0).then_some(event))
            .collect()
    }
}
