//! Which programs containerd asks before it takes an image: `io.containerd.image-verifier.v1.bindir`.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::document::Table;
use crate::config::error::Error;
use crate::config::hosts::duration;

/// The plugin's name in the table `plugins`.
pub(super) const PLUGIN: &str = "io.containerd.image-verifier.v1.bindir";

/// The daemon's own settings where none are written.
const DEFAULT_DIRECTORY: &str = "/opt/containerd/image-verifier/bin";
const DEFAULT_MAX: usize = 10;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the programs are, and how they are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierSettings {
    /// `bin_dir`; every entry of it is one.
    pub directory: PathBuf,
    /// `max_verifiers`: how many of them are called; `None` for all, by a negative number.
    pub max: Option<usize>,
    /// `per_verifier_timeout`.
    pub timeout: Duration,
}

impl Default for VerifierSettings {
    fn default() -> Self {
        Self {
            directory: DEFAULT_DIRECTORY.into(),
            max: Some(DEFAULT_MAX),
            timeout: DEFAULT_TIMEOUT,
        }
    }
}

impl VerifierSettings {
    /// Takes what `section` says in place of what was said before.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a value that cannot be meant.
    pub(super) fn absorb(&mut self, section: &Table<'_>) -> Result<(), Error> {
        if let Some(directory) = section.text("bin_dir")? {
            self.directory = directory.into();
        }
        if let Some(max) = section.get("max_verifiers") {
            self.max = usize::try_from(max.integer()?).ok();
        }
        if let Some(setting) = section.get("per_verifier_timeout") {
            let text = setting.string().map_err(|_| setting.mismatch(duration::EXPECTED))?;
            let problem = || format!("`per_verifier_timeout` {text:?} is no duration");
            self.timeout = duration::parse(text)
                .ok_or_else(|| setting.invalid(problem(), duration::EXPECTED))?;
        }
        Ok(())
    }
}
