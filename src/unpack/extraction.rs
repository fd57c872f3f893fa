//! One layer on its way into files, by us: while its blob comes in, and when all of it is there.

use bytes::Bytes;

use super::active::ActiveSnapshot;
use super::extract::{Extracted, Extractor, ImpliedDirectory};
use super::ground::Ground;
use super::{Error, Layer};
use crate::tar::EntryName;

/// A layer being extracted while its blob comes in.
#[derive(Debug)]
pub(super) struct Extraction {
    pub(super) layer: Layer,
    pub(super) active: ActiveSnapshot,
    pub(super) ground: Ground,
    pub(super) extractor: Extractor,
    /// Whether it is not on its parent yet.
    pub(super) is_apart: bool,
}

/// A layer whose files are all there, and which is the one that the image configuration names.
#[derive(Debug)]
pub(super) struct Filled {
    pub(super) layer: Layer,
    pub(super) active: ActiveSnapshot,
    pub(super) ground: Ground,
    pub(super) files: Files,
    pub(super) is_apart: bool,
}

/// What is to be known of the files that a layer was made.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// What they are together, holes included.
    pub(super) bytes: u64,
    /// The first sparse file in old GNU tar's way, which containerd would have refused.
    pub(super) old_sparse: Option<EntryName>,
    /// Directories that are completed when the layers below are there.
    pub(super) implied: Vec<ImpliedDirectory>,
}

impl From<Extracted> for Files {
    fn from(extracted: Extracted) -> Self {
        let Extracted { written_bytes: bytes, old_sparse, implied, .. } = extracted;
        Self { bytes, old_sparse, implied }
    }
}

impl Extraction {
    /// Hands over the blob's next bytes; waits while the disk is behind. After a failure, bytes are
    /// let go, and [`Extraction::finish`] says why.
    pub(super) async fn write(&mut self, bytes: Bytes) {
        let _ = self.extractor.send(bytes).await;
    }

    /// Says that the blob is complete, waits for the last file, and compares the diff ID.
    ///
    /// # Errors
    /// [`Error::Extract`], [`Error::DiffId`]; the snapshot is removed then.
    pub(super) async fn finish(self) -> Result<Filled, Error> {
        let Self { layer, active, ground, extractor, is_apart } = self;
        let checked = match extractor.finish().await {
            Ok(extracted) => layer.check(extracted.diff_id).map(|()| extracted),
            Err(error) => Err(error.into()),
        };
        match checked {
            Ok(extracted) => {
                Ok(Filled { layer, active, ground, files: extracted.into(), is_apart })
            }
            Err(error) => {
                active.remove().await;
                Err(error)
            }
        }
    }

    /// Gives up: the bytes were not the blob's.
    pub(super) async fn abandon(self) {
        // Its thread must have stopped writing before the directory goes.
        self.extractor.abandon().await;
        self.active.remove().await;
    }
}

impl Filled {
    /// Gives up: the bytes were not the blob's.
    pub(super) async fn abandon(self) {
        self.active.remove().await;
    }
}
