//! Paths of a node whose root may be elsewhere than at `/`.

use std::path::{Path, PathBuf};

/// `path` of the node whose root is at `root`.
pub(super) fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}
