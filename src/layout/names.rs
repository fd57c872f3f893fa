//! What is in a layout besides what the specification says.

/// Holds downloads that are not complete yet, beside `blobs` so that a rename completes them.
/// Begins with a dot since the specification leaves other names to other tools.
pub(super) const INGEST_DIRECTORY: &str = ".pullctl-ingest";
