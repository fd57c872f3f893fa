//! KubeletConfiguration, and the files of `--config-dir` that are laid over it.
//!
//! See <https://kubernetes.io/docs/tasks/administer-cluster/kubelet-config-file/>.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::config::error::Error;
use crate::config::hosts::duration;
use crate::config::yaml::{YamlFile, text_of};

use super::flags::Flags;

/// What a file that is dropped in has to end in; others are passed over.
const DROP_IN_EXTENSION: &str = "conf";

/// Most files and directories looked at below `--config-dir`.
const MAX_DROP_INS: usize = 1000;

/// How full images may make their disk where nothing is said.
const DEFAULT_GC_HIGH_PERCENT: u8 = 85;

const EXPECTED: &str = "a KubeletConfiguration of kubelet.config.k8s.io/v1beta1";

/// The files, each laid over those before it.
#[derive(Debug, Default)]
pub(super) struct Settings {
    layers: Vec<YamlFile>,
}

impl Settings {
    /// Reads `config` and what is in `drop_ins`.
    ///
    /// # Errors
    /// [`Error`] for a file that is not there or no YAML: the kubelet does not start with it.
    pub(super) fn read(config: Option<&Path>, drop_ins: Option<&Path>) -> Result<Self, Error> {
        let mut paths: Vec<PathBuf> = config.map(Path::to_owned).into_iter().collect();
        if let Some(directory) = drop_ins {
            collect(directory, &mut paths)?;
        }
        let mut layers = Vec::new();
        for path in paths {
            layers.push(YamlFile::read(&path, EXPECTED)?.ok_or_else(|| Error::not_found(&path))?);
        }
        Ok(Self { layers })
    }

    /// The files, in their order.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.layers.iter().map(|layer| layer.path().to_owned()).collect()
    }

    /// The value of `name`, and the file that has the last word on it. A null unsets what was said
    /// before.
    pub(super) fn get(&self, name: &str) -> Option<(&YamlFile, &Value)> {
        let last =
            self.layers.iter().rev().find_map(|layer| Some((layer, layer.value().get(name)?)));
        last.filter(|(_, value)| !value.is_null())
    }

    /// The value of `key` in the table `name`, which the files fill together.
    pub(super) fn get_in(&self, name: &str, key: &str) -> Option<(&YamlFile, &Value)> {
        let last = self
            .layers
            .iter()
            .rev()
            .find_map(|layer| Some((layer, layer.value().get(name)?.get(key)?)));
        last.filter(|(_, value)| !value.is_null())
    }

    /// The text called `name`; an empty one says nothing.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Error> {
        let Some((file, value)) = self.get(name) else { return Ok(None) };
        match text_of(value) {
            Some(text) => Ok(Some(text).filter(|text| !text.is_empty())),
            None => Err(file.invalid(name, format!("`{name}` is no text"), "a text")),
        }
    }

    /// The duration called `name`; none for zero, by which the kubelet means no limit.
    pub(super) fn duration(&self, name: &str) -> Result<Option<Duration>, Error> {
        let (Some(text), Some((file, _))) = (self.text(name)?, self.get(name)) else {
            return Ok(None);
        };
        let problem = || format!("`{name}` {text:?} is no duration");
        let parsed = duration::parse(&text)
            .ok_or_else(|| file.invalid(name, problem(), duration::EXPECTED))?;
        Ok(Some(parsed).filter(|duration| !duration.is_zero()))
    }

    /// See [`Kubelet::image_gc_high_percent`](super::Kubelet::image_gc_high_percent).
    pub(super) fn image_gc_high_percent(&self, flags: &Flags) -> Result<u8, Error> {
        const NAME: &str = "imageGCHighThresholdPercent";
        let typed = flags.get("image-gc-high-threshold").and_then(|text| text.parse().ok());
        if let Some(percent) = typed {
            return Ok(percent);
        }
        let Some((file, value)) = self.get(NAME) else { return Ok(DEFAULT_GC_HIGH_PERCENT) };
        let percent = value.as_u64().and_then(|percent| u8::try_from(percent).ok());
        percent.filter(|percent| *percent <= 100).ok_or_else(|| {
            file.invalid(NAME, format!("`{NAME}` is no percentage"), "a number from 0 to 100")
        })
    }
}

/// Adds the drop-ins at and below `directory`, in the order of the names.
fn collect(directory: &Path, paths: &mut Vec<PathBuf>) -> Result<(), Error> {
    let unreadable = |source| Error::Unreadable { path: directory.to_owned(), source };
    let mut entries = fs::read_dir(directory)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if paths.len() >= MAX_DROP_INS {
            return Err(unreadable(io::Error::other("it holds more than a thousand files")));
        }
        let path = entry.path();
        // As the kubelet does: a link to a directory is not followed, and a file by its name alone.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == DROP_IN_EXTENSION) {
            paths.push(path);
        }
    }
    Ok(())
}
