//! A repository of a registry as a sink: what is there is not sent, another repository's blobs are
//! mounted, and what names others comes after them.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::referrers;
use crate::config::RegistryHost;
use crate::oci::{Descriptor, Digest, MediaKind};
use crate::progress::{BlobKind, BlobState};
use crate::reference::{Reference, split_port, without_brackets};
use crate::registry::{self, Begun, Destination, Registry, Session, Stopped, Upload};
use crate::sync::lock;
use crate::transfer::error::Error;
use crate::transfer::once::OnceMap;
use crate::transfer::plan::{Document, Layer, Plan, PlatformImage};
use crate::transfer::provenance::Origin;
use crate::transfer::request::Names;
use crate::transfer::selection::Selection;
use crate::transfer::sink::{Ingest, Opened, Outcome, Sink};
use crate::transfer::source::Source;

/// Up to what size, in bytes, a blob is sent in one request that can be repeated (2 MiB). That many
/// are held in memory at a time as blobs are sent at once.
const MAX_SMALL_BLOB: u64 = 2 << 20;

/// Repositories of the same registry that a blob is asked to be mounted from. Each may cost a request
/// and a token.
const MAX_MOUNTS: usize = 2;

/// Documents that are sent at one time.
const DOCUMENTS_AT_ONCE: usize = 4;

/// Brings images into one repository.
pub struct RegistrySink {
    destination: Destination,
    /// The registry's host as origins have it: `harbor.example.net`.
    host: String,
    uploads: Mutex<HashMap<Digest, Arc<AsyncMutex<Upload>>>>,
    /// Sessions of mounts that were refused, which take the bytes as any other.
    sessions: Mutex<HashMap<Digest, Session>>,
    /// Documents that several images may have, each sent once: docker-registry 2.8.2 writes its link to
    /// a blob anew when that is sent again, and refuses a manifest that names it at that moment.
    documents: OnceMap<Digest, ()>,
    /// Held while an index of referrers is read and written.
    listing: AsyncMutex<()>,
    /// By the image's name.
    sent: Mutex<HashMap<String, Arc<AtomicU64>>>,
}

impl RegistrySink {
    /// A sink that pushes to the repository of `reference`, by the one of `hosts` that takes pushes.
    ///
    /// # Errors
    /// As [`registry::Repository::destination`].
    pub fn new(
        registry: &Registry,
        hosts: Vec<RegistryHost>,
        reference: &Reference,
    ) -> Result<Self, Error> {
        Ok(Self {
            destination: registry.repository(hosts, reference).destination()?,
            host: without_brackets(split_port(reference.domain()).0).to_owned(),
            uploads: Mutex::default(),
            sessions: Mutex::default(),
            documents: OnceMap::new(),
            listing: AsyncMutex::default(),
            sent: Mutex::default(),
        })
    }

    fn sent_for(&self, names: &Names) -> Arc<AtomicU64> {
        Arc::clone(lock(&self.sent).entry(names.reference.to_string()).or_default())
    }

    /// The repositories of this registry among `origins`.
    fn neighbours(&self, origins: Vec<Origin>) -> Vec<String> {
        let mut seen = BTreeSet::new();
        origins
            .into_iter()
            .filter(|origin| origin.host == self.host)
            .map(|origin| origin.repository)
            .filter(|repository| seen.insert(repository.clone()))
            .take(MAX_MOUNTS)
            .collect()
    }

    async fn put_config(&self, document: &Document, sent: &AtomicU64) -> Result<(), Error> {
        let descriptor = &document.descriptor;
        let put = || async {
            if !self.destination.has_blob(&descriptor.digest).await? {
                self.destination.put_blob(descriptor, document.bytes.clone(), None).await?;
                sent.fetch_add(descriptor.size, Ordering::Relaxed);
            }
            Ok(())
        };
        self.documents.run(descriptor.digest, put).await
    }

    async fn put_by_digest(&self, document: &Document, sent: &AtomicU64) -> Result<(), Error> {
        let digest = document.descriptor.digest;
        let put = || async { self.put_manifest(document, &digest.to_string(), sent).await };
        self.documents.run(digest, put).await
    }

    async fn put_manifest(
        &self,
        document: &Document,
        name: &str,
        sent: &AtomicU64,
    ) -> Result<(), Error> {
        let descriptor = &document.descriptor;
        let subject = referrers::subject(document);
        // Of what refers to another, an earlier run may have brought no more than itself.
        if subject.is_none() && self.destination.manifest(name).await? == Some(descriptor.digest) {
            return Ok(());
        }
        let has_urls = document.children.iter().any(|child| !child.urls.is_empty());
        let put = self.destination.put_manifest(name, descriptor, &document.bytes, has_urls);
        let is_listed = put.await?;
        sent.fetch_add(descriptor.size, Ordering::Relaxed);
        match subject {
            Some(subject) if !is_listed => {
                let _turn = self.listing.lock().await;
                referrers::list(&self.destination, &subject, document).await
            }
            _ => Ok(()),
        }
    }
}

/// Whether a layer stays where its `urls` say.
fn is_kept_elsewhere(layer: &Descriptor) -> bool {
    matches!(layer.kind(), MediaKind::Layer { foreign: true, .. }) && !layer.urls.is_empty()
}

/// What of the image can stand by itself.
fn select(names: &Names, plan: &Plan) -> Result<Selection, Error> {
    let selection = Selection::of(names, plan);
    let selection = selection.map_err(|error| Error::Unwritable(error.to_string()))?;
    let documents = || selection.documents.iter();
    let there: BTreeSet<Digest> = documents().map(|document| document.descriptor.digest).collect();
    let mut indexes = documents().filter(|document| document.kind == BlobKind::Index);
    // An image that is named by its digest stays as it is, or is another one.
    let dangles =
        indexes.any(|index| index.children.iter().any(|child| !there.contains(&child.digest)));
    match plan.images.first() {
        Some(image) if dangles => {
            Err(Error::OtherTarget { wanted: plan.target.digest, digest: image.manifest.digest })
        }
        _ => Ok(selection),
    }
}

#[async_trait]
impl Sink for RegistrySink {
    async fn document(&self, _: &Descriptor) -> Result<Option<Bytes>, Error> {
        Ok(None)
    }

    async fn prepare(&self, _: &Arc<PlatformImage>) -> Result<usize, Error> {
        Ok(0)
    }

    async fn adopt(&self, layer: &Layer, source: &dyn Source) -> Result<bool, Error> {
        let descriptor = layer.descriptor();
        let digest = descriptor.digest;
        if is_kept_elsewhere(descriptor) || self.destination.has_blob(&digest).await? {
            return Ok(true);
        }
        for repository in self.neighbours(source.origins(descriptor).await) {
            match self.destination.mount(&digest, &repository).await {
                Some(Begun::Mounted) => return Ok(true),
                Some(Begun::Session(session)) => {
                    let earlier = lock(&self.sessions).insert(digest, session);
                    if let Some(earlier) = earlier {
                        self.destination.cancel(earlier).await;
                    }
                }
                None => {}
            }
        }
        Ok(false)
    }

    async fn open(&self, layer: &Layer) -> Result<Opened, Error> {
        let descriptor = layer.descriptor().clone();
        let session = lock(&self.sessions).remove(&descriptor.digest);
        let sent = self.sent_for(&layer.image().names);
        if descriptor.size <= MAX_SMALL_BLOB {
            let (destination, bytes) = (self.destination.clone(), BytesMut::new());
            let small = SmallBlob { destination, descriptor, session, bytes, sent };
            return Ok(Opened::Ingest(Box::new(small)));
        }
        let upload = {
            let mut uploads = lock(&self.uploads);
            let upload = || Upload::new(self.destination.clone(), &descriptor, session);
            let begin = || Arc::new(AsyncMutex::new(upload()));
            Arc::clone(uploads.entry(descriptor.digest).or_insert_with(begin))
        };
        let mut upload = upload.lock_owned().await;
        Ok(match upload.open().await? {
            registry::Opened::Complete => Opened::Exists,
            registry::Opened::At(offset) => {
                Opened::Ingest(Box::new(LargeBlob { upload, is_broken: false, offset, sent }))
            }
        })
    }

    async fn publish(&self, names: &Names, plan: &Plan) -> Result<(), Error> {
        let selection = select(names, plan)?;
        let sent = self.sent_for(names);
        let digest = selection.target.digest;
        let mut configs = Vec::new();
        let mut manifests = Vec::new();
        let mut indexes = Vec::new();
        let is_root = |document: &&Document| document.descriptor.digest == digest;
        // Children before parents.
        for document in selection.documents.iter().rev().filter(|document| !is_root(document)) {
            match document.kind {
                BlobKind::Index => indexes.push(document),
                BlobKind::Manifest => manifests.push(self.put_by_digest(document, &sent)),
                BlobKind::Config | BlobKind::Layer => {
                    configs.push(self.put_config(document, &sent));
                }
            }
        }
        stream::iter(configs).buffer_unordered(DOCUMENTS_AT_ONCE).try_collect::<()>().await?;
        stream::iter(manifests).buffer_unordered(DOCUMENTS_AT_ONCE).try_collect::<()>().await?;
        for index in indexes {
            self.put_by_digest(index, &sent).await?;
        }
        let tag = names.reference.tag().map(str::to_owned);
        let name = match names.reference.digest() {
            Some(wanted) if wanted != digest => {
                return Err(Error::OtherTarget { wanted, digest });
            }
            Some(_) => tag.unwrap_or_else(|| digest.to_string()),
            None => tag.unwrap_or_else(|| "latest".to_owned()),
        };
        match selection.documents.iter().find(is_root) {
            Some(root) => self.put_manifest(root, &name, &sent).await,
            None => Err(Error::Incomplete { digest, place: "what was planned".to_owned() }),
        }
    }

    fn target(&self, names: &Names, plan: &Plan) -> Digest {
        select(names, plan).map_or(plan.target.digest, |selection| selection.target.digest)
    }

    fn sent_bytes(&self, names: &Names) -> Option<u64> {
        Some(self.sent_for(names).load(Ordering::Relaxed))
    }

    async fn close(&self, _: &[Outcome]) -> Result<(), Error> {
        let sessions = std::mem::take(&mut *lock(&self.sessions));
        for (_, session) in sessions {
            self.destination.cancel(session).await;
        }
        Ok(())
    }
}

/// A blob that is sent when all of it has come.
struct SmallBlob {
    destination: Destination,
    descriptor: Descriptor,
    session: Option<Session>,
    bytes: BytesMut,
    sent: Arc<AtomicU64>,
}

#[async_trait]
impl Ingest for SmallBlob {
    fn offset(&self) -> u64 {
        0
    }

    fn moving(&self) -> BlobState {
        BlobState::Uploading
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn suspend(self: Box<Self>) {
        if let Some(session) = self.session {
            self.destination.cancel(session).await;
        }
    }

    async fn commit(self: Box<Self>) -> Result<(), Error> {
        let Self { destination, descriptor, session, bytes, sent } = *self;
        let bytes = bytes.freeze();
        if Digest::of(&bytes) != descriptor.digest {
            return Err(Error::Mismatch(descriptor.digest));
        }
        destination.put_blob(&descriptor, bytes, session).await?;
        sent.fetch_add(descriptor.size, Ordering::Relaxed);
        Ok(())
    }
}

/// A blob that is sent while it comes.
struct LargeBlob {
    upload: OwnedMutexGuard<Upload>,
    /// It broke off and goes on when it is opened again.
    is_broken: bool,
    offset: u64,
    sent: Arc<AtomicU64>,
}

fn stopped(stopped: Stopped) -> Error {
    match stopped {
        Stopped::Broken(error) => Error::Lost(Box::new(error.into())),
        Stopped::Failed(error) => error.into(),
    }
}

#[async_trait]
impl Ingest for LargeBlob {
    fn offset(&self) -> u64 {
        self.offset
    }

    fn moving(&self) -> BlobState {
        BlobState::Uploading
    }

    /// The registry hashes what has come, and waits for its disk.
    fn is_settled_elsewhere(&self) -> bool {
        true
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        let length = bytes.len() as u64;
        if let Err(reason) = self.upload.write(bytes).await {
            self.is_broken = true;
            return Err(stopped(reason));
        }
        self.offset += length;
        self.sent.fetch_add(length, Ordering::Relaxed);
        Ok(())
    }

    async fn suspend(mut self: Box<Self>) {
        if !self.is_broken {
            self.upload.abandon().await;
        }
    }

    async fn commit(mut self: Box<Self>) -> Result<(), Error> {
        self.upload.finish().await.map_err(stopped)
    }
}
