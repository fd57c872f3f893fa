//! A certificate or key that a configuration file names.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::document::Setting;
use super::error::{Error, Location};

/// A file, and where it is named.
#[derive(Debug, Clone)]
pub(super) struct NamedFile {
    path: PathBuf,
    setting: &'static str,
    location: Location,
}

impl NamedFile {
    /// The file that `setting`, or an element of it, names; a relative path starts at `directory`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it names none.
    pub(super) fn of(
        setting: &Setting<'_>,
        directory: &Path,
        name: &'static str,
    ) -> Result<Self, Error> {
        match setting.string()? {
            "" => Err(setting.invalid(format!("`{name}` names no file"), "the path of a PEM file")),
            written => Ok(Self {
                path: directory.join(written),
                setting: name,
                location: setting.location(),
            }),
        }
    }

    /// Its path, if it can be read: a pull would fail without it in a less telling place.
    ///
    /// # Errors
    /// [`Error::MissingFile`] otherwise.
    pub(super) fn readable(self) -> Result<PathBuf, Error> {
        match check_readable(&self.path) {
            Ok(()) => Ok(self.path),
            Err(source) => Err(Error::MissingFile {
                location: Box::new(self.location),
                setting: self.setting,
                path: self.path,
                source,
            }),
        }
    }
}

fn check_readable(path: &Path) -> io::Result<()> {
    if File::open(path)?.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(())
}
