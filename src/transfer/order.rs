//! Blobs for a sink that has one order: each begins in its turn, as many at a time as the sink takes, and
//! small ones are read before it.

use std::collections::HashSet;
use std::slice;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::ahead::{Ahead, ReadAhead};
use super::blobs::{Blobs, Tally};
use super::error::Error;
use super::plan::Layer;
use super::source::Source;
use crate::oci::Descriptor;
use crate::progress::BlobState;

/// Up to what size, in bytes, a blob is read ahead of its turn (1 MiB): that many at a time as blobs are
/// fetched at once. Larger ones come over several connections anyway.
const MAX_READ_AHEAD: u64 = 1 << 20;

/// A layer whose turn comes.
pub(super) struct Turn<'a> {
    pub(super) layer: Layer,
    pub(super) source: &'a dyn Source,
    pub(super) tally: &'a Tally,
    /// Which of the run's images it is of.
    pub(super) position: usize,
}

impl Blobs {
    /// Brings layers in their order. An error comes with the position of the image that it is about.
    pub(super) async fn bring_in_order<'a>(
        &self,
        turns: impl Iterator<Item = Turn<'a>>,
    ) -> Result<(), (usize, Error)> {
        let at_once = self.sink.blobs_at_once().clamp(1, self.concurrency);
        let mut seen = HashSet::new();
        let read = turns.map(|turn| {
            let is_first = seen.insert(turn.layer.descriptor().digest);
            async move {
                let blob = turn.layer.descriptor();
                let read = if is_first { self.ahead(blob, turn.source).await } else { None };
                (Ahead::Read(read), turn)
            }
        });
        stream::iter(read)
            .buffered(self.concurrency)
            .map(|(ahead, turn)| async move {
                let Turn { layer, source, tally, position } = turn;
                let brought = self.bring(&layer, ahead, source, tally).await;
                brought.map_err(|error| (position, error))?;
                self.state(layer.descriptor(), BlobState::Done, 0);
                Ok(())
            })
            .buffer_unordered(at_once)
            .try_collect()
            .await
    }

    /// The blob, where it is small, and the sink wants it.
    async fn ahead(&self, blob: &Descriptor, source: &dyn Source) -> Option<ReadAhead> {
        let is_small = self.concurrency > 1 && blob.size <= MAX_READ_AHEAD;
        if !is_small || blob.data().is_some() || self.sink.needed(slice::from_ref(blob)).is_empty()
        {
            return None;
        }
        // Whoever asks again is told why it can't be had.
        let stream = source.blob(blob, 0).await.ok()?;
        Some(ReadAhead::of(stream).whole().await)
    }
}
