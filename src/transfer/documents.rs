//! Indexes, manifests and configurations of one image: read where they are nearest, kept in memory
//! until the image is published.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::suspects::Suspects;
use super::{Destination, Error};
use crate::oci::{Descriptor, Digest, MAX_MANIFEST_BYTES};
use crate::registry::Repository;

/// Most bytes of documents that one image may have, in bytes (32 MiB). An index of many platforms
/// has some hundred KiB; the bound keeps a hostile one out of memory.
const MAX_DOCUMENT_BYTES: u64 = 32 * 1024 * 1024;

/// Times that a configuration whose bytes are wrong is asked for again, of other hosts.
const CONFIG_ATTEMPTS: usize = 3;

/// The documents of one image.
pub(super) struct Documents {
    repository: Repository,
    destination: Arc<dyn Destination>,
    known: HashMap<Digest, Bytes>,
    held_bytes: u64,
    fetched_bytes: u64,
}

impl Documents {
    /// `root` is the index or manifest, where resolving brought it along.
    pub(super) fn new(
        repository: Repository,
        destination: Arc<dyn Destination>,
        root: Option<Bytes>,
    ) -> Self {
        let mut documents = Self {
            repository,
            destination,
            known: HashMap::new(),
            held_bytes: 0,
            fetched_bytes: 0,
        };
        if let Some(bytes) = root {
            documents.held_bytes = bytes.len() as u64;
            documents.fetched_bytes = documents.held_bytes;
            documents.known.insert(Digest::of(&bytes), bytes);
        }
        documents
    }

    /// Bytes that came over the network so far.
    pub(super) fn fetched_bytes(&self) -> u64 {
        self.fetched_bytes
    }

    /// An index or a manifest.
    pub(super) async fn manifest(&mut self, descriptor: &Descriptor) -> Result<Bytes, Error> {
        match self.nearby(descriptor).await? {
            Some(bytes) => Ok(bytes),
            None => {
                let bytes = self.repository.manifest(descriptor).await?;
                Ok(self.keep(descriptor, bytes))
            }
        }
    }

    /// An image configuration, which is a blob.
    pub(super) async fn config(&mut self, descriptor: &Descriptor) -> Result<Bytes, Error> {
        match self.nearby(descriptor).await? {
            Some(bytes) => Ok(bytes),
            None => {
                let bytes = self.fetch_config(descriptor).await?;
                Ok(self.keep(descriptor, bytes))
            }
        }
    }

    async fn nearby(&mut self, descriptor: &Descriptor) -> Result<Option<Bytes>, Error> {
        if descriptor.size > MAX_MANIFEST_BYTES
            || self.held_bytes.saturating_add(descriptor.size) > MAX_DOCUMENT_BYTES
        {
            return Err(Error::DocumentTooLarge {
                digest: descriptor.digest,
                size_bytes: descriptor.size,
            });
        }
        if let Some(bytes) = self.known.get(&descriptor.digest) {
            return Ok(Some(bytes.clone()));
        }
        let found = self.destination.read(descriptor).await?;
        // A store whose disk was damaged must not be believed more than a registry.
        let found = found.filter(|bytes| Digest::of(bytes) == descriptor.digest);
        if let Some(bytes) = &found {
            self.held_bytes += bytes.len() as u64;
            self.known.insert(descriptor.digest, bytes.clone());
        }
        Ok(found)
    }

    fn keep(&mut self, descriptor: &Descriptor, bytes: Bytes) -> Bytes {
        self.held_bytes += bytes.len() as u64;
        self.fetched_bytes += bytes.len() as u64;
        self.known.insert(descriptor.digest, bytes.clone());
        bytes
    }

    async fn fetch_config(&self, descriptor: &Descriptor) -> Result<Bytes, Error> {
        let mut hosts = Vec::new();
        let mut suspects = Suspects::new(&self.repository);
        for _ in 0..CONFIG_ATTEMPTS {
            let mut stream = self.repository.blob(descriptor, 0).await?;
            let mut bytes = BytesMut::new();
            while let Some(piece) = stream.next().await {
                bytes.extend_from_slice(&piece?);
            }
            if Digest::of(&bytes) == descriptor.digest {
                suspects.right();
                return Ok(bytes.freeze());
            }
            hosts = stream.hosts();
            if !suspects.wrong(&hosts) {
                break;
            }
        }
        Err(Error::WrongBlob { digest: descriptor.digest, hosts })
    }
}
