//! The recipe for a sink that has one order: all images are planned first, so that what is there can be
//! told before the first blob, and a run fails before it has written anything.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};

use super::blobs::Tally;
use super::error::Error;
use super::order::Turn;
use super::outline::Outline;
use super::plan::PlatformImage;
use super::recipe::{IMAGES_AT_ONCE, Recipe};
use super::request::Request;
use super::sink::{Announced, Outcome};
use crate::failure::{Diagnose as _, Diagnostic, Failure};
use crate::progress::{Event, TransferReport};

impl Recipe {
    /// Brings all images into the sink, or none. Of those that fail, it is told why; the others are
    /// not there either, and nothing is told of them.
    pub(super) async fn in_sequence(&self, requests: &[Request]) -> Vec<Outcome> {
        if requests.is_empty() {
            return Vec::new();
        }
        let outlined: Vec<Result<Outline, Failure>> = stream::iter(requests)
            .map(|request| self.outlined(request))
            .buffered(IMAGES_AT_ONCE)
            .collect()
            .await;
        let mut failures: Vec<_> =
            outlined.iter().map(|outlined| outlined.as_ref().err()).collect();
        let outlines: Vec<&Outline> = outlined.iter().flatten().collect();
        let failure;
        // Without one of the images, it is not what was asked for.
        if outlines.len() == requests.len()
            && let Err((position, error)) = self.move_all(requests, &outlines).await
        {
            failure = self.failed(requests[position].names.reference.to_string(), &error);
            failures[position] = Some(&failure);
        }
        let outcome = |(request, failure): (&Request, Option<&Failure>)| Outcome {
            names: Arc::clone(&request.names),
            images: Vec::new(),
            failure: failure.copied(),
        };
        requests.iter().zip(failures).map(outcome).collect()
    }

    async fn outlined(&self, request: &Request) -> Result<Outline, Failure> {
        let image = request.names.reference.to_string();
        self.progress.event(Event::Started { image: image.clone() });
        let outline = async {
            let outline = self.outline(request, image.clone()).await?;
            self.check_layers(request, &outline).await?;
            Ok(outline)
        };
        outline.await.map_err(|error| self.failed(image, &error))
    }

    /// Sees to it that no layer turns out to be missing when others are written already.
    async fn check_layers(&self, request: &Request, outline: &Outline) -> Result<(), Error> {
        let mut platforms = Vec::new();
        for image in &outline.plan.images {
            let needed: Vec<_> = self.sink.needed(&image.layers);
            match request.source.missing(&needed).await?.first() {
                None => {}
                Some(_) if image.is_image() => platforms.push(image.platform.to_string()),
                Some(digest) => {
                    let place = outline.place.clone();
                    return Err(Error::Incomplete { digest: *digest, place });
                }
            }
        }
        if platforms.is_empty() {
            return Ok(());
        }
        let (name, place) = (request.names.reference.to_string(), outline.place.clone());
        let namespace = request.source.namespace();
        Err(Error::NotAllThere { name, namespace, platforms, place })
    }

    fn failed(&self, image: String, error: &Error) -> Failure {
        let diagnostic = Diagnostic::of(error);
        self.progress.event(Event::Failed { image, diagnostic });
        error.failure()
    }

    /// Moves the images' blobs, and shows all images. An error comes with the position of the image
    /// that it is about.
    async fn move_all(
        &self,
        requests: &[Request],
        outlines: &[&Outline],
    ) -> Result<(), (usize, Error)> {
        let announced: Vec<Announced<'_>> = requests
            .iter()
            .zip(outlines)
            .map(|(request, outline)| Announced { names: &request.names, plan: &outline.plan })
            .collect();
        self.sink.announce(&announced).await.map_err(|error| (0, error))?;
        let tallies: Vec<Tally> = requests.iter().map(|_| Tally::default()).collect();
        let turns = outlines.iter().enumerate().flat_map(|(position, outline)| {
            let (source, tally) = (&*requests[position].source, &tallies[position]);
            let images = outline.plan.images_as_listed();
            let layers: Vec<_> = images.iter().flat_map(PlatformImage::layers).collect();
            layers.into_iter().map(move |layer| Turn { layer, source, tally, position })
        });
        self.blobs.bring_in_order(turns).await?;
        for (position, (request, outline)) in requests.iter().zip(outlines).enumerate() {
            let shown = self.show(request, outline).await;
            shown.map_err(|error| (position, error))?;
        }
        self.sink.finish().await.map_err(|error| (requests.len() - 1, error))?;
        for ((Announced { names, plan }, outline), tally) in
            announced.iter().zip(outlines).zip(&tallies)
        {
            let report = outline.report(tally, &*self.sink);
            let report = TransferReport { digest: self.sink.target(names, plan), ..report };
            self.progress.event(Event::Finished(report));
        }
        Ok(())
    }

    async fn show(&self, request: &Request, outline: &Outline) -> Result<(), Error> {
        request.source.whole().await?;
        self.sink.publish(&request.names, &outline.plan).await
    }
}
