//! The OCI image layout as a sink.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::layout::{self, IndexEntry, Layout};
use crate::oci::Descriptor;
use crate::progress::BlobKind;
use crate::transfer::error::Error;
use crate::transfer::plan::{Layer, Plan, PlatformImage};
use crate::transfer::request::Names;
use crate::transfer::sink::{Ingest, Opened, Outcome, Sink};

/// Puts images into a directory.
#[derive(Debug)]
pub struct LayoutSink {
    layout: Layout,
    /// What skopeo and umoci find the image by, where that is not its name.
    tag: Option<String>,
}

impl LayoutSink {
    /// A sink that writes to `layout`.
    pub fn new(layout: Layout) -> Self {
        Self { layout, tag: None }
    }

    /// The same for one image, which skopeo and umoci find by `tag`.
    #[must_use]
    pub fn called(self, tag: Option<String>) -> Self {
        Self { tag, ..self }
    }
}

#[async_trait]
impl Sink for LayoutSink {
    async fn knows(&self, names: &Names) -> Result<bool, Error> {
        let name = names.reference.to_string();
        let entries = self.layout.entries().await?;
        Ok(entries.iter().any(|entry| entry.full_name() == Some(&name)))
    }

    async fn document(&self, descriptor: &Descriptor) -> Result<Option<Bytes>, Error> {
        if !self.layout.contains(descriptor).await {
            return Ok(None);
        }
        Ok(Some(self.layout.read(descriptor).await?))
    }

    async fn prepare(&self, image: &Arc<PlatformImage>) -> Result<usize, Error> {
        for (position, layer) in image.layers.iter().enumerate() {
            if !self.layout.contains(layer).await {
                return Ok(position);
            }
        }
        Ok(image.layers.len())
    }

    async fn open(&self, layer: &Layer) -> Result<Opened, Error> {
        Ok(match self.layout.ingest(layer.descriptor()).await? {
            layout::Opened::Exists => Opened::Exists,
            layout::Opened::Ingest(ingest) => Opened::Ingest(Box::new(ingest)),
        })
    }

    async fn publish(&self, names: &Names, plan: &Plan) -> Result<(), Error> {
        let target = entry_target(plan);
        let with_indexes = target.digest == plan.target.digest;
        for document in &plan.documents {
            if with_indexes || document.kind != BlobKind::Index {
                self.layout.put(&document.descriptor, document.bytes.clone()).await?;
            }
        }
        let name = names.reference.to_string();
        Ok(self.layout.publish(IndexEntry { name, tag: self.tag.clone(), target }).await?)
    }

    async fn close(&self, outcomes: &[Outcome]) -> Result<(), Error> {
        if outcomes.iter().all(|outcome| outcome.failure.is_none()) {
            self.layout.tidy();
        }
        Ok(())
    }
}

/// One platform's image stands by itself: an index beside it would name manifests that are not in
/// the layout, over which umoci stumbles.
fn entry_target(plan: &Plan) -> Descriptor {
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
impl Ingest for layout::Ingest {
    fn offset(&self) -> u64 {
        self.offset()
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        Ok(self.write(bytes).await?)
    }

    async fn suspend(self: Box<Self>) {
        (*self).suspend().await;
    }

    async fn commit(self: Box<Self>) -> Result<(), Error> {
        Ok((*self).commit().await?)
    }
}
