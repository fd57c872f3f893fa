//! How registries are reached, as whom, and how requests travel: what every command needs that moves
//! images from or to a registry.

use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;

use super::{RegistryArgs, TransportArgs};
use crate::cli::{Error, prompt};
use crate::lists;

/// How registries are reached, as whom, and how requests travel.
#[derive(Debug, Args)]
pub struct AccessArgs {
    /// How registries are reached.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// Read the password for -u from standard input
    #[arg(long, requires = "user", help_heading = "Registry")]
    pub password_stdin: bool,
    /// How requests travel.
    #[command(flatten)]
    pub transport: TransportArgs,
}

impl AccessArgs {
    /// The password that `--password-stdin` stands for, where lists of images are read from `files`.
    ///
    /// # Errors
    /// When standard input can't be read, is a list of images, or there is a password already.
    pub(in crate::cli) fn piped_password(
        &self,
        files: &[PathBuf],
    ) -> Result<Option<SecretString>, Error> {
        if !self.password_stdin {
            return Ok(None);
        }
        if files.iter().any(|path| lists::is_standard_input(path)) {
            return Err(Error::InputTwice);
        }
        if self.registry.has_typed_password() {
            return Err(Error::PasswordTwice);
        }
        prompt::piped_password().map(Some)
    }
}
