//! One `config.toml` and its imports, read one over the other.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf, absolute};

use crate::config::document::{Document, Setting, Table};
use crate::config::error::Error;
use crate::config::warning::WarningKind;

use super::ContainerdConfig;
use super::generation::{Generation, Section};
use super::registry::cri_refuses;
use super::verifiers;

/// The CRI plugin's part for containers since version 3.
const RUNTIME_PLUGIN: &str = "io.containerd.cri.v1.runtime";

impl ContainerdConfig {
    /// Reads `path` and what it imports, as a daemon of `generation` does; `None` where there is no
    /// such file.
    ///
    /// # Errors
    /// [`Error`] for a file that is no TOML, or says what cannot be meant: the daemon would not
    /// start with it either.
    pub fn read(path: &Path, generation: Generation) -> Result<Option<Self>, Error> {
        read(path, generation)
    }

    /// Reads the first of `paths` that exists; `None` where none does.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_first(
        paths: &[impl AsRef<Path>],
        generation: Generation,
    ) -> Result<Option<Self>, Error> {
        for path in paths {
            if let Some(config) = Self::read(path.as_ref(), generation)? {
                return Ok(Some(config));
            }
        }
        Ok(None)
    }
}

/// Reads `path`, then what it imports, breadth first, as a daemon of `generation` does; what comes
/// later wins.
fn read(path: &Path, generation: Generation) -> Result<Option<ContainerdConfig>, Error> {
    let path =
        &absolute(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
    let Some(document) = Document::read(path)? else { return Ok(None) };
    let mut config = ContainerdConfig { path: path.to_owned(), ..ContainerdConfig::default() };
    let mut pending = VecDeque::from(absorb(&document, generation, &mut config)?);
    let mut seen = HashSet::from([path.to_owned()]);
    while let Some(import) = pending.pop_front() {
        if !seen.insert(import.clone()) {
            continue;
        }
        let document = Document::read(&import)?.ok_or_else(|| Error::not_found(&import))?;
        pending.extend(absorb(&document, generation, &mut config)?);
    }
    Ok(Some(config))
}

/// Adds what one file says to `config`. Returns the files that it imports.
fn absorb(
    document: &Document,
    generation: Generation,
    config: &mut ContainerdConfig,
) -> Result<Vec<PathBuf>, Error> {
    let tree = document.parse()?;
    let root = Table::root(document, &tree);
    let directory = document.path().parent().unwrap_or(Path::new("/"));
    let version = root.get("version").map(|version| version.number()).transpose()?;

    replace(&mut config.root, root.text("root")?.map(PathBuf::from));
    if let Some(disabled) = root.get("disabled_plugins") {
        absorb_disabled(&disabled, config)?;
    }
    if let Some(plugins) = root.descend(&["plugins"])? {
        warn_of_ignored_plugins(generation, version, &plugins, config);
        if let Some(section) = plugins.descend(&[verifiers::PLUGIN])? {
            config.verifiers.absorb(&section)?;
        }
        for section in generation.sections(version) {
            if let Some(cri) = plugins.descend(&[section.name()])? {
                absorb_section(*section, &cri, generation, directory, config)?;
            }
        }
    }
    match root.get("imports") {
        Some(imports) => resolve_imports(&imports, directory),
        None => Ok(Vec::new()),
    }
}

fn absorb_section(
    section: Section,
    cri: &Table<'_>,
    generation: Generation,
    directory: &Path,
    config: &mut ContainerdConfig,
) -> Result<(), Error> {
    if section == Section::Images {
        replace(&mut config.snapshotter, cri.text("snapshotter")?.map(str::to_owned));
        if let Some(pinned) = cri.descend(&["pinned_images"])? {
            replace(&mut config.sandbox_image, pinned.text("sandbox")?.map(str::to_owned));
        }
    } else {
        replace(&mut config.sandbox_image, cri.text("sandbox_image")?.map(str::to_owned));
        if let Some(containerd) = cri.descend(&["containerd"])? {
            absorb_snapshotter(&containerd, generation, config)?;
        }
    }
    match cri.descend(&["registry"])? {
        Some(registry) => config.registry.absorb(&registry, directory),
        None => Ok(()),
    }
}

fn absorb_snapshotter(
    containerd: &Table<'_>,
    generation: Generation,
    config: &mut ContainerdConfig,
) -> Result<(), Error> {
    let Some(setting) = containerd.get("snapshotter") else { return Ok(()) };
    if generation.reads_snapshotter(containerd)? {
        replace(&mut config.snapshotter, containerd.text("snapshotter")?.map(str::to_owned));
        return Ok(());
    }
    let message =
        format!("{} reads this `snapshotter` only beside a table `runtimes`", generation.name());
    config.passed_over.push(setting.warning(WarningKind::IgnoredSection, message).with_hint(
        "write it as `snapshotter` of [plugins.\"io.containerd.cri.v1.images\"], and restart \
         containerd",
    ));
    Ok(())
}

fn absorb_disabled(disabled: &Setting<'_>, config: &mut ContainerdConfig) -> Result<(), Error> {
    for plugin in disabled.array()? {
        let name = plugin.string()?;
        let is_cri = Section::ALL.iter().any(|section| section.name() == name);
        if is_cri || name == RUNTIME_PLUGIN {
            let (kind, message) = cri_refuses(&format!("`disabled_plugins` holds {name:?}"));
            config.warn_disabled(plugin.warning(kind, message));
        }
    }
    Ok(())
}

/// A section that the daemon passes over. Where none answers, the one that most nodes have: 1.x takes
/// a file without a version for one of version 1, and knows plugins there by their short names only.
fn warn_of_ignored_plugins(
    generation: Generation,
    version: Option<u64>,
    plugins: &Table<'_>,
    config: &mut ContainerdConfig,
) {
    let reader = match generation {
        Generation::Unknown if version.unwrap_or(1) > 1 => return,
        Generation::Unknown => Generation::One,
        known => known,
    };
    let Some(section) = reader.passed_over(version, plugins) else { return };
    let Some(setting) = plugins.get(section.name()) else { return };
    let message = format!(
        "{} does not read {:?} in a file of version {}",
        reader.name(),
        section.name(),
        version.unwrap_or(1)
    );
    let warning = setting.warning(WarningKind::IgnoredSection, message);
    config.passed_over.push(warning.with_hint(reader.remedy(section, version)));
}

/// The files that `imports` names; patterns may match none.
pub(super) fn resolve_imports(
    imports: &Setting<'_>,
    directory: &Path,
) -> Result<Vec<PathBuf>, Error> {
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
