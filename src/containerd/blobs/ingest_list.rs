//! All blobs of a namespace that are being written, or were when somebody stopped.

use std::time::{Duration, SystemTime};

use containerd_client::services::v1 as api;

use super::content::ContentStore;
use crate::containerd::Error;

/// A blob that is not complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// Its name: `layer-sha256:…`.
    pub reference: String,
    /// How much of it there is, in bytes.
    pub offset: u64,
    /// When the last of it came.
    pub updated: Option<SystemTime>,
}

impl ContentStore {
    /// Every blob that is not complete, whoever began it.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn unfinished(&self) -> Result<Vec<Unfinished>, Error> {
        let request = api::ListStatusesRequest { filters: Vec::new() };
        let mut service = self.service();
        let call = service.list_statuses(request);
        let answer = self.client().call("list unfinished blobs", call).await?;
        Ok(answer.statuses.into_iter().map(Unfinished::from).collect())
    }
}

impl From<api::Status> for Unfinished {
    fn from(status: api::Status) -> Self {
        let since_epoch = |seconds: i64| u64::try_from(seconds).ok().map(Duration::from_secs);
        let updated = status.updated_at.and_then(|time| since_epoch(time.seconds));
        Self {
            reference: status.r#ref,
            offset: u64::try_from(status.offset).unwrap_or(0),
            updated: updated.and_then(|age| SystemTime::UNIX_EPOCH.checked_add(age)),
        }
    }
}
