//! All blobs of a namespace.

use containerd_client::services::v1 as api;
use tracing::debug;

use super::content::{ContentStore, Info};
use crate::containerd::Error;
use crate::oci::Digest;

/// Most blobs that are listed (1,048,576): a node has some thousand.
const MAX_BLOBS: usize = 1 << 20;

impl ContentStore {
    /// Every blob that is complete, with its labels, in no order. One whose digest is no SHA-256 is left
    /// out.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn list(&self) -> Result<Vec<(Digest, Info)>, Error> {
        const OPERATION: &str = "list blobs";
        let request = api::ListContentRequest { filters: Vec::new() };
        let client = self.client();
        let mut pages = client.watch(OPERATION, self.service().list(request)).await?.into_inner();
        let mut found = Vec::new();
        while let Some(page) = client.watch(OPERATION, pages.message()).await? {
            found.extend(page.info.into_iter().filter_map(readable));
            if found.len() > MAX_BLOBS {
                return Err(Error::bad_answer(OPERATION, "there are too many"));
            }
        }
        Ok(found)
    }
}

fn readable(info: api::Info) -> Option<(Digest, Info)> {
    let Ok(digest) = info.digest.parse() else {
        debug!(digest = info.digest, "blob left out of the list");
        return None;
    };
    let size = u64::try_from(info.size).unwrap_or(0);
    Some((digest, Info { size, labels: info.labels.into_iter().collect() }))
}
