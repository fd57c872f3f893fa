//! Images as the kubelet sees them, by the CRI: what it finds under a name, and which its containers use.

use k8s_cri::v1 as api;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;

use super::Error;
use super::client::MAX_ANSWER_BYTES;
use super::cri::{Cri, is_absent};

/// An image that the kubelet sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenImage {
    /// Its ID, the digest of its configuration.
    pub id: String,
    /// Its tags and repository digests.
    pub names: Vec<String>,
    /// Whether the kubelet is told that it is pinned.
    pub pinned: bool,
}

impl Cri {
    /// What the kubelet finds under `name`; `None` where that is nothing.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn image(&self, name: &str) -> Result<Option<SeenImage>, Error> {
        let client = self.client();
        let mut service = ImageServiceClient::new(client.service());
        let image = Some(api::ImageSpec { image: name.to_owned(), ..Default::default() });
        let request = api::ImageStatusRequest { image, verbose: false };
        let operation = format!("tell what the kubelet finds under {name}");
        match client.call(operation, service.image_status(request)).await {
            Ok(answer) => Ok(answer.image.map(SeenImage::from)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What containers of the kubelet are made of, by the names and the IDs that they were made by;
    /// nothing without a CRI plugin.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn images_in_use(&self) -> Result<Vec<String>, Error> {
        let client = self.client();
        let service = RuntimeServiceClient::new(client.service());
        let mut service = service.max_decoding_message_size(MAX_ANSWER_BYTES);
        let call = service.list_containers(api::ListContainersRequest { filter: None });
        let answer = match client.call("list the kubelet's containers", call).await {
            Ok(answer) => answer,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let names = |container: api::Container| {
            let image = container.image.map(|image| image.image);
            std::iter::once(container.image_ref).chain(image)
        };
        let names = answer.containers.into_iter().flat_map(names);
        Ok(names.filter(|name| !name.is_empty()).collect())
    }
}

impl From<api::Image> for SeenImage {
    fn from(image: api::Image) -> Self {
        let names = image.repo_tags.into_iter().chain(image.repo_digests).collect();
        Self { id: image.id, names, pinned: image.pinned }
    }
}
