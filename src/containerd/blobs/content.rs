//! The content store: which blobs there are, their labels, reading them, and what becomes of an
//! unfinished one.

use bytes::{Bytes, BytesMut};
use containerd_client::services::v1 as api;
use containerd_client::services::v1::content_client::ContentClient;
use futures_util::TryStreamExt as _;
use futures_util::stream::{BoxStream, Stream, StreamExt, unfold};
use prost_types::FieldMask;
use tonic::Code;
use tracing::debug;

use super::stored_file;
use crate::containerd::client::{Client, MAX_ANSWER_BYTES, Service};
use crate::containerd::labels::{Labels, UNCOMPRESSED, fits, is_distribution_source, merged};
use crate::containerd::{Error, Reply};
use crate::oci::Digest;

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

/// The blobs of a namespace.
#[derive(Debug, Clone)]
pub struct ContentStore {
    client: Client,
}

impl ContentStore {
    pub(in crate::containerd) fn new(client: Client) -> Self {
        Self { client }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn service(&self) -> ContentClient<Service> {
        ContentClient::new(self.client.service()).max_decoding_message_size(MAX_ANSWER_BYTES)
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
    /// [`crate::containerd::labels::distribution_source`] accumulate. Others stay. Asks for nothing when all are
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

    /// The bytes of the blob `digest` from `offset` on, as [`ContentStore::reader`] gives them, but from
    /// the daemon's own file where that is within reach. They are unverified.
    ///
    /// # Errors
    /// As [`ContentStore::reader`].
    pub async fn nearest_reader(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        if let Some(root) = self.client.content_root().await {
            // The file may be another namespace's.
            let size = self.stored(digest).await?.size;
            if let Some(file) = stored_file::open(root, digest, size, offset).await {
                let operation = format!("read blob {digest}");
                let is_let_go = self.client.is_sparing();
                let pieces = stored_file::pieces(file, size.saturating_sub(offset), is_let_go);
                let failed = move |error| Error::from_io(&*operation, &error);
                return Ok(pieces.map_err(failed).boxed());
            }
        }
        Ok(self.reader(digest, offset).await?.boxed())
    }

    /// Whether the blob `digest`, which should have `size` bytes, can be read up to its last: the daemon
    /// tells the size that it had once.
    ///
    /// # Errors
    /// When the daemon can't be asked.
    pub async fn reaches_its_end(&self, digest: &Digest, size: u64) -> Result<bool, Error> {
        let Some(last) = size.checked_sub(1) else { return Ok(true) };
        let mut reader = match self.reader(digest, last).await {
            Ok(reader) => reader,
            Err(Error::NotFound { .. } | Error::Refused { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut length = 0;
        loop {
            match reader.next().await {
                Some(Ok(piece)) => length += piece.len(),
                Some(Err(Error::NotFound { .. } | Error::Refused { .. })) => return Ok(false),
                Some(Err(error)) => return Err(error),
                None => return Ok(length == 1),
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

/// The API's type for sizes and offsets. Ours stem from descriptors, which are below 2^63.
pub(super) fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// Whether the daemon refused a commit because of the bytes.
fn is_mismatch(reply: &Reply) -> bool {
    reply.code == Code::FailedPrecondition
        && ["unexpected commit", "failed size validation"]
            .iter()
            .any(|phrase| reply.message.contains(phrase))
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

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
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
