//! Where a layer's bytes go while they come in.

use bytes::Bytes;

use super::blocking::run_blocking;
use super::extraction::{Extraction, Filled};
use super::held::Held;
use super::{Error, Layer};

/// Where a layer's bytes go while they come in.
#[derive(Debug)]
pub(super) enum Target {
    Extraction(Box<Extraction>),
    /// The extraction's outcome.
    Extracted(Result<Box<Filled>, Error>),
    Memory(Held),
}

impl Target {
    /// Takes the next bytes; waits while the disk is behind.
    pub(super) async fn write(&mut self, bytes: Bytes) {
        match self {
            Self::Extraction(extraction) => extraction.write(bytes).await,
            Self::Extracted(_) => {}
            Self::Memory(held) => held.push(&bytes),
        }
    }

    /// Itself, and whether the bytes so far, all of the blob, are found to be those of `layer`.
    ///
    /// # Errors
    /// When a thread has stopped.
    pub(super) async fn prove(self, layer: &Layer) -> Result<(Self, bool), Error> {
        let outcome = match self {
            Self::Extraction(extraction) => extraction.finish().await.map(Box::new),
            Self::Extracted(outcome) => outcome,
            Self::Memory(mut held) => {
                let (compression, diff_id) = (layer.compression()?, layer.identity.diff_id);
                return run_blocking(move || {
                    let is_proven = held.diff_id(compression) == Some(diff_id);
                    Ok((Self::Memory(held), is_proven))
                })
                .await;
            }
        };
        let is_proven = outcome.is_ok();
        Ok((Self::Extracted(outcome), is_proven))
    }

    /// Gives up: the bytes were not the blob's.
    pub(super) async fn abandon(self) {
        match self {
            Self::Extraction(extraction) => extraction.abandon().await,
            Self::Extracted(Ok(filled)) => filled.abandon().await,
            Self::Extracted(Err(_)) | Self::Memory(_) => {}
        }
    }
}
