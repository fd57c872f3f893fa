//! What the files and directories of a layout are called.

/// Marks a directory as a layout.
pub(super) const LAYOUT_FILE: &str = "oci-layout";

/// Holds a directory of blobs for each algorithm.
pub(super) const BLOBS: &str = "blobs";

/// The blobs.
pub(super) const SHA256: &str = "sha256";

/// Holds downloads that are not complete yet, beside `blobs` so that a rename completes them.
/// Begins with a dot since the specification leaves other names to other tools.
pub(super) const INGEST_DIRECTORY: &str = ".pullctl-ingest";
