//! Containers: which image and which snapshot each of them lives on.

use containerd_client::services::v1 as api;
use containerd_client::services::v1::containers_client::ContainersClient;

use super::{Client, Error, Labels};

/// Most containers that are looked at (65,536): a kubelet runs some hundred.
const MAX_CONTAINERS: usize = 1 << 16;

/// A container, running or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its ID.
    pub id: String,
    /// The name of the image that it was made of, as whoever made it wrote it.
    pub image: String,
    /// The snapshotter of its file system.
    pub snapshotter: String,
    /// Its writable snapshot.
    pub snapshot: String,
    /// Its labels: the CRI's tell pod and namespace.
    pub labels: Labels,
}

impl Client {
    /// The containers of the namespace.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn containers(&self) -> Result<Vec<Container>, Error> {
        const OPERATION: &str = "list containers";
        let mut service = ContainersClient::new(self.service());
        // One by one: each brings its whole specification along, and a list of many would be larger
        // than an answer may be.
        let request = api::ListContainersRequest { filters: Vec::new() };
        let mut pieces = self.watch(OPERATION, service.list_stream(request)).await?.into_inner();
        let mut found = Vec::new();
        while let Some(message) = self.watch(OPERATION, pieces.message()).await? {
            found.extend(message.container.map(from_wire));
            if found.len() > MAX_CONTAINERS {
                return Err(Error::bad_answer(OPERATION, "there are too many"));
            }
        }
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }
}

fn from_wire(container: api::Container) -> Container {
    Container {
        id: container.id,
        image: container.image,
        snapshotter: container.snapshotter,
        snapshot: container.snapshot_key,
        labels: container.labels.into_iter().collect(),
    }
}
