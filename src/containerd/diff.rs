//! The daemon's own unpacking of a layer.

use containerd_client::services::v1 as api;
use containerd_client::services::v1::diff_client::DiffClient;

use super::images::to_wire;
use super::snapshots::Mount;
use super::{Client, Error};
use crate::oci::{Descriptor, MediaType};

/// The diff service of a namespace.
#[derive(Debug, Clone)]
pub struct Diff {
    client: Client,
}

impl Diff {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Unpacks the stored blob `layer` into `mounts`; takes as long as it takes. The answer's digest
    /// and size are those of the uncompressed tar, so its digest is the diff ID.
    ///
    /// The daemon takes the media type at its word: a compressed layer that says it is a bare tar
    /// is not inflated.
    ///
    /// # Errors
    /// When the daemon can't: the blob is missing, is no tar, the disk is full.
    pub async fn apply(&self, layer: &Descriptor, mounts: &[Mount]) -> Result<Descriptor, Error> {
        let operation = format!("unpack layer {}", layer.digest);
        let request = api::ApplyRequest {
            diff: Some(to_wire(layer)),
            mounts: mounts.iter().cloned().map(Into::into).collect(),
            payloads: Default::default(),
            sync_fs: false,
        };
        let mut service = DiffClient::new(self.client.service());
        let answer = self.client.watch(&operation, service.apply(request)).await?;
        let applied = answer
            .into_inner()
            .applied
            .ok_or_else(|| Error::bad_answer(&*operation, "no descriptor in it"))?;
        let digest = applied
            .digest
            .parse()
            .map_err(|error| Error::bad_answer(&*operation, format!("{error}")))?;
        let size = u64::try_from(applied.size)
            .map_err(|_| Error::bad_answer(&*operation, "a negative size"))?;
        Ok(Descriptor::new(MediaType::new(applied.media_type), digest, size))
    }
}
