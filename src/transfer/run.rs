//! A run: all its images, so that they share what they have in common, side by side or one after the
//! other as the sink wants them.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use tokio::sync::watch;
use tokio::try_join;

use super::blobs::Tally;
use super::documents::Documents;
use super::error::Error;
use super::manner::Manner;
use super::outline::Outline;
use super::plan::{Plan, PlatformImage};
use super::planner;
use super::recipe::{IMAGES_AT_ONCE, Recipe};
use super::request::Request;
use super::sink::{Outcome, Sink};
use super::source::{Resolved, Source};
use crate::failure::{Diagnose as _, Diagnostic, Failure};
use crate::oci::Digest;
use crate::progress::{self, Event, TransferReport};

/// Brings every image into `sink` as `manner` says; a failure does not stop the others unless it is to,
/// and is told at once. Returns the failures' kinds.
pub async fn run(
    requests: &[Request],
    sink: Arc<dyn Sink>,
    manner: Manner,
    progress: Arc<dyn progress::Sink>,
) -> Vec<Failure> {
    let recipe = Recipe::new(Arc::clone(&sink), manner, progress).bringing(requests.len());
    let outcomes: Vec<_> = match sink.is_sequential() {
        true => recipe.in_sequence(requests).await,
        false => Run { recipe, stopped: watch::Sender::new(false) }.side_by_side(requests).await,
    };
    if let Err(error) = sink.close(&outcomes).await {
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

/// Images that do not wait for each other.
struct Run {
    recipe: Recipe,
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

impl Run {
    /// Brings images that do not wait for each other.
    async fn side_by_side(&self, requests: &[Request]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(requests.len());
        for together in requests.chunks(self.recipe.manner.images_together.max(1)) {
            match self.recipe.manner.check_room {
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
        if let Err(error) = self.recipe.check_room(&plans).await {
            let error = Arc::new(error);
            for (_, outline) in &outlined {
                outline.vanguard.has_stored().await;
            }
            let failed = |(request, outline): (&Request, Outline)| {
                self.fail(request, outline.image, Vec::new(), &Error::Shared(Arc::clone(&error)))
            };
            outcomes.extend(outlined.into_iter().map(failed));
            return outcomes;
        }
        self.recipe.sink.expect(&plans);
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
        self.recipe.progress.event(Event::Started { image: image.clone() });
        match self.unless_stopped(self.look(request, image.clone())).await {
            Ok(Look::Present(report)) => {
                self.recipe.progress.event(Event::Finished(report));
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
        let transferred = self.unless_stopped(self.transfer(request, &outline)).await;
        // What it has begun holds the lease that ends with the run.
        outline.vanguard.has_stored().await;
        match transferred {
            Ok(report) => {
                self.recipe.progress.event(Event::Finished(report));
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
        self.recipe.progress.event(Event::Failed { image, diagnostic });
        if self.recipe.manner.fail_fast {
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
        match self.recipe.present(request, &image).await? {
            Some(report) => Ok(Look::Present(report)),
            None => Ok(Look::Absent(Box::new(self.recipe.outline(request, image).await?))),
        }
    }

    /// Brings one image into the sink.
    async fn transfer(
        &self,
        request: &Request,
        outline: &Outline,
    ) -> Result<TransferReport, Error> {
        self.recipe.sink.admit(&request.names, &outline.plan).await?;
        let layers = self.materialise(outline, &request.source);
        let documents = async {
            outline.vanguard.has_stored().await;
            self.recipe.sink.put_beside(&outline.plan).await
        };
        let (tally, ()) = try_join!(layers, documents)?;
        request.source.whole().await?;
        self.recipe.sink.publish(&request.names, &outline.plan).await?;
        if self.recipe.sink.sent_bytes(&request.names).is_some() {
            let (reference, blobs) = (&request.names.reference, outline.plan.blobs());
            request.source.are_also_at(reference, &blobs).await;
        }
        Ok(self.recipe.report(request, outline, &tally).await)
    }

    /// Brings all layers of the image into the sink.
    async fn materialise(
        &self,
        outline: &Outline,
        source: &Arc<dyn Source>,
    ) -> Result<Tally, Error> {
        let (Outline { plan, vanguard, .. }, tally) = (outline, Tally::default());
        for image in &plan.images {
            match self.recipe.blobs.materialise(image, source, vanguard, &tally).await {
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
