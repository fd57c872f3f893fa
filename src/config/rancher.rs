//! The settings of k3s and RKE2 themselves: a file, and those that are laid over it.
//!
//! See <https://docs.k3s.io/installation/configuration#configuration-file>.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::yaml::YamlFile;

/// The files of `distribution`, `k3s` or `rke2`, on the node whose root is at `root`: each counts more
/// than those before it.
///
/// # Errors
/// [`Error`] for one that is no YAML.
pub(super) fn files(root: &Path, distribution: &str) -> Result<Vec<YamlFile>, Error> {
    let own = root.join("etc/rancher").join(distribution).join("config.yaml");
    let is_yaml = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
    };
    let mut paths: Vec<_> = fs::read_dir(own.with_extension("yaml.d"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(is_yaml)
        .collect();
    paths.sort();
    paths.insert(0, own);
    let mut files = Vec::new();
    for path in paths {
        files.extend(YamlFile::read(&path, "settings of k3s or RKE2")?);
    }
    Ok(files)
}
