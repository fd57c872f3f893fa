//! What the kubelet would see: the CRI v1 image and runtime services of a daemon.

use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{
    Image, ImageSpec, ImageStatusRequest, ListImagesRequest, PullImageRequest, StatusRequest,
};

use super::block_on;
use super::containerd::Containerd;

/// The CRI of one daemon.
pub(crate) struct Cri<'a> {
    daemon: &'a Containerd,
}

impl<'a> Cri<'a> {
    pub(crate) fn new(daemon: &'a Containerd) -> Self {
        Self { daemon }
    }

    /// Whether the CRI plugin has finished starting.
    pub(crate) fn runtime_is_ready(&self) -> bool {
        block_on(async {
            let mut client = RuntimeServiceClient::new(self.daemon.channel().await);
            let status = client.status(StatusRequest { verbose: false }).await;
            status.ok().and_then(|answer| answer.into_inner().status).is_some_and(|status| {
                status
                    .conditions
                    .iter()
                    .any(|condition| condition.r#type == "RuntimeReady" && condition.status)
            })
        })
    }

    /// Has the CRI pull `name`, as the kubelet does.
    pub(crate) fn pull(&self, name: &str) {
        block_on(async {
            let mut client = ImageServiceClient::new(self.daemon.channel().await);
            let image = Some(ImageSpec { image: name.to_owned(), ..ImageSpec::default() });
            let request = PullImageRequest { image, ..PullImageRequest::default() };
            client.pull_image(request).await.expect("the CRI pulls");
        });
    }

    /// The image that the kubelet finds under `name`: a tag, a repo digest or an image ID.
    pub(crate) fn image(&self, name: &str) -> Option<Image> {
        block_on(async {
            let mut client = ImageServiceClient::new(self.daemon.channel().await);
            let image = Some(ImageSpec { image: name.to_owned(), ..ImageSpec::default() });
            let request = ImageStatusRequest { image, verbose: false };
            client.image_status(request).await.expect("ImageStatus answers").into_inner().image
        })
    }

    /// The image under `name` as soon as the CRI has it: it learns of images by the daemon's
    /// events.
    pub(crate) fn image_soon(&self, name: &str) -> Image {
        self.daemon.wait_until(&format!("the CRI's image {name}"), || self.image(name))
    }

    /// Waits until the CRI has forgotten `name`.
    pub(crate) fn wait_until_gone(&self, name: &str) {
        let gone = || self.image(name).is_none().then_some(());
        self.daemon.wait_until(&format!("the end of the CRI's image {name}"), gone);
    }

    /// All images that the kubelet sees.
    pub(crate) fn images(&self) -> Vec<Image> {
        block_on(async {
            let mut client = ImageServiceClient::new(self.daemon.channel().await);
            let request = ListImagesRequest::default();
            client.list_images(request).await.expect("ListImages answers").into_inner().images
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::each_version;

    each_version! {
        fn the_kubelet_gets_no_image_that_nobody_pulled(daemon) {
            let cri = Cri::new(daemon);
            assert!(cri.image("registry.invalid/never:pulled").is_none());
            let named = |image: &Image| image.repo_tags.iter().any(|tag| tag.contains("never"));
            assert!(!cri.images().iter().any(named));
        }
    }
}
