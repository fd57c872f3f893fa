//! One `config.toml` and its imports, read one over the other.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf, absolute};

use crate::config::document::{Document, Setting, Table};
use crate::config::error::Error;
use crate::config::warning::WarningKind;

use super::{ContainerdConfig, cri_refuses};

/// The CRI plugin in files of version 1, and of version 2.
const CRI_PLUGINS: [&str; 2] = ["cri", "io.containerd.grpc.v1.cri"];

/// Its part for images since version 3.
const IMAGES_PLUGIN: &str = "io.containerd.cri.v1.images";

/// Its part for containers since version 3.
const RUNTIME_PLUGIN: &str = "io.containerd.cri.v1.runtime";

/// Reads `path`, then what it imports, breadth first; what comes later wins, as in containerd.
pub(super) fn read(path: &Path) -> Result<Option<ContainerdConfig>, Error> {
    let path =
        &absolute(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
    let Some(document) = Document::read(path)? else { return Ok(None) };
    let mut config = ContainerdConfig { path: path.to_owned(), ..ContainerdConfig::default() };
    let mut pending = VecDeque::from(absorb(&document, &mut config)?);
    let mut seen = HashSet::from([path.to_owned()]);
    while let Some(import) = pending.pop_front() {
        if !seen.insert(import.clone()) {
            continue;
        }
        let document = Document::read(&import)?.ok_or_else(|| Error::not_found(&import))?;
        pending.extend(absorb(&document, &mut config)?);
    }
    Ok(Some(config))
}

/// Adds what one file says to `config`. Returns the files that it imports.
fn absorb(document: &Document, config: &mut ContainerdConfig) -> Result<Vec<PathBuf>, Error> {
    let tree = document.parse()?;
    let root = Table::root(document, &tree);
    let directory = document.path().parent().unwrap_or(Path::new("/"));
    let version = root.get("version").map(|version| version.number()).transpose()?;

    replace(&mut config.root, root.text("root")?.map(PathBuf::from));
    if let Some(disabled) = root.get("disabled_plugins") {
        absorb_disabled(&disabled, config)?;
    }
    if let Some(plugins) = root.descend(&["plugins"])? {
        warn_of_ignored_plugins(version, &plugins, config);
        absorb_plugins(&plugins, directory, config)?;
    }
    match root.get("imports") {
        Some(imports) => resolve_imports(&imports, directory),
        None => Ok(Vec::new()),
    }
}

fn absorb_plugins(
    plugins: &Table<'_>,
    directory: &Path,
    config: &mut ContainerdConfig,
) -> Result<(), Error> {
    for name in CRI_PLUGINS {
        let Some(cri) = plugins.descend(&[name])? else { continue };
        replace(&mut config.sandbox_image, cri.text("sandbox_image")?.map(str::to_owned));
        if let Some(containerd) = cri.descend(&["containerd"])? {
            replace(&mut config.snapshotter, containerd.text("snapshotter")?.map(str::to_owned));
        }
        absorb_registry(&cri, directory, config)?;
    }
    if let Some(images) = plugins.descend(&[IMAGES_PLUGIN])? {
        replace(&mut config.snapshotter, images.text("snapshotter")?.map(str::to_owned));
        if let Some(pinned) = images.descend(&["pinned_images"])? {
            replace(&mut config.sandbox_image, pinned.text("sandbox")?.map(str::to_owned));
        }
        absorb_registry(&images, directory, config)?;
    }
    Ok(())
}

fn absorb_registry(
    plugin: &Table<'_>,
    directory: &Path,
    config: &mut ContainerdConfig,
) -> Result<(), Error> {
    match plugin.descend(&["registry"])? {
        Some(registry) => config.registry.absorb(&registry, directory),
        None => Ok(()),
    }
}

fn absorb_disabled(disabled: &Setting<'_>, config: &mut ContainerdConfig) -> Result<(), Error> {
    for plugin in disabled.array()? {
        let name = plugin.string()?;
        if CRI_PLUGINS.contains(&name) || name == IMAGES_PLUGIN || name == RUNTIME_PLUGIN {
            let (kind, message) = cri_refuses(&format!("`disabled_plugins` holds {name:?}"));
            config.warn_disabled(plugin.warning(kind, message));
        }
    }
    Ok(())
}

/// containerd 1.x takes a file without a version for one of version 1, and knows plugins there by
/// their short names only; containerd 2 reads both.
fn warn_of_ignored_plugins(
    version: Option<u64>,
    plugins: &Table<'_>,
    config: &mut ContainerdConfig,
) {
    let is_long = |setting: &Setting<'_>| {
        CRI_PLUGINS.contains(&setting.name) && setting.name.contains('.')
            || setting.name == IMAGES_PLUGIN
    };
    if version.unwrap_or(1) > 1 {
        return;
    }
    if let Some(section) = plugins.settings().find(is_long) {
        let message =
            format!("containerd 1.x does not read {:?} in a file of version 1", section.name);
        config.unversioned.get_or_insert(
            section
                .warning(WarningKind::IgnoredSection, message)
                .with_hint("write `version = 2` at the top of the file"),
        );
    }
}

/// The files that `imports` names; patterns may match none.
fn resolve_imports(imports: &Setting<'_>, directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for import in imports.array()? {
        let path = directory.join(import.string()?);
        if !path.to_string_lossy().contains('*') {
            files.push(path);
            continue;
        }
        let matches = glob::glob(&path.to_string_lossy())
            .map_err(|error| import.invalid(error.to_string(), "a path, or a pattern with `*`"))?;
        for found in matches {
            files.push(found.map_err(|error| Error::Unreadable {
                path: error.path().to_owned(),
                source: error.into(),
            })?);
        }
    }
    Ok(files)
}

/// A later file's value takes the place of an earlier one's, where it has one.
fn replace<T>(setting: &mut Option<T>, later: Option<T>) {
    if later.is_some() {
        *setting = later;
    }
}
