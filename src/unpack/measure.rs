//! How much a layer is, unpacked, before containerd unpacks it: that has no bound of its own.

use std::io::Read as _;

use futures_util::StreamExt as _;

use super::blocking::run_blocking;
use super::extract::{ExtractError, queue};
use super::inflate::Decoder;
use super::room::Allowance;
use super::{Error, Layer};
use crate::containerd::ContentStore;

/// Chunks that wait for the decoder. A chunk is what the daemon sends at once, 1 MiB at most.
const QUEUED_CHUNKS: usize = 4;

/// Bytes inflated at a time (128 KiB).
const STEP_BYTES: usize = 128 << 10;

/// Takes what `layer`, whose blob is in `content`, is unpacked out of the user's limit.
///
/// # Errors
/// [`ExtractError::Limit`], [`ExtractError::Inflate`], or the daemon's.
pub(super) async fn take_of_limit(
    layer: &Layer,
    content: &ContentStore,
    allowance: &Allowance,
) -> Result<(), Error> {
    let compression = layer.compression()?;
    let (chunks, reader) = queue(QUEUED_CHUNKS);
    let allowance = allowance.clone();
    let measuring = tokio::spawn(run_blocking(move || {
        let mut decoder = Decoder::new(reader, compression).map_err(ExtractError::Source)?;
        let format = decoder.format();
        let mut step = vec![0; STEP_BYTES];
        loop {
            match decoder.read(&mut step) {
                Ok(0) => return Ok(()),
                Ok(bytes) => allowance
                    .take_of_limit(bytes as u64)
                    .map_err(|limit_bytes| ExtractError::Limit { limit_bytes })?,
                Err(source) => return Err(ExtractError::Inflate { format, source }.into()),
            }
        }
    }));
    let mut blob = content.reader(&layer.descriptor.digest, 0).await?;
    while let Some(chunk) = blob.next().await {
        // Whoever measures says why it wants no more.
        if chunks.send(chunk?).await.is_err() {
            break;
        }
    }
    let _ = chunks.finish().await;
    measuring.await.unwrap_or_else(|stopped| Err(Error::Stopped(stopped)))
}
