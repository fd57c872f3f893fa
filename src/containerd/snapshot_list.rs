//! All snapshots of a snapshotter, and looking at one of them from outside.

use containerd_client::services::v1::snapshots as api;

use super::snapshots::{Mount, SnapshotInfo, Snapshots, from_wire};
use super::{Error, Labels};

/// Most snapshots that are listed (1,048,576): a node has some thousand.
const MAX_SNAPSHOTS: usize = 1 << 20;

impl Snapshots {
    /// Every snapshot, in no order.
    ///
    /// # Errors
    /// When the daemon refuses, for instance because it has no such snapshotter.
    pub async fn list(&self) -> Result<Vec<SnapshotInfo>, Error> {
        const OPERATION: &str = "list snapshots";
        let request =
            api::ListSnapshotsRequest { snapshotter: self.name().to_owned(), filters: Vec::new() };
        let client = self.client();
        let mut pages = client.watch(OPERATION, self.service().list(request)).await?.into_inner();
        let mut found = Vec::new();
        while let Some(page) = client.watch(OPERATION, pages.message()).await? {
            for info in page.info {
                found.push(from_wire(info).map_err(|why| Error::bad_answer(OPERATION, why))?);
            }
            if found.len() > MAX_SNAPSHOTS {
                return Err(Error::bad_answer(OPERATION, "there are too many"));
            }
        }
        Ok(found)
    }

    /// Makes the snapshot `key` for looking at the committed `parent`, and tells how to mount it.
    /// [`Snapshots::remove`] takes it away again.
    ///
    /// # Errors
    /// When the daemon refuses, for instance because `parent` does not exist.
    pub async fn view(
        &self,
        key: &str,
        parent: &str,
        labels: &Labels,
    ) -> Result<Vec<Mount>, Error> {
        let request = api::ViewSnapshotRequest {
            snapshotter: self.name().to_owned(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels: labels.clone().into_iter().collect(),
        };
        let operation = format!("look at snapshot {parent}");
        let answer = self.client().watch(&operation, self.service().view(request)).await?;
        Ok(answer.into_inner().mounts.into_iter().map(Mount::from).collect())
    }
}
