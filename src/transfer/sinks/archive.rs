//! An archive as a sink: everything in one order, documents first.

use std::collections::HashSet;
use std::num::NonZero;
use std::sync::{Arc, Mutex};
use std::thread;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::archive::{
    BlobWriter, Contents, Form, NamedTarget, Target, Wrapping, WriteError, Writer,
};
use crate::oci::{Descriptor, Digest};
use crate::sync::lock;
use crate::transfer::error::Error;
use crate::transfer::plan::{Document, Layer, Plan, PlatformImage};
use crate::transfer::request::Names;
use crate::transfer::selection::Selection;
use crate::transfer::sink::{Announced, Ingest, Opened, Outcome, Sink};

/// Most blobs that are written at the same time: each has up to 4 MiB on its way.
const MOST_AT_ONCE: usize = 8;

/// Puts images into an archive, which is there when all of them are in it.
#[derive(Debug)]
pub struct ArchiveSink {
    target: Target,
    form: Form,
    wrapping: Wrapping,
    /// Begun when all is known.
    writer: OnceCell<Writer>,
    /// Blobs that are in the archive.
    written: Arc<Mutex<HashSet<Digest>>>,
    /// Blobs that who loads it has already.
    held: OnceCell<HashSet<Digest>>,
    /// Whether blobs have places of their own.
    is_laid_out: OnceCell<bool>,
}

impl ArchiveSink {
    /// A sink that writes to `target`. Nothing is written yet.
    pub fn new(target: Target, form: Form, wrapping: Wrapping) -> Self {
        let (writer, held, is_laid_out) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Self { target, form, wrapping, writer, written: Arc::default(), held, is_laid_out }
    }

    /// Leaves out the layers among `blobs`, which who loads the archive has already.
    pub fn leave_out(&self, blobs: HashSet<Digest>) {
        // Said once, before the run.
        let _ = self.held.set(blobs);
    }

    fn has(&self, digest: &Digest) -> bool {
        let is_held = self.held.get().is_some_and(|held| held.contains(digest));
        is_held || lock(&self.written).contains(digest)
    }

    /// The layers that will be written, in the order that they have in the archive, and where they are
    /// in it.
    fn coming(&self, images: &[Announced<'_>]) -> Vec<(String, Descriptor)> {
        let mut seen = HashSet::new();
        let listed = images.iter().flat_map(|image| image.plan.images_as_listed());
        let layers: Vec<Descriptor> = listed.flat_map(|image| image.layers.clone()).collect();
        let is_new = |layer: &Descriptor| !self.has(&layer.digest) && seen.insert(layer.digest);
        // One that has no path fails when it comes.
        let placed = |layer: Descriptor| Some((self.form.path_of(&layer)?, layer));
        layers.into_iter().filter(is_new).filter_map(placed).collect()
    }

    async fn writer(&self) -> Result<&Writer, Error> {
        let begin = || Writer::create(self.target.clone(), self.wrapping);
        Ok(self.writer.get_or_try_init(begin).await?)
    }
}

#[async_trait]
impl Sink for ArchiveSink {
    fn is_sequential(&self) -> bool {
        true
    }

    async fn document(&self, _: &Descriptor) -> Result<Option<Bytes>, Error> {
        Ok(None)
    }

    fn needed(&self, layers: &[Descriptor]) -> Vec<Descriptor> {
        layers.iter().filter(|layer| !self.has(&layer.digest)).cloned().collect()
    }

    async fn announce(&self, images: &[Announced<'_>]) -> Result<(), Error> {
        let is_alone = |image: &Announced<'_>| image.plan.images.len() == 1;
        if self.form == Form::Docker && !images.iter().all(is_alone) {
            return Err(WriteError::SeveralPlatforms.into());
        }
        let selections = images.iter().map(|image| Selection::of(image.names, image.plan));
        let selections: Vec<_> = selections.collect::<Result<_, _>>().map_err(WriteError::from)?;
        let named: Vec<NamedTarget<'_>> = images
            .iter()
            .zip(&selections)
            .map(|(image, selection)| NamedTarget {
                name: &image.names.reference,
                target: selection.target.clone(),
                runnable: image.plan.images.iter().find(|image| image.is_image()).map(runnable),
            })
            .collect();
        let contents = Contents::of(self.form, &named)?;
        let writer = self.writer().await?;
        writer.begin(contents).await?;
        for Document { descriptor, bytes, .. } in selections.iter().flat_map(|it| &it.documents) {
            let Some(path) = self.form.path_of(descriptor) else { continue };
            if lock(&self.written).insert(descriptor.digest) {
                writer.document(path, bytes.clone()).await?;
            }
        }
        let is_laid_out = writer.lay_out(self.coming(images)).await?;
        // Announced once.
        let _ = self.is_laid_out.set(is_laid_out);
        Ok(())
    }

    fn blobs_at_once(&self) -> usize {
        match self.is_laid_out.get() {
            Some(true) => {
                let processors = thread::available_parallelism().map_or(1, NonZero::get);
                processors.clamp(1, MOST_AT_ONCE)
            }
            _ => 1,
        }
    }

    async fn prepare(&self, _: &Arc<PlatformImage>) -> Result<usize, Error> {
        Ok(0)
    }

    async fn open(&self, layer: &Layer) -> Result<Opened, Error> {
        let descriptor = layer.descriptor();
        if self.has(&descriptor.digest) {
            return Ok(Opened::Exists);
        }
        let (digest, media_type) = (descriptor.digest, descriptor.media_type.to_string());
        let path = self.form.path_of(descriptor);
        let path = path.ok_or(WriteError::Packing { digest, media_type })?;
        let blob = self.writer().await?.blob(path, descriptor).await?;
        let (digest, written) = (descriptor.digest, Arc::clone(&self.written));
        Ok(Opened::Ingest(Box::new(ArchiveIngest { blob, digest, written })))
    }

    async fn publish(&self, _: &Names, _: &Plan) -> Result<(), Error> {
        Ok(())
    }

    fn target(&self, names: &Names, plan: &Plan) -> Digest {
        Selection::of(names, plan).map_or(plan.target.digest, |selection| selection.target.digest)
    }

    async fn finish(&self) -> Result<(), Error> {
        Ok(self.writer().await?.finish().await?)
    }

    async fn close(&self, _: &[Outcome]) -> Result<(), Error> {
        Ok(())
    }
}

fn runnable(image: &Arc<PlatformImage>) -> (Descriptor, Vec<Descriptor>) {
    (image.config.clone(), image.layers.clone())
}

/// A layer on its way into the archive.
struct ArchiveIngest {
    blob: BlobWriter,
    digest: Digest,
    written: Arc<Mutex<HashSet<Digest>>>,
}

#[async_trait]
impl Ingest for ArchiveIngest {
    fn offset(&self) -> u64 {
        0
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        Ok(self.blob.write(bytes).await?)
    }

    async fn suspend(self: Box<Self>) {
        self.blob.give_up().await;
    }

    async fn commit(self: Box<Self>) -> Result<(), Error> {
        self.blob.commit().await?;
        lock(&self.written).insert(self.digest);
        Ok(())
    }
}
