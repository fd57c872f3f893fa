//! A blob on its way out of a store on this machine.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _};

use crate::oci::Digest;
use crate::progress::{self, Event};
use crate::transfer::error::Error;
use crate::transfer::source::BlobStream;

/// The pieces of a blob as its store gives them, counted. There is one place that they come from.
pub(super) struct StoredBlob<S> {
    pub(super) digest: Digest,
    pub(super) pieces: S,
    pub(super) place: String,
    pub(super) progress: Arc<dyn progress::Sink>,
}

#[async_trait]
impl<S> BlobStream for StoredBlob<S>
where
    S: Stream<Item = Result<Bytes, Error>> + Send + Unpin,
{
    async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        let piece = self.pieces.next().await?;
        if let Ok(bytes) = &piece {
            let delta_bytes = bytes.len() as u64;
            self.progress.event(Event::Received { digest: self.digest, delta_bytes });
        }
        Some(piece)
    }

    fn places(&self) -> Vec<String> {
        vec![self.place.clone()]
    }
}
