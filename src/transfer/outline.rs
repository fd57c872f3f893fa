//! What is known of an image before its blobs are brought, and what bringing them came to.

use std::sync::Arc;
use std::time::Instant;

use super::ahead::Vanguard;
use super::blobs::Tally;
use super::plan::Plan;
use super::sink::Sink;
use crate::progress::TransferReport;

/// An image of which is known what it consists of.
pub(super) struct Outline {
    pub(super) image: String,
    pub(super) plan: Plan,
    /// Where it comes from.
    pub(super) place: String,
    pub(super) started: Instant,
    /// Bytes of documents that came from the source.
    pub(super) document_bytes: u64,
    /// Layers that are on their way already.
    pub(super) vanguard: Arc<Vanguard>,
}

impl Outline {
    /// That of an image whose documents were all there.
    pub(super) fn of_present(image: String, plan: Plan, place: String, started: Instant) -> Self {
        let vanguard = Arc::default();
        Self { image, plan, place, started, document_bytes: 0, vanguard }
    }

    /// What was done, when the image is in place: `tally` is of its layers.
    pub(super) fn report(&self, tally: &Tally, sink: &dyn Sink) -> TransferReport {
        let fetched_bytes = tally.fetched_bytes() + self.document_bytes;
        TransferReport {
            image: self.image.clone(),
            digest: self.plan.target.digest,
            fetched_bytes,
            reused_bytes: self.plan.total_bytes().saturating_sub(fetched_bytes),
            sent_bytes: 0,
            unpacked_bytes: self.plan.images.iter().map(|image| sink.unpacked_bytes(image)).sum(),
            duration: self.started.elapsed(),
            kubelet: None,
        }
    }
}
