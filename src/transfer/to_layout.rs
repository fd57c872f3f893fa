//! The OCI image layout as a destination.

use async_trait::async_trait;
use bytes::Bytes;

use super::destination::{BlobIngest, Destination, Opened};
use super::plan::{ImagePlan, Layer, PlatformImage};
use super::{Error, PullRequest};
use crate::layout::{self, IndexEntry, Layout};
use crate::oci::Descriptor;
use crate::progress::BlobKind;
use crate::reference::Reference;

/// Puts images into a directory.
#[derive(Debug)]
pub struct LayoutDestination {
    layout: Layout,
}

impl LayoutDestination {
    /// A destination that writes to `layout`.
    pub fn new(layout: Layout) -> Self {
        Self { layout }
    }
}

#[async_trait]
impl Destination for LayoutDestination {
    async fn read(&self, descriptor: &Descriptor) -> Result<Option<Bytes>, Error> {
        if !self.layout.contains(descriptor) {
            return Ok(None);
        }
        Ok(Some(self.layout.read(descriptor)?))
    }

    async fn ready_layers(&self, image: &PlatformImage) -> Result<usize, Error> {
        let missing =
            image.layers.iter().position(|layer| !self.layout.contains(&layer.descriptor));
        Ok(missing.unwrap_or(image.layers.len()))
    }

    async fn open(
        &self,
        layer: &Layer,
        _is_unpacked: bool,
        _image: &Reference,
    ) -> Result<Opened, Error> {
        Ok(match self.layout.ingest(&layer.descriptor).await? {
            layout::Opened::Exists => Opened::Exists,
            layout::Opened::Ingest(ingest) => Opened::Ingest(Box::new(ingest)),
        })
    }

    async fn stage(&self, _layer: &Layer) -> Result<(), Error> {
        Ok(())
    }

    async fn unpack(&self, _layer: &Layer) -> Result<(), Error> {
        Ok(())
    }

    fn unpacks(&self) -> bool {
        false
    }

    async fn publish(&self, request: &PullRequest, plan: &ImagePlan) -> Result<(), Error> {
        let target = entry_target(plan);
        let with_indexes = target.digest == plan.target.digest;
        for document in &plan.documents {
            if with_indexes || document.kind != BlobKind::Index {
                self.layout.put(&document.descriptor, document.bytes.clone()).await?;
            }
        }
        let name = request.reference.to_string();
        Ok(self.layout.publish(IndexEntry { name, target }).await?)
    }

    async fn close(&self, _requests: &[PullRequest], complete: bool) -> Result<(), Error> {
        if complete {
            self.layout.tidy();
        }
        Ok(())
    }
}

/// One platform's image stands by itself: an index beside it would name manifests that are not in
/// the layout, over which umoci stumbles.
fn entry_target(plan: &ImagePlan) -> Descriptor {
    match plan.images.as_slice() {
        [only] => {
            let mut target = only.manifest.clone();
            target.platform = Some(only.platform.clone());
            target
        }
        _ => plan.target.clone(),
    }
}

#[async_trait]
impl BlobIngest for layout::Ingest {
    fn offset(&self) -> u64 {
        self.offset()
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        Ok(self.write(bytes).await?)
    }

    async fn flush(&mut self) -> Result<(), Error> {
        // Every piece is written as soon as it comes.
        Ok(())
    }

    async fn suspend(self: Box<Self>) {
        (*self).suspend().await;
    }

    async fn commit(self: Box<Self>) -> Result<(), Error> {
        Ok((*self).commit().await?)
    }
}
