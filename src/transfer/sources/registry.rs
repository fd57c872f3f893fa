//! A registry as a source, with its mirrors: which of them is to blame for wrong bytes is known here
//! alone.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use super::suspects::Suspicions;
use crate::config::RegistryHost;
use crate::oci::{Descriptor, Digest};
use crate::reference::Reference;
use crate::registry::{self, Registry, Repository};
use crate::transfer::error::Error;
use crate::transfer::provenance::{Origin, Provenance};
use crate::transfer::source::{BlobStream, DocumentKind, Resolved, Source};

/// Times that a configuration whose bytes are wrong is asked for again, of other hosts.
const CONFIG_ATTEMPTS: usize = 3;

/// An image in a registry.
#[derive(Debug)]
pub struct RegistrySource {
    repository: Repository,
    provenance: Provenance,
    suspicions: Suspicions,
    /// What the reference stood for once, where it has to stand for that still.
    expected: Option<Digest>,
}

impl RegistrySource {
    /// The image `reference` at `hosts`, which are asked in this order. Nothing is sent.
    pub fn new(registry: &Registry, hosts: Vec<RegistryHost>, reference: &Reference) -> Self {
        let repository = registry.repository(hosts, reference);
        let suspicions = Suspicions::new(&repository);
        let provenance = Provenance::of(reference);
        Self { repository, provenance, suspicions, expected: None }
    }

    /// The same, if the reference stands for `digest`.
    #[must_use]
    pub fn expecting(self, digest: Digest) -> Self {
        Self { expected: Some(digest), ..self }
    }

    fn as_expected(&self, resolved: registry::Resolved) -> Result<Resolved, Error> {
        let now = resolved.descriptor.digest;
        match self.expected.filter(|expected| *expected != now) {
            Some(locked) => Err(Error::Moved { locked, now }),
            None => Ok(resolved.into()),
        }
    }

    async fn config(&self, descriptor: &Descriptor) -> Result<Bytes, Error> {
        let mut hosts = Vec::new();
        for _ in 0..CONFIG_ATTEMPTS {
            let mut stream = self.repository.blob(descriptor, 0).await?;
            let mut bytes = BytesMut::new();
            while let Some(piece) = stream.next().await {
                bytes.extend_from_slice(&piece?);
            }
            if Digest::of(&bytes) == descriptor.digest {
                self.suspicions.right(&descriptor.digest);
                return Ok(bytes.freeze());
            }
            hosts = stream.hosts();
            if !self.suspicions.wrong(&descriptor.digest, &hosts) {
                break;
            }
        }
        Err(Error::WrongBlob { digest: descriptor.digest, hosts })
    }
}

impl From<registry::Resolved> for Resolved {
    fn from(resolved: registry::Resolved) -> Self {
        let registry::Resolved { descriptor, host, body } = resolved;
        Self { descriptor, place: host, document: body }
    }
}

#[async_trait]
impl Source for RegistrySource {
    async fn resolve(&self) -> Result<Resolved, Error> {
        self.as_expected(self.repository.resolve().await?)
    }

    async fn resolve_unknown(&self) -> Result<Resolved, Error> {
        self.as_expected(self.repository.resolve_and_read().await?)
    }

    async fn document(&self, descriptor: &Descriptor, kind: DocumentKind) -> Result<Bytes, Error> {
        // What the descriptor has brought along need not be asked for.
        if let Some(bytes) = descriptor.data() {
            return Ok(bytes);
        }
        match kind {
            DocumentKind::Manifest => Ok(self.repository.manifest(descriptor).await?),
            DocumentKind::Blob => self.config(descriptor).await,
        }
    }

    async fn blob(
        &self,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<Box<dyn BlobStream>, Error> {
        if let Some(bytes) = descriptor.data() {
            let begun = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            let rest = Some(bytes.slice(begun..)).filter(|rest| !rest.is_empty());
            return Ok(Box::new(EmbeddedBlob { rest }));
        }
        let stream = self.repository.blob(descriptor, offset).await?;
        let (digest, suspicions) = (descriptor.digest, self.suspicions.clone());
        Ok(Box::new(RegistryBlob { digest, stream, suspicions }))
    }

    async fn origins(&self, _: &Descriptor) -> Vec<Origin> {
        self.provenance.origins.clone()
    }

    async fn provenance(&self, _: &Descriptor) -> Provenance {
        self.provenance.clone()
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn doubt(&self, resolved: &Resolved, error: &Error) -> bool {
        let Resolved { descriptor, place, .. } = resolved.clone();
        let resolved = registry::Resolved { descriptor, host: place, body: None };
        matches!(error, Error::Registry(error) if error.is_misdescribed())
            && self.repository.distrust_resolver(&resolved)
    }
}

/// A blob that its descriptor has brought along: size and digest are checked, and no host is asked.
struct EmbeddedBlob {
    rest: Option<Bytes>,
}

#[async_trait]
impl BlobStream for EmbeddedBlob {
    async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        self.rest.take().map(Ok)
    }

    fn places(&self) -> Vec<String> {
        Vec::new()
    }

    fn damaged(&self, digest: Digest) -> Error {
        Error::Mismatch(digest)
    }
}

/// A blob on its way from the hosts that have it.
struct RegistryBlob {
    digest: Digest,
    stream: registry::BlobStream,
    suspicions: Suspicions,
}

#[async_trait]
impl BlobStream for RegistryBlob {
    async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        Some(self.stream.next().await?.map_err(Error::from))
    }

    fn places(&self) -> Vec<String> {
        self.stream.hosts()
    }

    fn right(&self) {
        self.suspicions.right(&self.digest);
    }

    fn wrong(&self) -> bool {
        self.suspicions.wrong(&self.digest, &self.stream.hosts())
    }

    fn damaged(&self, digest: Digest) -> Error {
        Error::WrongBlob { digest, hosts: self.stream.hosts() }
    }
}
