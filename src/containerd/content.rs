//! The content store: which blobs there are, their labels, reading them; and opening an ingest,
//! which waits for its turn when other clients write the same blob.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use containerd_client::services::v1 as api;
use containerd_client::services::v1::content_client::ContentClient;
use futures_util::stream::{Stream, StreamExt, unfold};
use prost_types::FieldMask;
use tokio::time::{Instant, sleep_until};
use tonic::Code;
use tracing::{debug, info};

use super::client::Service;
use super::ingest::{Ingest, signed};
use super::labels::{UNCOMPRESSED, fits, is_distribution_source, merged};
use super::write_stream::WriteStream;
use super::{Client, Error, Labels, Reply};
use crate::oci::{Descriptor, Digest, MediaKind};

/// First and longest pause before a blob that another client is writing is opened again. Opening it
/// while it is locked costs the daemon up to half a second inside a database transaction, so patience
/// is cheaper for everyone.
const LOCK_FIRST_PAUSE: Duration = Duration::from_millis(50);
const LOCK_LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// How often the store is meanwhile asked whether the blob has turned up, which costs it nothing.
const LOCK_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What is known about a stored blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Its size in bytes.
    pub size: u64,
    /// Its labels.
    pub labels: Labels,
}

/// How far an unfinished blob has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IngestStatus {
    /// Bytes that are there.
    pub offset: u64,
    /// Bytes that there will be; 0 when nobody said.
    pub total: u64,
}

/// The outcome of [`ContentStore::ingest`].
#[derive(Debug)]
pub enum Opened {
    /// The blob is stored, and held by our lease from now on.
    Exists,
    /// It is ours to write.
    Ingest(Box<Ingest>),
}

/// The blobs of a namespace.
#[derive(Debug, Clone)]
pub struct ContentStore {
    client: Client,
}

/// The name of the ingest of `descriptor`, as containerd's own clients form it: with the same name,
/// they and we wait for each other instead of downloading twice.
pub fn ingest_reference(descriptor: &Descriptor) -> String {
    let kind = match descriptor.kind() {
        MediaKind::Index => "index",
        MediaKind::Manifest => "manifest",
        MediaKind::Layer { .. } => "layer",
        MediaKind::Config => "config",
        MediaKind::Schema1 | MediaKind::Other => "unknown",
    };
    format!("{kind}-{}", descriptor.digest)
}

impl ContentStore {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    fn service(&self) -> ContentClient<Service> {
        ContentClient::new(self.client.service())
            .max_decoding_message_size(super::client::MAX_ANSWER_BYTES)
    }

    /// What is known about the blob `digest`; `None` when it is not stored in this namespace.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn info(&self, digest: &Digest) -> Result<Option<Info>, Error> {
        match self.stored(digest).await {
            Ok(info) => Ok(Some(info)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is known about the blob `digest`, which is stored.
    async fn stored(&self, digest: &Digest) -> Result<Info, Error> {
        let operation = format!("look up blob {digest}");
        let request = api::InfoRequest { digest: digest.to_string() };
        let info = self.client.call(&*operation, self.service().info(request)).await?.info;
        let info = info.ok_or_else(|| Error::bad_answer(&*operation, "no info in it"))?;
        let size = u64::try_from(info.size)
            .map_err(|_| Error::bad_answer(operation, "a negative size"))?;
        Ok(Info { size, labels: info.labels.into_iter().collect() })
    }

    /// Adds `labels` to the blob `digest`: same keys are replaced, except that the repositories of
    /// [`super::labels::distribution_source`] accumulate. Others stay. Asks for nothing when all are
    /// there. Labels that several tasks add to one blob at the same time are written together.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the blob is not stored.
    pub async fn add_labels(&self, digest: &Digest, labels: &Labels) -> Result<(), Error> {
        if changed_labels(&self.stored(digest).await?.labels, labels).is_empty() {
            return Ok(());
        }
        let Some(wanted) = self.client.labelling().add(digest, labels).await else {
            return Ok(());
        };
        self.write_labels(digest, wanted.labels()).await?;
        wanted.are_written();
        Ok(())
    }

    async fn write_labels(&self, digest: &Digest, labels: &Labels) -> Result<(), Error> {
        let missing = changed_labels(&self.stored(digest).await?.labels, labels);
        if missing.is_empty() {
            return Ok(());
        }
        // One path a label: those that others add at the same time stay.
        let paths = missing.keys().map(|key| format!("labels.{key}")).collect();
        let request = api::UpdateRequest {
            info: Some(api::Info {
                digest: digest.to_string(),
                labels: missing.into_iter().collect(),
                ..Default::default()
            }),
            update_mask: Some(FieldMask { paths }),
        };
        let operation = format!("label blob {digest}");
        self.client.call(operation, self.service().update(request)).await.map(drop)
    }

    /// The whole blob `digest`, which must not be larger than `max_bytes`.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::NotFound`], or the daemon's.
    pub async fn read(&self, digest: &Digest, max_bytes: u64) -> Result<Bytes, Error> {
        let mut reader = self.reader(digest, 0).await?;
        let mut whole = BytesMut::new();
        while let Some(piece) = reader.next().await {
            let piece = piece?;
            if (whole.len() + piece.len()) as u64 > max_bytes {
                return Err(Error::TooLarge { digest: *digest, limit_bytes: max_bytes });
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// The bytes of the blob `digest` from `offset` on, piece by piece.
    ///
    /// # Errors
    /// [`Error::NotFound`] or the daemon's, from here or from the stream.
    pub async fn reader(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + Unpin + use<>, Error> {
        let operation = format!("read blob {digest}");
        let request =
            api::ReadContentRequest { digest: digest.to_string(), offset: signed(offset), size: 0 };
        let pieces =
            self.client.watch(&operation, self.service().read(request)).await?.into_inner();
        let state = Some((self.client.clone(), operation, pieces));
        Ok(Box::pin(unfold(state, async |state| {
            let (client, operation, mut pieces) = state?;
            match client.watch(&operation, pieces.message()).await {
                Ok(piece) => {
                    let data = Bytes::from(piece?.data);
                    Some((Ok(data), Some((client, operation, pieces))))
                }
                Err(error) => Some((Err(error), None)),
            }
        })))
    }

    /// Opens the ingest `reference` of the blob `expected`, going on where an earlier one stopped.
    /// While another client writes it, waits until that one has finished or given up.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn ingest(&self, reference: &str, expected: &Descriptor) -> Result<Opened, Error> {
        let mut turn = Turn::new(self, &expected.digest);
        loop {
            match Ingest::open(self, reference, expected).await {
                Ok(ingest) => return Ok(Opened::Ingest(Box::new(ingest))),
                Err(error) if error.is_already_exists() => return Ok(Opened::Exists),
                Err(error) => turn.wait(error).await?,
            }
        }
    }

    /// Stores the small blob `bytes` (well below the daemon's 16 MiB a message) in one message. When
    /// it is stored already, `labels` are added to it.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when `bytes` are not what `descriptor` says; otherwise the daemon's.
    pub async fn put(
        &self,
        reference: &str,
        descriptor: &Descriptor,
        bytes: Bytes,
        labels: Labels,
    ) -> Result<(), Error> {
        let size = signed(descriptor.size);
        let whole = api::WriteContentRequest {
            action: api::WriteAction::Commit.into(),
            r#ref: reference.to_owned(),
            total: size,
            expected: descriptor.digest.to_string(),
            offset: 0,
            data: Vec::new(),
            labels: labels.clone().into_iter().collect(),
        };
        if self.place(descriptor, &bytes).await {
            let _turn = self.client.turn().await;
            let placed = api::WriteContentRequest { offset: size, ..whole.clone() };
            match self.commit(reference, descriptor, placed, &labels).await {
                Ok(()) => return Ok(()),
                // Garbage collection may have been quicker.
                Err(error) => debug!(reference, %error, "a blob put in place is not accepted"),
            }
        }
        let whole = api::WriteContentRequest { data: bytes.into(), ..whole };
        self.commit(reference, descriptor, whole, &labels).await?;
        self.client.learn_blobs(&descriptor.digest, descriptor.size).await;
        Ok(())
    }

    /// Puts `bytes` among the daemon's blobs, if they are what `descriptor` says and the place is
    /// known.
    async fn place(&self, descriptor: &Descriptor, bytes: &Bytes) -> bool {
        let Some(blobs) = self.client.blobs() else { return false };
        if bytes.len() as u64 != descriptor.size || Digest::of(bytes) != descriptor.digest {
            return false;
        }
        let placed = blobs.place(&descriptor.digest, bytes.clone()).await;
        if let Err(error) = &placed {
            debug!(digest = %descriptor.digest, %error, "a blob can't be put in place");
        }
        placed.is_ok()
    }

    /// Stores a blob by a single message.
    async fn commit(
        &self,
        reference: &str,
        descriptor: &Descriptor,
        request: api::WriteContentRequest,
        labels: &Labels,
    ) -> Result<(), Error> {
        let mut turn = Turn::new(self, &descriptor.digest);
        loop {
            let operation = format!("write {reference}");
            let outcome = WriteStream::open(&self.client, operation, request.clone()).await;
            match self.settle(reference, &descriptor.digest, labels, outcome.map(drop)).await {
                Ok(()) => return Ok(()),
                Err(error) => turn.wait(error).await?,
            }
        }
    }

    /// Deletes the unfinished ingest `reference`; one that does not exist is fine.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn abort(&self, reference: &str) -> Result<(), Error> {
        let request = api::AbortRequest { r#ref: reference.to_owned() };
        let operation = format!("discard {reference}");
        match self.client.call(operation, self.service().abort(request)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// How far the unfinished ingest `reference` has come; `None` when there is none.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn status(&self, reference: &str) -> Result<Option<IngestStatus>, Error> {
        let request = api::StatusRequest { r#ref: reference.to_owned() };
        let operation = format!("look up the state of {reference}");
        match self.client.call(operation, self.service().status(request)).await {
            Ok(answer) => Ok(answer.status.map(|status| IngestStatus {
                offset: u64::try_from(status.offset).unwrap_or(0),
                total: u64::try_from(status.total).unwrap_or(0),
            })),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Turns the outcome of a commit into what the caller needs to know.
    pub(super) async fn settle(
        &self,
        reference: &str,
        digest: &Digest,
        labels: &Labels,
        outcome: Result<(), Error>,
    ) -> Result<(), Error> {
        match outcome {
            Err(error) if error.is_already_exists() => self.add_labels(digest, labels).await,
            Err(Error::Refused { source, .. }) if is_mismatch(&source) => {
                // Kept, it would be resumed, and fail, for ever.
                if let Err(error) = self.abort(reference).await {
                    debug!(reference, %error, "the ingest that failed could not be discarded");
                }
                Err(Error::Mismatch { digest: *digest, source })
            }
            other => other,
        }
    }
}

/// Whether the daemon refused a commit because of the bytes.
fn is_mismatch(reply: &Reply) -> bool {
    reply.code == Code::FailedPrecondition
        && ["unexpected commit", "failed size validation"]
            .iter()
            .any(|phrase| reply.message.contains(phrase))
}

/// Waiting while another client writes the same blob.
pub(super) struct Turn<'a> {
    store: &'a ContentStore,
    digest: &'a Digest,
    pause: Duration,
}

impl<'a> Turn<'a> {
    pub(super) fn new(store: &'a ContentStore, digest: &'a Digest) -> Self {
        Self { store, digest, pause: LOCK_FIRST_PAUSE }
    }

    /// When `error` is that another client holds the lock, returns as soon as opening is worth
    /// another try; hands back any other error.
    pub(super) async fn wait(&mut self, error: Error) -> Result<(), Error> {
        let Error::Locked { source, .. } = error else { return Err(error) };
        if self.pause == LOCK_FIRST_PAUSE {
            info!(digest = %self.digest, %source, "another client writes this blob, waiting");
        }
        // Jitter: several waiting clients must not ask in step.
        let until = Instant::now() + self.pause.mul_f64(0.5 + fastrand::f64());
        self.pause = (self.pause * 2).min(LOCK_LONGEST_PAUSE);
        while Instant::now() < until && self.store.info(self.digest).await?.is_none() {
            sleep_until(until.min(Instant::now() + LOCK_LOOK_INTERVAL)).await;
        }
        Ok(())
    }
}

/// What of `wanted` is not yet as it should be in `present`. A list of repositories that would get too
/// long stays as it is, and a blob keeps the diff ID that someone has found out.
fn changed_labels(present: &Labels, wanted: &Labels) -> Labels {
    wanted
        .iter()
        .map(|(key, value)| (key.clone(), merged(present, key, value)))
        .filter(|(key, value)| match present.get(key) {
            Some(known) if known == value || key == UNCOMPRESSED => false,
            Some(_) if is_distribution_source(key) => fits(key, value),
            _ => true,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::MediaType;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    #[test]
    fn names_ingests_as_containerd_does() {
        for (media_type, prefix) in [
            ("application/vnd.oci.image.index.v1+json", "index"),
            ("application/vnd.docker.distribution.manifest.v2+json", "manifest"),
            ("application/vnd.oci.image.config.v1+json", "config"),
            ("application/vnd.oci.image.layer.v1.tar+zstd", "layer"),
            ("text/plain", "unknown"),
        ] {
            let descriptor = Descriptor::new(MediaType::new(media_type), Digest::of(b""), 0);
            assert_eq!(ingest_reference(&descriptor), format!("{prefix}-{}", Digest::of(b"")));
        }
    }

    #[test]
    fn changes_only_labels_that_differ_and_accumulates_repositories() {
        let source = "containerd.io/distribution.source.docker.io";
        let present = labels(&[("a", "1"), ("b", "1"), (source, "library/busybox")]);
        let wanted = labels(&[("a", "1"), ("b", "2"), (source, "another/image")]);
        let changed = changed_labels(&present, &wanted);
        assert_eq!(changed, labels(&[("b", "2"), (source, "another/image,library/busybox")]));
        assert!(changed_labels(&changed, &labels(&[(source, "library/busybox")])).is_empty());
    }

    #[test]
    fn leaves_alone_what_containerd_would_refuse_and_what_is_known() {
        let source = "containerd.io/distribution.source.docker.io";
        let full = (0..116).map(|number| format!("team/repository-with-a-long-name-{number}"));
        let present = labels(&[
            (source, &full.collect::<Vec<_>>().join(",")),
            ("containerd.io/uncompressed", "sha256:a"),
        ]);
        let wanted = labels(&[(source, "one/more"), ("containerd.io/uncompressed", "sha256:b")]);
        assert!(changed_labels(&present, &wanted).is_empty());
    }
}
