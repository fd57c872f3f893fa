//! The recipe: from a source's image to a named image in a sink, for all images of a run, so that
//! they share what they have in common.

use std::sync::Arc;
use std::time::Instant;

use futures_util::{StreamExt as _, stream};
use tokio::sync::watch;

use super::blobs::{Blobs, Tally};
use super::documents::Documents;
use super::error::Error;
use super::manner::Manner;
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

/// Images that are looked at before the first of them is brought: whether they have room is told of all
/// together. Of more, what each consists of would take too much memory.
const IMAGES_TOGETHER: usize = 256;

/// Brings every image into `sink` as `manner` says; a failure does not stop the others unless it is to,
/// and is told at once. Returns the failures' kinds.
pub async fn run(
    requests: &[Request],
    sink: Arc<dyn Sink>,
    manner: Manner,
    progress: Arc<dyn progress::Sink>,
) -> Vec<Failure> {
    let run = Run::new(sink, manner, progress);
    let outcomes: Vec<_> = match run.sink.is_sequential() {
        true => run.in_sequence(requests).await,
        false => run.side_by_side(requests).await,
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
    pub(super) manner: Manner,
    /// Whether a failure has ended the run.
    stopped: watch::Sender<bool>,
}

/// An image that was begun.
enum Begun {
    /// It is in place.
    Done(Outcome),
    /// What it consists of is known.
    Outlined(Box<Outline>),
}

/// What a look at an image has shown.
enum Look {
    /// It is in place.
    Present(TransferReport),
    /// It is to be brought.
    Absent(Box<Outline>),
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
    pub(super) fn new(
        sink: Arc<dyn Sink>,
        manner: Manner,
        progress: Arc<dyn progress::Sink>,
    ) -> Self {
        let blobs = Blobs::new(Arc::clone(&sink), Arc::clone(&progress), manner.concurrency);
        let stopped = watch::Sender::new(false);
        Self { sink, blobs: Arc::new(blobs), progress, manner, stopped }
    }

    /// Brings images that do not wait for each other.
    async fn side_by_side(&self, requests: &[Request]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(requests.len());
        for together in requests.chunks(IMAGES_TOGETHER) {
            match self.manner.check_room {
                true => outcomes.extend(self.bring_what_fits(together).await),
                false => {
                    let all = stream::iter(together).map(|request| async move {
                        match self.begin(request).await? {
                            Begun::Done(outcome) => Some(outcome),
                            Begun::Outlined(outline) => Some(self.end(request, *outline).await),
                        }
                    });
                    let all: Vec<_> = all.buffer_unordered(IMAGES_AT_ONCE).collect().await;
                    outcomes.extend(all.into_iter().flatten());
                }
            }
        }
        outcomes
    }

    /// Brings images, none of them before it is known that all that is to come has room.
    async fn bring_what_fits(&self, requests: &[Request]) -> Vec<Outcome> {
        let begun = stream::iter(requests)
            .map(|request| async move { Some((request, self.begin(request).await?)) });
        let begun: Vec<_> = begun.buffered(IMAGES_AT_ONCE).collect().await;
        let (mut outcomes, mut outlined) = (Vec::new(), Vec::new());
        for (request, begun) in begun.into_iter().flatten() {
            match begun {
                Begun::Done(outcome) => outcomes.push(outcome),
                Begun::Outlined(outline) => outlined.push((request, *outline)),
            }
        }
        let plans: Vec<_> = outlined.iter().map(|(_, outline)| &outline.plan).collect();
        if let Err(error) = self.check_room(&plans).await {
            let error = Arc::new(error);
            let failed = |(request, outline): (&Request, Outline)| {
                self.fail(request, outline.image, Vec::new(), &Error::Shared(Arc::clone(&error)))
            };
            outcomes.extend(outlined.into_iter().map(failed));
            return outcomes;
        }
        let rest = stream::iter(outlined).map(|(request, outline)| self.end(request, outline));
        let rest: Vec<_> = rest.buffer_unordered(IMAGES_AT_ONCE).collect().await;
        outcomes.extend(rest);
        outcomes
    }

    /// Finds out what the image consists of, and whether it is there already; `None` when the run has
    /// ended before it.
    async fn begin(&self, request: &Request) -> Option<Begun> {
        if self.is_stopped() {
            return None;
        }
        let image = request.names.reference.to_string();
        self.progress.event(Event::Started { image: image.clone() });
        match self.unless_stopped(self.look(request, image.clone())).await {
            Ok(Look::Present(report)) => {
                self.progress.event(Event::Finished(report));
                let names = Arc::clone(&request.names);
                Some(Begun::Done(Outcome { names, images: Vec::new(), failure: None }))
            }
            Ok(Look::Absent(outline)) => Some(Begun::Outlined(outline)),
            Err(error) => Some(Begun::Done(self.fail(request, image, Vec::new(), &error))),
        }
    }

    /// Brings what the image consists of.
    async fn end(&self, request: &Request, outline: Outline) -> Outcome {
        let images = outline.plan.images.clone();
        match self.unless_stopped(self.transfer(request, &outline)).await {
            Ok(report) => {
                self.progress.event(Event::Finished(report));
                Outcome { names: Arc::clone(&request.names), images, failure: None }
            }
            Err(error) => self.fail(request, outline.image, images, &error),
        }
    }

    /// Tells that an image failed; the one place that does.
    fn fail(
        &self,
        request: &Request,
        image: String,
        images: Vec<Arc<PlatformImage>>,
        error: &Error,
    ) -> Outcome {
        let diagnostic = Diagnostic::of(error);
        self.progress.event(Event::Failed { image, diagnostic });
        if self.manner.fail_fast {
            self.stopped.send_replace(true);
        }
        let failure = Some(error.failure());
        Outcome { names: Arc::clone(&request.names), images, failure }
    }

    fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// What `work` comes to, unless another image's failure ends the run first.
    async fn unless_stopped<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut stopped = self.stopped.subscribe();
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => Err(Error::Stopped),
            outcome = work => outcome,
        }
    }

    /// What is known of the image before its blobs are.
    async fn look(&self, request: &Request, image: String) -> Result<Look, Error> {
        match self.present(request, &image).await? {
            Some(report) => Ok(Look::Present(report)),
            None => Ok(Look::Absent(Box::new(self.outline(request, image).await?))),
        }
    }

    /// Brings one image into the sink.
    async fn transfer(
        &self,
        request: &Request,
        outline: &Outline,
    ) -> Result<TransferReport, Error> {
        self.sink.admit(&request.names, &outline.plan).await?;
        let tally = self.materialise(&outline.plan, &request.source).await?;
        request.source.whole().await?;
        self.sink.publish(&request.names, &outline.plan).await?;
        if self.sink.sent_bytes(&request.names).is_some() {
            let (reference, blobs) = (&request.names.reference, outline.plan.blobs());
            request.source.are_also_at(reference, &blobs).await;
        }
        Ok(self.report(request, outline, &tally).await)
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
    /// That of an image whose documents were all there.
    pub(super) fn of_present(image: String, plan: Plan, place: String, started: Instant) -> Self {
        Self { image, plan, place, started, document_bytes: 0 }
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
