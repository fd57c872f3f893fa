//! The recipe: the steps that lead from a source's image to a named one in a sink, whichever way the
//! images of a run are taken in turn.

use std::sync::Arc;
use std::time::Instant;

use super::blobs::{Blobs, Tally};
use super::documents::Documents;
use super::error::Error;
use super::manner::Manner;
use super::outline::Outline;
use super::planner;
use super::request::{Names, Request};
use super::sink::Sink;
use super::source::{Resolved, Source};
use crate::progress::{self, Event, TransferReport};

/// Images worked on at one time. Each costs little beside its blobs, which have their own limit;
/// more of them hide the round trips of resolving behind the transfers of others.
pub(super) const IMAGES_AT_ONCE: usize = 8;

/// What the images of a run share.
pub(super) struct Recipe {
    pub(super) sink: Arc<dyn Sink>,
    pub(super) blobs: Arc<Blobs>,
    pub(super) progress: Arc<dyn progress::Sink>,
    pub(super) manner: Manner,
    /// How many layers of an image may come before all is known of it.
    eager: usize,
}

impl Recipe {
    pub(super) fn new(
        sink: Arc<dyn Sink>,
        manner: Manner,
        progress: Arc<dyn progress::Sink>,
    ) -> Self {
        let blobs = Blobs::new(Arc::clone(&sink), Arc::clone(&progress), &manner);
        Self { sink, blobs: Arc::new(blobs), progress, manner, eager: 0 }
    }

    /// The same, which will surely bring so many images. One alone has nothing to wait for but its own
    /// documents, and need not do so.
    pub(super) fn bringing(self, images: usize) -> Self {
        let is_free =
            images == 1 && self.manner.memory_bytes.is_none() && self.blobs.concurrency > 1;
        Self { eager: if is_free { self.blobs.concurrency } else { 0 }, ..self }
    }

    /// Finds out what the image consists of.
    pub(super) async fn outline(&self, request: &Request, image: String) -> Result<Outline, Error> {
        let started = Instant::now();
        let Request { source, names, platforms } = request;
        let (resolved, mut documents) = self.resolve(source, names).await?;
        let digest = resolved.descriptor.digest;
        let place = resolved.place;
        let event = Event::Resolved { image: image.clone(), digest, host: place.clone() };
        self.progress.event(event);

        let target = resolved.descriptor;
        let plan = planner::build(&mut documents, target, names, platforms, &*self.progress).await;
        let (vanguard, document_bytes) = documents.into_parts();
        let plan = match plan {
            Ok(plan) => plan,
            Err(error) => {
                vanguard.has_stored().await;
                return Err(error);
            }
        };
        self.progress.event(plan.event(&image));
        Ok(Outline { image, plan, place, started, document_bytes, vanguard })
    }

    /// Finds out what the image is, and reads that document. Who resolves need not show it, and may
    /// describe it wrongly.
    async fn resolve(
        &self,
        source: &Arc<dyn Source>,
        names: &Names,
    ) -> Result<(Resolved, Documents), Error> {
        let is_known = self.sink.knows(names).await?;
        if !is_known && self.eager > 0 {
            self.sink.anticipate();
        }
        loop {
            let mut resolved = match is_known {
                true => source.resolve().await?,
                false => source.resolve_unknown().await?,
            };
            let document = resolved.document.take();
            let mut documents =
                Documents::new(Arc::clone(source), Arc::clone(&self.sink), document);
            if !is_known {
                documents = documents.of_new(self.eager);
            }
            match documents.manifest(&resolved.descriptor).await {
                Ok(_) => return Ok((resolved, documents)),
                Err(error) if source.doubt(&resolved, &error) => {
                    tracing::debug!(%error, "{} is left out: it gave a wrong size", resolved.place);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What was done, when the image is in place.
    pub(super) async fn report(
        &self,
        request: &Request,
        outline: &Outline,
        tally: &Tally,
    ) -> TransferReport {
        let kubelet = self.sink.seen(&request.names, &outline.plan).await;
        let report = TransferReport { kubelet, ..outline.report(tally, &*self.sink) };
        let Some(sent_bytes) = self.sink.sent_bytes(&request.names) else { return report };
        TransferReport {
            digest: self.sink.target(&request.names, &outline.plan),
            // From a store on this machine, nothing is fetched.
            fetched_bytes: if request.source.is_remote() { report.fetched_bytes } else { 0 },
            reused_bytes: outline.plan.total_bytes().saturating_sub(sent_bytes),
            sent_bytes,
            ..report
        }
    }
}
