//! The daemon's own unpacking of a layer.

use containerd_client::services::v1 as api;
use containerd_client::services::v1::diff_client::DiffClient;

use super::images::to_wire;
use super::snapshots::Mount;
use super::{Client, Error};
use crate::oci::{Compression, Descriptor, MediaKind, MediaType};

/// What OCI calls a layer that is packed by zstd.
const OCI_ZSTD_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

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
    /// is not inflated. Of docker's types, those that name zstd get OCI's name for the same thing:
    /// containerd 1.6 and 1.7 know no other.
    ///
    /// # Errors
    /// When the daemon can't: the blob is missing, is no tar, the disk is full.
    pub async fn apply(&self, layer: &Descriptor, mounts: &[Mount]) -> Result<Descriptor, Error> {
        let operation = format!("unpack layer {}", layer.digest);
        let request = api::ApplyRequest {
            diff: Some(to_wire(&understood(layer))),
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

/// `layer` under a media type by which every daemon can tell how it is packed.
fn understood(layer: &Descriptor) -> Descriptor {
    let mut layer = layer.clone();
    let is_zstd = matches!(layer.kind(), MediaKind::Layer { compression: Compression::Zstd, .. });
    if is_zstd && layer.media_type.is_docker() {
        layer.media_type = MediaType::new(OCI_ZSTD_LAYER);
    }
    layer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;

    #[test]
    fn zstd_goes_by_the_name_that_every_daemon_knows() {
        for (written, told) in [
            ("application/vnd.docker.image.rootfs.diff.tar.zstd", OCI_ZSTD_LAYER),
            ("application/vnd.docker.image.rootfs.diff.tar+zstd", OCI_ZSTD_LAYER),
            (OCI_ZSTD_LAYER, OCI_ZSTD_LAYER),
            (
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
            ),
            ("text/plain", "text/plain"),
        ] {
            let layer = Descriptor::new(MediaType::new(written), Digest::of(b""), 0);
            assert_eq!(understood(&layer).media_type.as_str(), told);
        }
    }
}
