//! Image names: which descriptor each stands for.

use containerd_client::services::v1 as api;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::types;
use jiff::Timestamp;
use prost_types::FieldMask;
use tracing::warn;

use super::client::{MAX_ANSWER_BYTES, Service};
use super::{Client, Error, Labels};
use crate::oci::{Descriptor, MediaType};

/// How often creating and updating are tried in turn when another client deletes and creates the
/// same name at the same time.
const PUT_TRIES: usize = 3;

/// One name in the image store.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// `docker.io/library/busybox:latest`, or any other string.
    pub name: String,
    /// The index or manifest that it stands for.
    pub target: Descriptor,
    /// Its labels.
    pub labels: Labels,
    /// When the name was first stored.
    pub created: Option<Timestamp>,
}

/// The image names of a namespace.
#[derive(Debug, Clone)]
pub struct Images {
    client: Client,
}

impl Images {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    fn service(&self) -> ImagesClient<Service> {
        ImagesClient::new(self.client.service()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Every image, in the store's order (by name).
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn list(&self) -> Result<Vec<Image>, Error> {
        let request = api::ListImagesRequest { filters: Vec::new() };
        let answer = self.client.call("list images", self.service().list(request)).await?;
        Ok(answer.images.into_iter().filter_map(readable).collect())
    }

    /// The image called `name`.
    ///
    /// # Errors
    /// When the daemon refuses, or what it has under that name is no descriptor.
    pub async fn get(&self, name: &str) -> Result<Option<Image>, Error> {
        let operation = format!("look up image {name}");
        let request = api::GetImageRequest { name: name.to_owned() };
        match self.client.call(&*operation, self.service().get(request)).await {
            Ok(answer) => answer
                .image
                .ok_or_else(|| Error::bad_answer(&*operation, "no image in it"))
                .and_then(|image| from_wire(image).map_err(|why| Error::bad_answer(operation, why)))
                .map(Some),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lets `name` stand for `target`. Of a name that exists, labels other than `labels` stay as
    /// they are: a pin, for one. Nothing is written when all is as it should be in what is `known`,
    /// the outcome of [`get`](Self::get).
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn put(
        &self,
        name: &str,
        target: &Descriptor,
        labels: &Labels,
        known: Option<&Image>,
    ) -> Result<(), Error> {
        if known.is_some_and(|image| is_up_to_date(image, target, labels)) {
            return Ok(());
        }
        let mut last = self.create_or_update(name, target, labels).await;
        for _ in 1..PUT_TRIES {
            match last {
                Err(Error::NotFound { .. }) => {
                    last = self.create_or_update(name, target, labels).await;
                }
                other => return other,
            }
        }
        last
    }

    /// Gives `image` the label `key`, or takes it from it; its other labels and what it stands for stay as
    /// they are by now.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such an image; when the daemon refuses.
    pub async fn set_label(
        &self,
        image: &Image,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), Error> {
        let Image { name, target, .. } = image;
        // A label that is nothing is removed.
        let label = (key.to_owned(), value.unwrap_or_default().to_owned());
        let image = api::Image {
            name: name.clone(),
            labels: [label].into(),
            // Not written, since the mask names the label alone, but a daemon looks into it.
            target: Some(to_wire(target)),
            created_at: None,
            updated_at: None,
        };
        let update = api::UpdateImageRequest {
            image: Some(image),
            update_mask: Some(FieldMask { paths: vec![format!("labels.{key}")] }),
            source_date_epoch: None,
        };
        let operation = format!("label image {name}");
        self.client.call(operation, self.service().update(update)).await.map(drop)
    }

    /// Deletes `name`; whether it existed. With `sync` the garbage collector runs before this
    /// returns.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn delete(&self, name: &str, sync: bool) -> Result<bool, Error> {
        let operation = format!("delete image {name}");
        let request = api::DeleteImageRequest { name: name.to_owned(), sync, target: None };
        match self.client.call(operation, self.service().delete(request)).await {
            Ok(()) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Lets `name`, which nothing has, stand for `target`; whether nothing had it.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn create(
        &self,
        name: &str,
        target: &Descriptor,
        labels: &Labels,
    ) -> Result<bool, Error> {
        let image = Some(image_of(name, target, labels));
        let create = api::CreateImageRequest { image, source_date_epoch: None };
        let operation = format!("create image {name}");
        match self.client.call(operation, self.service().create(create)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_already_exists() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn create_or_update(
        &self,
        name: &str,
        target: &Descriptor,
        labels: &Labels,
    ) -> Result<(), Error> {
        if self.create(name, target, labels).await? {
            return Ok(());
        }
        let paths = labels.keys().map(|key| format!("labels.{key}"));
        let update = api::UpdateImageRequest {
            image: Some(image_of(name, target, labels)),
            update_mask: Some(FieldMask {
                paths: std::iter::once("target".to_owned()).chain(paths).collect(),
            }),
            source_date_epoch: None,
        };
        let operation = format!("update image {name}");
        self.client.call(operation, self.service().update(update)).await.map(drop)
    }
}

fn image_of(name: &str, target: &Descriptor, labels: &Labels) -> api::Image {
    api::Image {
        name: name.to_owned(),
        labels: labels.clone().into_iter().collect(),
        target: Some(to_wire(target)),
        created_at: None,
        updated_at: None,
    }
}

fn is_up_to_date(image: &Image, target: &Descriptor, labels: &Labels) -> bool {
    let same_target = image.target.digest == target.digest
        && image.target.size == target.size
        && image.target.media_type == target.media_type;
    same_target && labels.iter().all(|(key, value)| image.labels.get(key) == Some(value))
}

pub(super) fn to_wire(descriptor: &Descriptor) -> types::Descriptor {
    types::Descriptor {
        media_type: descriptor.media_type.as_str().to_owned(),
        digest: descriptor.digest.to_string(),
        // Sizes come from non-negative JSON integers below 2^63.
        size: i64::try_from(descriptor.size).unwrap_or(i64::MAX),
        annotations: Default::default(),
    }
}

/// Another tool may have stored a name with a digest that is no SHA-256: it is left out of a list,
/// not an error of all others.
fn readable(image: api::Image) -> Option<Image> {
    let name = image.name.clone();
    from_wire(image).map_err(|why| warn!(name, why, "image left out of the list")).ok()
}

fn from_wire(image: api::Image) -> Result<Image, String> {
    let target = image.target.ok_or("the image has no target")?;
    let digest = target.digest.parse().map_err(|error| format!("its target: {error}"))?;
    let size = u64::try_from(target.size).map_err(|_| "its target's size is negative")?;
    Ok(Image {
        name: image.name,
        target: Descriptor::new(MediaType::new(target.media_type), digest, size),
        labels: image.labels.into_iter().collect(),
        created: image.created_at.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok()),
    })
}
