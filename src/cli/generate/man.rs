//! Manual pages, one a command, made from the definitions that `--help` is made from.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Command};

use crate::cli::{Error, SeedingError};

/// `pullctl generate man`.
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Directory to write them into: pullctl.1, pullctl-pull.1 and so on
    #[arg(value_name = "DIR")]
    pub(super) directory: PathBuf,
}

impl ManArgs {
    /// Writes the pages.
    ///
    /// # Errors
    /// When the directory can't be written.
    pub(super) fn write(&self, definition: Command) -> Result<(), Error> {
        fs::create_dir_all(&self.directory)
            .and_then(|()| {
                clap_mangen::generate_to(definition.disable_help_subcommand(true), &self.directory)
            })
            .map_err(|source| {
                SeedingError::NotNoted { path: self.directory.clone(), source }.into()
            })
    }
}
