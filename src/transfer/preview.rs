//! What a run would do, found out without doing it.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};

use super::error::Error;
use super::forecast::{Forecast, Need};
use super::manner::{Manner, Policy};
use super::outline::Outline;
use super::present::Presence;
use super::recipe::{IMAGES_AT_ONCE, Recipe};
use super::request::Request;
use super::sink::Sink;
use crate::failure::{Diagnose as _, Diagnostic, Failure};
use crate::oci::Digest;
use crate::progress::{self, Event};

/// What a run would do.
#[derive(Debug)]
pub struct Preview {
    /// The images, in the order in which they are wanted.
    pub images: Vec<Previewed>,
    /// What they will take, where that can be told.
    pub forecast: Option<Forecast>,
    /// Why the run would fail although each image can be had: there is no room.
    pub no_room: Option<Error>,
}

/// What a run would do with one image.
#[derive(Debug)]
pub struct Previewed {
    /// What it is called.
    pub image: String,
    /// What it is; or why it would fail, which has been told.
    pub found: Result<Found, Failure>,
}

/// What an image is that can be had.
#[derive(Debug)]
pub struct Found {
    /// The host that would serve it, or the place that has it already.
    pub host: String,
    /// Digest of the index or manifest.
    pub digest: Digest,
    /// Platforms chosen, `linux/amd64`.
    pub platforms: Vec<String>,
    /// What it will take, where that can be told.
    pub need: Option<Need>,
}

/// What [`run`](super::run()) would do. Failures are told to `progress`, nothing is written.
///
/// # Errors
/// When the sink can't be asked.
pub async fn preview(
    requests: &[Request],
    sink: Arc<dyn Sink>,
    manner: Manner,
    progress: Arc<dyn progress::Sink>,
) -> Result<Preview, Error> {
    let recipe = Recipe::new(sink, manner, progress);
    let looked = stream::iter(requests).map(|request| recipe.preview_one(request));
    let looked: Vec<Result<Outline, (String, Failure)>> =
        looked.buffered(IMAGES_AT_ONCE).collect().await;
    let plans: Vec<_> = looked.iter().flatten().map(|outline| &outline.plan).collect();
    let forecast = recipe.sink.forecast(&plans).await?;
    let no_room = match manner.check_room {
        true => recipe.check_room(&plans).await.err(),
        false => None,
    };
    let mut needs = forecast.iter().flat_map(|forecast| &forecast.needs);
    let images = looked.into_iter().map(|looked| match looked {
        Ok(outline) => Previewed {
            found: Ok(Found {
                host: outline.place,
                digest: outline.plan.target.digest,
                platforms: outline
                    .plan
                    .images
                    .iter()
                    .map(|image| image.platform.to_string())
                    .collect(),
                need: needs.next().copied(),
            }),
            image: outline.image,
        },
        Err((image, failure)) => Previewed { image, found: Err(failure) },
    });
    Ok(Preview { images: images.collect(), forecast, no_room })
}

impl Recipe {
    async fn preview_one(&self, request: &Request) -> Result<Outline, (String, Failure)> {
        let image = request.names.reference.to_string();
        self.foresee(request, image.clone()).await.map_err(|error| {
            let diagnostic = Diagnostic::of(&error);
            self.progress.event(Event::Failed { image: image.clone(), diagnostic });
            (image, error.failure())
        })
    }

    async fn foresee(&self, request: &Request, image: String) -> Result<Outline, Error> {
        let policy = self.manner.policy;
        if policy == Policy::Always {
            return self.outline(request, image).await;
        }
        match self.presence(request, image.clone()).await? {
            Presence::Complete(outline) => Ok(outline),
            Presence::Unnamed(outline, _) if policy == Policy::Missing => Ok(outline),
            Presence::Lacking(_) if policy == Policy::Missing => self.outline(request, image).await,
            Presence::Unnamed(_, lacks) | Presence::Lacking(lacks) => {
                Err(Error::NotPresent { name: image, lacks })
            }
        }
    }
}
