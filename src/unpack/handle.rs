//! A layer that was handed over to be unpacked: described once, and from then on meant by its handle.

use std::sync::Arc;

use tokio::sync::OnceCell;

use super::{Error, Layer, LayerSink, Unpacker};

/// A layer that was handed over to be unpacked. What is known of it meanwhile the unpacker knows, by
/// its chain ID.
pub struct Handle {
    unpacker: Arc<Unpacker>,
    layer: Layer,
    asked_for: OnceCell<()>,
}

impl Handle {
    /// A layer on its way through `unpacker`; nothing is done for it yet.
    pub fn new(unpacker: Arc<Unpacker>, layer: Layer) -> Self {
        Self { unpacker, layer, asked_for: OnceCell::new() }
    }

    /// Has the snapshotter provide the layer, whose parent's snapshot is there, if it fetches layers by
    /// itself; once, whoever wants the layer. Tells whether its snapshot is there.
    ///
    /// # Errors
    /// The daemon's.
    pub async fn ask_for(&self) -> Result<bool, Error> {
        let ask = async || self.unpacker.ask_for(&self.layer).await;
        self.asked_for.get_or_try_init(ask).await?;
        Ok(self.unpacker.knows(&self.layer.identity.chain_id))
    }

    /// A sink for its blob, which is about to come in; `None` when nothing is to be done with its bytes
    /// yet.
    ///
    /// # Errors
    /// [`Error`], where containerd's way would fail too or is not allowed.
    pub async fn begin(&self) -> Result<Option<LayerSink>, Error> {
        self.unpacker.begin(&self.layer).await
    }

    /// Does what can be done, when its blob is stored, before the layers below it are there.
    ///
    /// # Errors
    /// As [`Handle::begin`].
    pub async fn stage(&self) -> Result<(), Error> {
        self.unpacker.stage(&self.layer).await
    }

    /// Makes its snapshot, when its blob is stored and its parent's snapshot is there.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn unpack(&self) -> Result<(), Error> {
        self.unpacker.unpack(&self.layer).await
    }
}
