//! A source and a sink in memory, which keep what they were asked for and fail as they are told.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Barrier;

use super::image::Tree;
use crate::containerd;
use crate::oci::{Descriptor, Digest};
use crate::sync::lock;
use crate::transfer::error::Error;
use crate::transfer::plan::{Document, Layer, Plan, PlatformImage};
use crate::transfer::provenance::Provenance;
use crate::transfer::request::Names;
use crate::transfer::sink::{Ingest, Opened, Outcome, Sink};
use crate::transfer::source::{BlobStream, DocumentKind, Resolved, Source};

/// Bytes that a stream gives at a time.
const PIECE: usize = 4;

#[derive(Default)]
pub(super) struct MemorySource {
    target: Option<Descriptor>,
    blobs: HashMap<Digest, Bytes>,
    /// What was asked for, blobs with the offset.
    pub(super) documents: Mutex<Vec<Digest>>,
    pub(super) streams: Mutex<Vec<(Digest, u64)>>,
    /// How often each blob still comes wrong.
    pub(super) wrong: Mutex<HashMap<Digest, usize>>,
    /// Nobody else has what comes wrong.
    pub(super) is_alone: bool,
    /// Blobs that fail after their first piece.
    pub(super) broken: HashSet<Digest>,
    /// Blobs of which no byte comes.
    pub(super) silent: HashSet<Digest>,
    /// Where the blobs wait for each other before their first byte.
    pub(super) meeting: Option<Arc<Barrier>>,
    /// It is far away, and its configurations wait there, too.
    pub(super) is_far: bool,
}

impl MemorySource {
    pub(super) fn new(tree: &Tree) -> Self {
        let blobs = tree.blobs.iter().map(|bytes| (Digest::of(bytes), bytes.clone())).collect();
        Self { target: Some(tree.descriptor.clone()), blobs, ..Self::default() }
    }

    /// How often the blob was opened.
    pub(super) fn opened(&self, digest: &Digest) -> usize {
        lock(&self.streams).iter().filter(|(opened, _)| opened == digest).count()
    }

    fn find(&self, digest: Digest) -> Result<Bytes, Error> {
        let place = "memory".to_owned();
        self.blobs.get(&digest).cloned().ok_or(Error::Incomplete { digest, place })
    }
}

#[async_trait]
impl Source for MemorySource {
    fn is_remote(&self) -> bool {
        self.is_far
    }

    async fn resolve(&self) -> Result<Resolved, Error> {
        let descriptor = self.target.clone().expect("it has an image");
        Ok(Resolved { descriptor, place: "memory".to_owned(), document: None })
    }

    async fn document(&self, descriptor: &Descriptor, kind: DocumentKind) -> Result<Bytes, Error> {
        lock(&self.documents).push(descriptor.digest);
        if let (DocumentKind::Blob, true, Some(meeting)) = (kind, self.is_far, &self.meeting) {
            meeting.wait().await;
        }
        self.find(descriptor.digest)
    }

    async fn blob(
        &self,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<Box<dyn BlobStream>, Error> {
        let digest = descriptor.digest;
        lock(&self.streams).push((digest, offset));
        let mut bytes = self.find(digest)?.slice(usize::try_from(offset).unwrap()..);
        if let Some(left) = lock(&self.wrong).get_mut(&digest)
            && *left > 0
        {
            *left -= 1;
            bytes = vec![b'?'; bytes.len()].into();
        }
        let (is_broken, is_silent) = (self.broken.contains(&digest), self.silent.contains(&digest));
        if let Some(meeting) = &self.meeting {
            meeting.wait().await;
        }
        Ok(Box::new(MemoryBlob { bytes, others_left: !self.is_alone, is_broken, is_silent }))
    }
}

struct MemoryBlob {
    bytes: Bytes,
    others_left: bool,
    is_broken: bool,
    is_silent: bool,
}

#[async_trait]
impl BlobStream for MemoryBlob {
    async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        tokio::task::yield_now().await;
        if self.is_silent {
            std::future::pending::<()>().await;
        }
        if self.bytes.is_empty() {
            return None;
        }
        let piece = self.bytes.split_to(PIECE.min(self.bytes.len()));
        if self.is_broken && self.bytes.is_empty() {
            return Some(Err(Error::Closed));
        }
        Some(Ok(piece))
    }

    fn places(&self) -> Vec<String> {
        vec!["memory".to_owned()]
    }

    fn wrong(&self) -> bool {
        self.others_left
    }
}

/// What a sink was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// Was given a document while others came.
    Early(Digest),
    /// Opened a blob, which had so many bytes.
    Open(Digest, usize),
    Stage(Digest),
    Settle(Digest),
    Suspend(Digest),
    Publish(String),
    Close(Vec<bool>),
}

#[derive(Default)]
pub(super) struct MemorySink {
    shared: Arc<Shared>,
    /// It has one order, in which it takes so many blobs at the same time.
    in_order: Option<usize>,
    /// It takes what is surely needed before all is known.
    pub(super) is_eager: bool,
}

#[derive(Default)]
struct Shared {
    blobs: Mutex<HashMap<Digest, Bytes>>,
    partial: Mutex<HashMap<Digest, Vec<u8>>>,
    acts: Mutex<Vec<Act>>,
    /// For each write from now on, how many bytes of the blob are left when it is lost.
    losses: Mutex<VecDeque<Option<usize>>>,
    /// Where blobs wait for each other when all their bytes are there, which is not done here.
    settling: Option<Arc<Barrier>>,
    open: Mutex<usize>,
    most_open: Mutex<usize>,
}

impl MemorySink {
    /// One that has one order.
    pub(super) fn in_order(blobs_at_once: usize) -> Self {
        Self { in_order: Some(blobs_at_once), ..Self::default() }
    }

    /// One that keeps blobs elsewhere, so many at the same time.
    pub(super) fn elsewhere(together: usize) -> Self {
        let settling = Some(Arc::new(Barrier::new(together)));
        Self { shared: Arc::new(Shared { settling, ..Shared::default() }), ..Self::default() }
    }

    /// Has a blob or document, be it the right one or not.
    pub(super) fn put(&self, digest: Digest, bytes: Bytes) {
        lock(&self.shared.blobs).insert(digest, bytes);
    }

    pub(super) fn has(&self, digest: &Digest) -> bool {
        lock(&self.shared.blobs).contains_key(digest)
    }

    pub(super) fn lose(&self, losses: impl IntoIterator<Item = Option<usize>>) {
        lock(&self.shared.losses).extend(losses);
    }

    pub(super) fn acts(&self) -> Vec<Act> {
        lock(&self.shared.acts).clone()
    }

    /// Blobs that are being written.
    pub(super) fn open_ingests(&self) -> usize {
        *lock(&self.shared.open)
    }

    /// The most that there were at the same time.
    pub(super) fn most_open_ingests(&self) -> usize {
        *lock(&self.shared.most_open)
    }

    fn note(&self, act: Act) {
        lock(&self.shared.acts).push(act);
    }
}

#[async_trait]
impl Sink for MemorySink {
    fn is_sequential(&self) -> bool {
        self.in_order.is_some()
    }

    fn blobs_at_once(&self) -> usize {
        self.in_order.unwrap_or(1)
    }

    /// In its order, nothing is read ahead.
    fn needed(&self, layers: &[Descriptor]) -> Vec<Descriptor> {
        if self.in_order.is_some() { Vec::new() } else { layers.to_vec() }
    }

    fn keeps_artifacts(&self) -> bool {
        false
    }

    async fn put_early(&self, document: &Document, _: &Provenance) -> Result<(), Error> {
        self.note(Act::Early(document.descriptor.digest));
        Ok(())
    }

    async fn is_lacking(&self, layer: &Descriptor) -> bool {
        self.is_eager && !self.has(&layer.digest)
    }

    async fn document(&self, descriptor: &Descriptor) -> Result<Option<Bytes>, Error> {
        Ok(lock(&self.shared.blobs).get(&descriptor.digest).cloned())
    }

    async fn prepare(&self, image: &Arc<PlatformImage>) -> Result<usize, Error> {
        let missing = image.layers.iter().position(|layer| !self.has(&layer.digest));
        Ok(missing.unwrap_or(image.layers.len()))
    }

    async fn open(&self, layer: &Layer) -> Result<Opened, Error> {
        let descriptor = layer.descriptor().clone();
        let begun = lock(&self.shared.partial).get(&descriptor.digest).map_or(0, Vec::len);
        self.note(Act::Open(descriptor.digest, begun));
        if self.has(&descriptor.digest) {
            return Ok(Opened::Exists);
        }
        let mut open = lock(&self.shared.open);
        *open += 1;
        let mut most = lock(&self.shared.most_open);
        *most = open.max(*most);
        Ok(Opened::Ingest(Box::new(MemoryIngest { descriptor, shared: Arc::clone(&self.shared) })))
    }

    async fn stage(&self, layer: &Layer) -> Result<(), Error> {
        self.note(Act::Stage(layer.descriptor().digest));
        Ok(())
    }

    async fn settle(&self, layer: &Layer) -> Result<(), Error> {
        self.note(Act::Settle(layer.descriptor().digest));
        Ok(())
    }

    async fn publish(&self, names: &Names, _: &Plan) -> Result<(), Error> {
        self.note(Act::Publish(names.reference.to_string()));
        Ok(())
    }

    async fn close(&self, outcomes: &[Outcome]) -> Result<(), Error> {
        let complete = outcomes.iter().map(|outcome| outcome.failure.is_none()).collect();
        self.note(Act::Close(complete));
        Ok(())
    }
}

struct MemoryIngest {
    descriptor: Descriptor,
    shared: Arc<Shared>,
}

impl Drop for MemoryIngest {
    fn drop(&mut self) {
        *lock(&self.shared.open) -= 1;
    }
}

#[async_trait]
impl Ingest for MemoryIngest {
    fn offset(&self) -> u64 {
        lock(&self.shared.partial).get(&self.descriptor.digest).map_or(0, Vec::len) as u64
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        tokio::task::yield_now().await;
        let mut partial = lock(&self.shared.partial);
        let partial = partial.entry(self.descriptor.digest).or_default();
        partial.extend_from_slice(&bytes);
        match lock(&self.shared.losses).pop_front().flatten() {
            Some(left) => {
                partial.truncate(left);
                Err(Error::Lost(Box::new(Error::Closed)))
            }
            None => Ok(()),
        }
    }

    fn is_settled_elsewhere(&self) -> bool {
        self.shared.settling.is_some()
    }

    async fn suspend(self: Box<Self>) {
        lock(&self.shared.acts).push(Act::Suspend(self.descriptor.digest));
    }

    async fn commit(self: Box<Self>) -> Result<(), Error> {
        if let Some(settling) = &self.shared.settling {
            settling.wait().await;
        }
        let Descriptor { digest, size, .. } = self.descriptor;
        let bytes = lock(&self.shared.partial).remove(&digest).unwrap_or_default();
        if Digest::of(&bytes) != digest {
            let actual = bytes.len() as u64;
            return Err(containerd::Error::Size { digest, expected: size, actual }.into());
        }
        lock(&self.shared.blobs).insert(digest, bytes.into());
        Ok(())
    }
}
