//! Opening an ingest: under the name by which containerd's own clients and ours find each other, and
//! after whoever writes the same blob already.

use super::content::ContentStore;
use super::ingest::Ingest;
use super::turn::Turn;
use crate::containerd::Error;
use crate::oci::{Descriptor, MediaKind};

/// The outcome of [`ContentStore::ingest`].
#[derive(Debug)]
pub enum Opened {
    /// The blob is stored, and held by our lease from now on.
    Exists,
    /// It is ours to write.
    Ingest(Box<Ingest>),
}

/// The name of the ingest of `descriptor`, as containerd's own clients form it: with the same name,
/// they and we wait for each other instead of downloading twice.
pub fn ingest_reference(descriptor: &Descriptor) -> String {
    let kind = match descriptor.kind() {
        MediaKind::Index => "index",
        MediaKind::Manifest => "manifest",
        MediaKind::Layer { .. } => "layer",
        MediaKind::Config => "config",
        MediaKind::Schema1 | MediaKind::Other => "unknown",
    };
    format!("{kind}-{}", descriptor.digest)
}

impl ContentStore {
    /// Opens the ingest `reference` of the blob `expected`, going on where an earlier one stopped.
    /// While another client writes it, waits until that one has finished or given up.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn ingest(&self, reference: &str, expected: &Descriptor) -> Result<Opened, Error> {
        let mut turn = Turn::new(self, &expected.digest);
        loop {
            match Ingest::open(self, reference, expected).await {
                Ok(ingest) => return Ok(Opened::Ingest(Box::new(ingest))),
                Err(error) if error.is_already_exists() => return Ok(Opened::Exists),
                Err(error) => turn.wait(error).await?,
            }
        }
    }

    /// Opens an ingest of `size` bytes whose digest is not known yet: [`Ingest::commit_as`] tells it.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn ingest_unnamed(&self, size: u64) -> Result<Ingest, Error> {
        let reference = format!("pullctl-{}-{:016x}", std::process::id(), fastrand::u64(..));
        Ingest::open_as(self, &reference, size, None).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Digest, MediaType};

    #[test]
    fn names_ingests_as_containerd_does() {
        for (media_type, prefix) in [
            ("application/vnd.oci.image.index.v1+json", "index"),
            ("application/vnd.docker.distribution.manifest.v2+json", "manifest"),
            ("application/vnd.oci.image.config.v1+json", "config"),
            ("application/vnd.oci.image.layer.v1.tar+zstd", "layer"),
            ("text/plain", "unknown"),
        ] {
            let descriptor = Descriptor::new(MediaType::new(media_type), Digest::of(b""), 0);
            assert_eq!(ingest_reference(&descriptor), format!("{prefix}-{}", Digest::of(b"")));
        }
    }
}
