//! File work where it may block.

use super::Error;

/// Runs `work` on a thread of its own.
pub(super) async fn run_blocking<T, F>(work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Error> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|stopped| Err(Error::Stopped(stopped)))
}
