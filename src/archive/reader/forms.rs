//! Which form an archive has.

use super::error::Problem;
use super::images::{Files, MAX_INDEX_BYTES, Understood};
use super::{docker, oci};
use crate::oci::layout;

/// Makes sense of `files`: as an OCI layout where there is an `index.json`, which has the digests, else
/// as docker's archive.
pub(super) fn understand(files: &impl Files) -> Result<Understood, Problem> {
    let understood = if let Some(index) = files.read(layout::INDEX_FILE, MAX_INDEX_BYTES)? {
        Understood { images: oci::images(&index)?, ..Understood::default() }
    } else if let Some(manifest) = files.read(docker::MANIFEST_FILE, MAX_INDEX_BYTES)? {
        docker::understand(&manifest, files)?
    } else if files.read(docker::REPOSITORIES_FILE, MAX_INDEX_BYTES)?.is_some() {
        return Err(Problem::TooOld);
    } else {
        return Err(Problem::NoIndex);
    };
    if understood.images.is_empty() { Err(Problem::NoImages) } else { Ok(understood) }
}
