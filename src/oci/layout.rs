//! The words of the OCI image layout, in a directory or in an archive: what its files are called, and
//! under which annotations its index names images.
//! See <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>.

use super::Digest;

/// The file that marks a layout.
pub const LAYOUT_FILE: &str = "oci-layout";

/// What is in it.
pub const LAYOUT_CONTENT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// The table of contents.
pub const INDEX_FILE: &str = "index.json";

/// The directory of blobs, which has one for each algorithm.
pub const BLOBS: &str = "blobs";

/// That of the blobs that are called by their SHA-256.
pub const SHA256: &str = "sha256";

/// What skopeo's `oci:DIR:NAME`, umoci's `--image DIR:NAME` and podman look for: anything from a bare
/// tag to a whole reference.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The whole reference, by which `ctr images import` names the image.
pub const FULL_NAME: &str = "io.containerd.image.name";

/// The file of the blob `digest`.
pub fn blob_file(digest: &Digest) -> String {
    format!("{BLOBS}/{SHA256}/{}", digest.hex())
}
