//! The recipe: from a source's image to a named image in a sink, for all images of a run, so that
//! they share what they have in common.

use std::sync::Arc;
use std::time::Instant;

use futures_util::{StreamExt as _, stream};

use super::blobs::{Blobs, Tally};
use super::documents::Documents;
use super::error::Error;
use super::plan::{Plan, PlatformImage};
use super::planner;
use super::request::{Names, Request};
use super::sink::{Outcome, Sink};
use super::source::{Resolved, Source};
use crate::failure::{Diagnose as _, Diagnostic, Failure};
use crate::oci::Digest;
use crate::progress::{self, Event, TransferReport};

/// Images worked on at one time. Each costs little beside its blobs, which have their own limit;
/// more of them hide the round trips of resolving behind the transfers of others.
pub(super) const IMAGES_AT_ONCE: usize = 8;

/// Brings every image into `sink`, working on at most `concurrency` blobs at a time; a failure does
/// not stop the others and is told at once. Returns the failures' kinds.
pub async fn run(
    requests: &[Request],
    sink: Arc<dyn Sink>,
    concurrency: usize,
    progress: Arc<dyn progress::Sink>,
) -> Vec<Failure> {
    let blobs = Arc::new(Blobs::new(Arc::clone(&sink), Arc::clone(&progress), concurrency));
    let run = Run { sink, blobs, progress };
    let outcomes: Vec<_> = match run.sink.is_sequential() {
        true => run.in_sequence(requests).await,
        false => {
            stream::iter(requests)
                .map(|request| run.outcome(request))
                .buffer_unordered(IMAGES_AT_ONCE)
                .collect()
                .await
        }
    };
    if let Err(error) = run.sink.close(&outcomes).await {
        // The images are in place; what is left behind expires by itself.
        tracing::warn!(%error, "cannot clean up after the transfer");
    }
    outcomes.iter().filter_map(|outcome| outcome.failure).collect()
}

/// Finds out what an image consists of, without moving any of it. Documents are read where they are
/// nearest, `sink` included.
///
/// # Errors
/// As for an image of [`run`].
pub async fn survey(
    request: &Request,
    sink: Arc<dyn Sink>,
    progress: &dyn progress::Sink,
) -> Result<Plan, Error> {
    let Request { source, names, platforms } = request;
    let Resolved { descriptor, document, .. } = source.resolve().await?;
    let mut documents = Documents::new(Arc::clone(source), sink, document);
    planner::build(&mut documents, descriptor, names, platforms, progress).await
}

/// What the images of a run share.
pub(super) struct Run {
    pub(super) sink: Arc<dyn Sink>,
    pub(super) blobs: Arc<Blobs>,
    pub(super) progress: Arc<dyn progress::Sink>,
}

/// An image of which is known what it consists of.
pub(super) struct Outline {
    pub(super) image: String,
    pub(super) plan: Plan,
    /// Where it comes from.
    pub(super) place: String,
    started: Instant,
    /// Bytes of documents that came from the source.
    document_bytes: u64,
}

impl Run {
    /// Brings one image into the sink; the one place that tells how that ended.
    async fn outcome(&self, request: &Request) -> Outcome {
        let image = request.names.reference.to_string();
        self.progress.event(Event::Started { image: image.clone() });
        let mut images = Vec::new();
        let failure = match self.transfer(request, image.clone(), &mut images).await {
            Ok(report) => {
                self.progress.event(Event::Finished(report));
                None
            }
            Err(error) => {
                let diagnostic = Diagnostic::of(&error);
                self.progress.event(Event::Failed { image, diagnostic });
                Some(error.failure())
            }
        };
        Outcome { names: Arc::clone(&request.names), images, failure }
    }

    /// Brings one image into the sink. What it consists of is put into `images` when it is known.
    async fn transfer(
        &self,
        request: &Request,
        image: String,
        images: &mut Vec<Arc<PlatformImage>>,
    ) -> Result<TransferReport, Error> {
        let outline = self.outline(request, image).await?;
        images.clone_from(&outline.plan.images);
        self.sink.admit(&request.names, &outline.plan).await?;
        let tally = self.materialise(&outline.plan, &request.source).await?;
        request.source.whole().await?;
        self.sink.publish(&request.names, &outline.plan).await?;
        if self.sink.sent_bytes(&request.names).is_some() {
            let (reference, blobs) = (&request.names.reference, outline.plan.blobs());
            request.source.are_also_at(reference, &blobs).await;
        }
        Ok(self.report(request, &outline, &tally))
    }

    /// What was done, when the image is in place.
    fn report(&self, request: &Request, outline: &Outline, tally: &Tally) -> TransferReport {
        let report = outline.report(tally, &*self.sink);
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
        let plan =
            planner::build(&mut documents, target, names, platforms, &*self.progress).await?;
        self.progress.event(plan.event(&image));
        Ok(Outline { image, plan, place, started, document_bytes: documents.fetched_bytes() })
    }

    /// Finds out what the image is, and reads that document. Who resolves need not show it, and may
    /// describe it wrongly.
    async fn resolve(
        &self,
        source: &Arc<dyn Source>,
        names: &Names,
    ) -> Result<(Resolved, Documents), Error> {
        let is_known = self.sink.knows(names).await?;
        loop {
            let mut resolved = match is_known {
                true => source.resolve().await?,
                false => source.resolve_unknown().await?,
            };
            let document = resolved.document.take();
            let mut documents =
                Documents::new(Arc::clone(source), Arc::clone(&self.sink), document);
            match documents.manifest(&resolved.descriptor).await {
                Ok(_) => return Ok((resolved, documents)),
                Err(error) if source.doubt(&resolved, &error) => {
                    tracing::debug!(%error, "{} is left out: it gave a wrong size", resolved.place);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Brings all layers of the image into the sink.
    async fn materialise(&self, plan: &Plan, source: &Arc<dyn Source>) -> Result<Tally, Error> {
        let tally = Tally::default();
        for image in &plan.images {
            match self.blobs.materialise(image, source, &tally).await {
                Ok(()) => {}
                // Of which platforms is more than which blob.
                Err(Error::Incomplete { digest, place }) => {
                    return Err(not_all_there(plan, &**source, digest, place).await?);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(tally)
    }
}

/// That `place` has not got the blob `digest`, nor others of the platforms that are named.
async fn not_all_there(
    plan: &Plan,
    source: &dyn Source,
    digest: Digest,
    place: String,
) -> Result<Error, Error> {
    let mut platforms = Vec::new();
    for image in &plan.images {
        if !source.missing(&image.layers).await?.is_empty() {
            platforms.push(image.platform.to_string());
        }
    }
    Ok(match source.name() {
        Some(name) if !platforms.is_empty() => {
            let namespace = source.namespace();
            Error::NotAllThere { name, namespace, platforms, place }
        }
        _ => Error::Incomplete { digest, place },
    })
}

impl Outline {
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
        }
    }
}
