//! The recipe: from a reference to a named image in its destination.
//!
//! Knows both sides, registries and destinations, and nothing of terminals or files of settings.
//! One [`Puller`] serves all images of a run, so that they share connections and blobs.

mod blob_ingests;
mod destination;
mod documents;
mod download;
mod error;
mod once;
mod plan;
mod request;
mod run_lease;
mod suspects;
mod to_containerd;
mod to_layout;

use std::sync::Arc;
use std::time::Instant;

use futures_util::{StreamExt as _, stream};

pub use destination::Destination;
pub use error::Error;
pub use request::{PlatformChoice, PullRequest};
pub use to_containerd::{ContainerdDestination, UnpackOptions};
pub use to_layout::LayoutDestination;

use crate::failure::{Diagnose as _, Failure};
use crate::progress::{Event, PullReport, Sink};
use crate::registry::{Registry, Repository, Resolved};
use documents::Documents;
use download::{Blobs, Source, Tally};
use plan::ImagePlan;

/// Images worked on at one time. Each costs little beside its blobs, which have their own limit;
/// more of them hide the round trips of resolving behind the transfers of others.
const IMAGES_AT_ONCE: usize = 8;

/// Pulls images of one run into one destination.
#[derive(Clone)]
pub struct Puller {
    registry: Registry,
    destination: Arc<dyn Destination>,
    blobs: Arc<Blobs>,
    sink: Arc<dyn Sink>,
}

impl Puller {
    /// A puller that works on at most `concurrency` blobs at a time.
    pub fn new(
        registry: Registry,
        destination: Arc<dyn Destination>,
        concurrency: usize,
        sink: Arc<dyn Sink>,
    ) -> Self {
        let blobs = Arc::new(Blobs::new(Arc::clone(&destination), Arc::clone(&sink), concurrency));
        Self { registry, destination, blobs, sink }
    }

    /// Pulls every image; a failure does not stop the others and is handed to `failed` at once.
    /// Returns the failures' kinds.
    pub async fn run(
        &self,
        requests: &[PullRequest],
        failed: &(dyn Fn(&PullRequest, &Error) + Sync),
    ) -> Vec<Failure> {
        let failures: Vec<_> = stream::iter(requests)
            .map(|request| async move {
                let error = self.pull(request).await.err()?;
                failed(request, &error);
                Some(error.failure())
            })
            .buffer_unordered(IMAGES_AT_ONCE)
            .filter_map(std::future::ready)
            .collect()
            .await;
        if let Err(error) = self.destination.close(requests, failures.is_empty()).await {
            // The images are in place; what is left behind expires by itself.
            tracing::warn!(%error, "cannot clean up after the pull");
        }
        failures
    }

    async fn pull(&self, request: &PullRequest) -> Result<(), Error> {
        self.sink.event(Event::Started { image: request.reference.to_string() });
        let report = self.pull_image(request).await?;
        self.sink.event(Event::Finished(report));
        Ok(())
    }

    async fn pull_image(&self, request: &PullRequest) -> Result<PullReport, Error> {
        let started = Instant::now();
        let image = request.reference.to_string();
        let repository = self.registry.repository(request.hosts.clone(), &request.reference);

        let (resolved, mut documents) = self.resolve(&repository).await?;
        let digest = resolved.descriptor.digest;
        self.sink.event(Event::Resolved { image: image.clone(), digest, host: resolved.host });

        let plan = plan::build(&mut documents, resolved.descriptor, request, &*self.sink).await?;
        self.sink.event(plan.event(&image));

        let source = Source { image: request.reference.clone(), repository };
        let tally = self.materialise(&plan, &source).await?;
        self.destination.publish(request, &plan).await?;

        let fetched_bytes = tally.fetched_bytes() + documents.fetched_bytes();
        Ok(PullReport {
            image,
            digest,
            fetched_bytes,
            reused_bytes: plan.total_bytes().saturating_sub(fetched_bytes),
            duration: started.elapsed(),
        })
    }

    /// Finds out what the reference points to, and reads it. A host may resolve without showing the
    /// document; one that gave it another size than it turns out to have is left for the next.
    async fn resolve(&self, repository: &Repository) -> Result<(Resolved, Documents), Error> {
        loop {
            let mut resolved = repository.resolve().await?;
            let destination = Arc::clone(&self.destination);
            let body = resolved.body.take();
            let mut documents = Documents::new(repository.clone(), destination, body);
            match documents.manifest(&resolved.descriptor).await {
                Ok(_) => return Ok((resolved, documents)),
                Err(Error::Registry(error))
                    if error.is_misdescribed() && repository.distrust_resolver(&resolved) =>
                {
                    tracing::debug!(%error, "{} is left out: it gave a wrong size", resolved.host);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Brings all layers of the image into the destination, unpacked where it unpacks.
    async fn materialise(&self, plan: &ImagePlan, source: &Source) -> Result<Tally, Error> {
        let tally = Tally::default();
        for image in &plan.images {
            self.blobs.materialise(image, source, &tally).await?;
        }
        Ok(tally)
    }
}
