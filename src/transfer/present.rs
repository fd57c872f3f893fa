//! Images that the sink has already, found out without asking where they come from.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;

use super::blobs::Tally;
use super::documents::Documents;
use super::error::Error;
use super::held::Lack;
use super::manner::Policy;
use super::outline::Outline;
use super::planner;
use super::provenance::Provenance;
use super::recipe::Recipe;
use super::request::Request;
use super::source::{BlobStream, DocumentKind, Resolved, Source};
use crate::oci::Descriptor;
use crate::progress::{self, Event, TransferReport};
use crate::sync::lock;

/// What is there of an image.
pub(super) enum Presence {
    /// All of it: content, names, labels.
    Complete(Outline),
    /// All of its content; names and labels are not as they should be.
    Unnamed(Outline, Vec<Lack>),
    /// Not even that.
    Lacking(Vec<Lack>),
}

impl Recipe {
    /// Sees to it that an image which is all there has its names; `None` where it is to be brought.
    pub(super) async fn present(
        &self,
        request: &Request,
        image: &str,
    ) -> Result<Option<TransferReport>, Error> {
        let names = &request.names;
        let may_write = match self.manner.policy {
            Policy::Always => return Ok(None),
            Policy::Missing => true,
            Policy::Never => false,
        };
        let outline = match self.presence(request, image.to_owned()).await? {
            Presence::Complete(outline) => outline,
            Presence::Unnamed(outline, _) if may_write => {
                self.sink.admit(names, &outline.plan).await?;
                self.sink.publish(names, &outline.plan).await?;
                outline
            }
            Presence::Lacking(_) if may_write => return Ok(None),
            Presence::Unnamed(_, lacks) | Presence::Lacking(lacks) => {
                let name = image.to_owned();
                return Err(Error::NotPresent { name, lacks });
            }
        };
        let digest = outline.plan.target.digest;
        let (image, host) = (image.to_owned(), outline.place.clone());
        self.progress.event(Event::Resolved { image, digest, host });
        Ok(Some(self.report(request, &outline, &Tally::default()).await))
    }

    /// What the sink has of the image.
    pub(super) async fn presence(
        &self,
        request: &Request,
        image: String,
    ) -> Result<Presence, Error> {
        let started = Instant::now();
        let Request { source, names, platforms } = request;
        let Some(held) = self.sink.holding(names).await? else {
            return Ok(Presence::Lacking(vec![Lack::Name(image)]));
        };
        let (target, place) = (held.descriptor, held.place);
        let nowhere = Arc::new(Nowhere { place: place.clone(), wanted: Arc::clone(source) });
        let mut documents = Documents::new(nowhere, Arc::clone(&self.sink), None);
        // What is told of an image that is not there after all, is told again by what comes next.
        let told = Arc::new(Told::default());
        let plan = match planner::build(&mut documents, target, names, platforms, &*told).await {
            Ok(plan) => plan,
            Err(Error::Incomplete { digest, .. }) => {
                return Ok(Presence::Lacking(vec![Lack::Blob(digest)]));
            }
            Err(Error::NotAllThere { platforms, .. }) => {
                return Ok(Presence::Lacking(platforms.into_iter().map(Lack::Platform).collect()));
            }
            Err(error) => return Err(error),
        };
        let lacks = self.sink.lacking(names, &plan).await?;
        let outline = Outline::of_present(image, plan, place, started);
        let (content, rest): (Vec<_>, Vec<_>) = lacks.into_iter().partition(Lack::is_content);
        if !content.is_empty() {
            return Ok(Presence::Lacking(content.into_iter().chain(rest).collect()));
        }
        for event in told.take() {
            self.progress.event(event);
        }
        Ok(match rest.is_empty() {
            true => Presence::Complete(outline),
            false => Presence::Unnamed(outline, rest),
        })
    }
}

/// A source that has nothing: what an image consists of is read from where it is, or not at all.
struct Nowhere {
    place: String,
    /// Where it would come from.
    wanted: Arc<dyn Source>,
}

impl Nowhere {
    fn has_not(&self, descriptor: &Descriptor) -> Error {
        Error::Incomplete { digest: descriptor.digest, place: self.place.clone() }
    }
}

#[async_trait]
impl Source for Nowhere {
    async fn resolve(&self) -> Result<Resolved, Error> {
        Err(Error::Closed)
    }

    async fn document(&self, descriptor: &Descriptor, _: DocumentKind) -> Result<Bytes, Error> {
        Err(self.has_not(descriptor))
    }

    async fn blob(&self, descriptor: &Descriptor, _: u64) -> Result<Box<dyn BlobStream>, Error> {
        Err(self.has_not(descriptor))
    }

    async fn provenance(&self, target: &Descriptor) -> Provenance {
        self.wanted.provenance(target).await
    }
}

/// Events that may have to be told.
#[derive(Default)]
struct Told(Mutex<Vec<Event>>);

impl Told {
    fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *lock(&self.0))
    }
}

impl progress::Sink for Told {
    fn event(&self, event: Event) {
        lock(&self.0).push(event);
    }
}
