//! A layer's blob on its way through the unpacker.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _};

use super::known::Layers;
use super::target::Target;
use super::{Error, Layer};
use crate::containerd;
use crate::oci::DiffId;

/// Takes a layer's blob while it comes in.
pub struct LayerSink {
    layers: Arc<Layers>,
    layer: Layer,
    target: Target,
}

impl LayerSink {
    /// For the blob of `layer`, whose bytes go to `target`. Who keeps them tells `layers`.
    pub(super) fn new(layers: Arc<Layers>, layer: Layer, target: Target) -> Self {
        Self { layers, layer, target }
    }

    /// Takes the next bytes; waits while the disk is behind.
    pub async fn write(&mut self, bytes: Bytes) {
        self.target.write(bytes).await;
    }

    /// Takes all that the daemon has `stored` of the blob, from its beginning on.
    ///
    /// # Errors
    /// When that can't be read; what was made of it is given up then.
    pub async fn feed<S>(mut self, mut stored: S) -> Result<Self, containerd::Error>
    where
        S: Stream<Item = Result<Bytes, containerd::Error>> + Unpin,
    {
        while let Some(piece) = stored.next().await {
            match piece {
                Ok(bytes) => self.write(bytes).await,
                Err(error) => {
                    self.abandon().await;
                    return Err(error);
                }
            }
        }
        Ok(self)
    }

    /// Itself, and the layer's diff ID if the bytes so far, all of the blob, are found to have it;
    /// waits for its last file. Of a blob in memory that inflates to much, this is not found out.
    ///
    /// # Errors
    /// When a thread has stopped.
    pub async fn prove(self) -> Result<(Self, Option<DiffId>), Error> {
        let Self { layers, layer, target } = self;
        let (target, is_proven) = target.prove(&layer).await?;
        let diff_id = is_proven.then_some(layer.identity.diff_id);
        Ok((Self { layers, layer, target }, diff_id))
    }

    /// Leaves what was made of the whole blob, which proved to be the right one, to be staged.
    pub fn keep(self) {
        self.layers.arrive(self.layer.identity.chain_id, self.target);
    }

    /// What was made of the whole blob.
    pub(super) fn into_target(self) -> Target {
        self.target
    }

    /// Gives up: the bytes were not the blob's.
    pub async fn abandon(self) {
        self.target.abandon().await;
    }
}
