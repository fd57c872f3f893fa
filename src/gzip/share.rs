//! How many threads decode one stream, and how many spans all streams of a run may have in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Length of a span, in compressed bytes (256 KiB). The longer, the less is spent on looking for blocks
/// that begin in it, and the more memory is needed: about ten times as much for each.
const SPAN_BYTES: usize = 256 << 10;

/// Threads for one stream.
#[derive(Debug, Clone)]
pub struct Threads {
    /// How many, the one that reads included.
    count: usize,
    /// Length of a span, in compressed bytes.
    pub(super) span_bytes: usize,
    /// Where other streams take their spans from, too.
    pub(super) share: Option<Share>,
}

impl Threads {
    /// So many threads, the one that reads included.
    pub fn new(count: usize) -> Self {
        Self { count: count.max(1), span_bytes: SPAN_BYTES, share: None }
    }

    /// The same with spans of so many compressed bytes.
    #[must_use]
    pub fn with_spans_of(self, span_bytes: usize) -> Self {
        Self { span_bytes, ..self }
    }

    /// The same with spans out of `share`.
    #[must_use]
    pub fn sharing(self, share: &Share) -> Self {
        Self { share: Some(share.clone()), ..self }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Most spans in memory ahead of the one that is read: one for each thread, and one that the thread
    /// that reads leaves behind while it waits for nobody.
    pub(super) fn spans_ahead(&self) -> usize {
        if self.count == 1 { 0 } else { self.count + 1 }
    }
}

/// Spans that several streams have together.
#[derive(Debug, Clone)]
pub struct Share(Arc<AtomicUsize>);

/// One span of a [`Share`], until it is dropped.
#[derive(Debug)]
pub(super) struct Permit(Share);

impl Share {
    /// As many spans as one stream decoded by so many threads takes.
    pub fn for_threads(count: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(Threads::new(count).spans_ahead())))
    }

    /// One of them, if there is one left.
    pub(super) fn take(&self) -> Option<Permit> {
        let less = |left: usize| left.checked_sub(1);
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        taken.is_ok().then(|| Permit(self.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}
