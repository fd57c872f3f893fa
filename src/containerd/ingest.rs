//! Writing one blob: appended in order, resumable, verified by the daemon when it is committed.

use bytes::Bytes;
use containerd_client::services::v1 as api;
use tracing::debug;

use super::content::ContentStore;
use super::write_stream::WriteStream;
use super::{Error, Labels};
use crate::oci::{Descriptor, Digest};

/// Bytes sent in one message (1 MiB). Below, the daemon's work for each message shows; above,
/// nothing is gained, and its limit is 16 MiB for the message with its envelope.
const MESSAGE_BYTES: usize = 1 << 20;

/// A blob being written to the content store, locked against other writers.
///
/// Dropping it leaves what was written for the next [`ContentStore::ingest`] of the same reference.
/// After an error of any method it must be dropped and, to go on, opened again.
#[derive(Debug)]
pub struct Ingest {
    store: ContentStore,
    reference: String,
    digest: Digest,
    size: u64,
    stream: Box<WriteStream>,
    /// Bytes taken, those in `pending` included.
    offset: u64,
    /// Bytes not yet sent, fewer than [`MESSAGE_BYTES`].
    pending: Vec<u8>,
}

impl Ingest {
    pub(super) async fn open(
        store: &ContentStore,
        reference: &str,
        expected: &Descriptor,
    ) -> Result<Self, Error> {
        let first = api::WriteContentRequest {
            action: api::WriteAction::Stat.into(),
            r#ref: reference.to_owned(),
            total: signed(expected.size),
            expected: expected.digest.to_string(),
            ..Default::default()
        };
        let operation = format!("write {reference}");
        let (stream, status) = WriteStream::open(store.client(), operation, first).await?;
        let mut ingest = Self {
            store: store.clone(),
            reference: reference.to_owned(),
            digest: expected.digest,
            size: expected.size,
            stream: Box::new(stream),
            offset: u64::try_from(status.offset).unwrap_or(0),
            pending: Vec::new(),
        };
        if ingest.offset > expected.size {
            debug!(reference, ingest.offset, "an earlier download was too long, starting over");
            ingest.restart().await?;
        }
        Ok(ingest)
    }

    /// How many bytes of the blob are there: where writing goes on.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends `bytes`. Returns when they are on their way, which may be before they are stored; a
    /// failure to store them may show in a later call.
    ///
    /// # Errors
    /// [`Error::Size`] when it is more than the descriptor says; otherwise the daemon's.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        let end = self.offset.saturating_add(bytes.len() as u64);
        if end > self.size {
            return Err(self.wrong_size(end));
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = MESSAGE_BYTES.saturating_sub(self.pending.len()).min(rest.len());
            let taken = rest.split_to(room);
            self.offset += taken.len() as u64;
            if self.pending.is_empty() && taken.len() == MESSAGE_BYTES {
                self.pending = taken.into();
            } else {
                self.pending.reserve_exact(MESSAGE_BYTES - self.pending.len());
                self.pending.extend_from_slice(&taken);
            }
            if self.pending.len() >= MESSAGE_BYTES {
                let request = self.next_request(api::WriteAction::Write);
                self.stream.send(request).await?;
            }
        }
        Ok(())
    }

    /// Throws away what is there and begins at byte 0.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.pending.clear();
        self.offset = 0;
        // To the daemon a write at offset 0 means to truncate.
        let request = self.next_request(api::WriteAction::Write);
        self.stream.send(request).await?;
        self.stream.drain().await.map(drop)
    }

    /// Verifies and stores the blob with `labels`. That another client did it first is success too;
    /// the labels are then added to what is there.
    ///
    /// # Errors
    /// [`Error::Size`] when bytes are missing: what is there stays for a resume. [`Error::Mismatch`]
    /// when the bytes are not the ones expected: they are discarded.
    pub async fn commit(mut self, labels: Labels) -> Result<(), Error> {
        if self.offset != self.size {
            return Err(self.wrong_size(self.offset));
        }
        let request = api::WriteContentRequest {
            total: signed(self.size),
            expected: self.digest.to_string(),
            labels: labels.clone().into_iter().collect(),
            ..self.next_request(api::WriteAction::Commit)
        };
        let outcome = match self.stream.send(request).await {
            Ok(()) => self.stream.drain().await.map(drop),
            Err(error) => Err(error),
        };
        self.store.settle(&self.reference, &self.digest, &labels, outcome).await
    }

    /// Stops for now: every byte taken is stored, so that a later ingest goes on right there. Merely
    /// dropping the ingest loses those that are still on their way.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn suspend(mut self) -> Result<(), Error> {
        if !self.pending.is_empty() {
            let request = self.next_request(api::WriteAction::Write);
            self.stream.send(request).await?;
        }
        self.stream.drain().await.map(drop)
    }

    /// Gives up: what was written is deleted.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn discard(self) -> Result<(), Error> {
        drop(self.stream);
        self.store.abort(&self.reference).await
    }

    /// The pending bytes as a request at their place. Every request says its offset, so that a
    /// daemon whose idea differs refuses it instead of storing bytes in the wrong place.
    fn next_request(&mut self, action: api::WriteAction) -> api::WriteContentRequest {
        let data = std::mem::take(&mut self.pending);
        api::WriteContentRequest {
            action: action.into(),
            r#ref: self.reference.clone(),
            offset: signed(self.offset.saturating_sub(data.len() as u64)),
            data,
            ..Default::default()
        }
    }

    fn wrong_size(&self, actual: u64) -> Error {
        Error::Size { digest: self.digest, expected: self.size, actual }
    }
}

/// The API's type for sizes and offsets. Ours stem from descriptors, which are below 2^63.
pub(super) fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
