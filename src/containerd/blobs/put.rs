//! Storing a small blob whole: in one message, or put in its place by us.

use bytes::Bytes;
use containerd_client::services::v1 as api;
use tracing::debug;

use super::blob_file::path_below;
use super::cache;
use super::content::{ContentStore, signed};
use super::turn::Turn;
use super::write_stream::WriteStream;
use crate::containerd::{Error, Labels};
use crate::oci::{Descriptor, Digest};

/// Whether a blob's bytes are where the daemon looks for them, so that it need only be told.
#[derive(Debug, Clone, Copy)]
pub struct Placed(bool);

impl Placed {
    /// They are not.
    pub(super) const NOWHERE: Self = Self(false);

    /// Whether they are.
    pub fn is_in_place(self) -> bool {
        self.0
    }
}

impl ContentStore {
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
        let placed = self.place(descriptor, &bytes).await;
        self.put_placed(reference, descriptor, bytes, labels, placed).await
    }

    /// Stores a blob that was [placed](Self::place), as [`ContentStore::put`] does.
    ///
    /// # Errors
    /// As [`ContentStore::put`].
    pub async fn put_placed(
        &self,
        reference: &str,
        descriptor: &Descriptor,
        bytes: Bytes,
        labels: Labels,
        placed: Placed,
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
        if placed.0 {
            let _turn = self.client().turn().await;
            let placed = api::WriteContentRequest { offset: size, ..whole.clone() };
            match self.commit(reference, descriptor, placed, &labels).await {
                Ok(()) => return Ok(()),
                // Garbage collection may have been quicker, or the daemon looks elsewhere.
                Err(error) => {
                    debug!(reference, %error, "a blob put in place is not accepted");
                    self.client().lost_blobs().await;
                }
            }
        }
        let whole = api::WriteContentRequest { data: bytes.into(), ..whole };
        self.commit(reference, descriptor, whole, &labels).await?;
        self.client().learn_blobs(&descriptor.digest, descriptor.size).await;
        self.let_go(&descriptor.digest).await;
        Ok(())
    }

    /// Has the page cache let go of a blob that was stored just now, where that is wanted.
    pub(super) async fn let_go(&self, digest: &Digest) {
        if self.client().is_sparing()
            && let Some(root) = self.client().content_root().await
        {
            cache::let_go_of(path_below(root, digest)).await;
        }
    }

    /// Puts `bytes` among the daemon's blobs, if they are what `descriptor` says and the place is
    /// known. Garbage collection takes them until the daemon is told.
    pub async fn place(&self, descriptor: &Descriptor, bytes: &Bytes) -> Placed {
        let Some(blobs) = self.client().place_of_blobs().await else { return Placed::NOWHERE };
        if bytes.len() as u64 != descriptor.size || Digest::of(bytes) != descriptor.digest {
            return Placed::NOWHERE;
        }
        let placed = blobs.place(&descriptor.digest, bytes.clone()).await;
        match &placed {
            Ok(()) => self.let_go(&descriptor.digest).await,
            Err(error) => {
                debug!(digest = %descriptor.digest, %error, "a blob can't be put in place");
            }
        }
        Placed(placed.is_ok())
    }

    /// Stores a blob by a single message.
    pub(super) async fn commit(
        &self,
        reference: &str,
        descriptor: &Descriptor,
        request: api::WriteContentRequest,
        labels: &Labels,
    ) -> Result<(), Error> {
        let mut turn = Turn::new(self, &descriptor.digest);
        loop {
            let operation = format!("write {reference}");
            let outcome = WriteStream::open(self.client(), operation, request.clone()).await;
            match self.settle(reference, &descriptor.digest, labels, outcome.map(drop)).await {
                Ok(()) => return Ok(()),
                Err(error) => turn.wait(error).await?,
            }
        }
    }
}
