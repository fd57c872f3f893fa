//! `pullctl status`: what the last round of seeding did.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Error, SeedingError, Session};
use crate::failure::Failure;
use crate::output::{Form, Status, document};

const STATUS_EXAMPLES: &str = "\
Examples:
  Whether this node has all that it should have, as a probe:
    pullctl status /run/pullctl/status.json

Exit code: 0 when all is in place, else that of the last round; 3 when there is no such file, 1 before
the first round has ended.";

/// `pullctl status`.
#[derive(Debug, Args)]
#[command(after_long_help = STATUS_EXAMPLES)]
pub struct StatusArgs {
    /// The file that pull --status-file keeps
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t)]
    pub output: StatusForm,
}

/// Forms of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum StatusForm {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// Tells what the file says.
///
/// # Errors
/// [`Error::AlreadyTold`] when not all is in place; [`SeedingError::NoStatus`].
pub(super) fn run(args: &StatusArgs, session: &Session<'_>) -> Result<(), Error> {
    let status = Status::read(&args.file)
        .map_err(|source| SeedingError::NoStatus { path: args.file.clone(), source })?;
    let form = match args.output {
        StatusForm::Text => Form::Text,
        StatusForm::Json => Form::Json,
    };
    session.printer.out(&document(&status, form))?;
    match Failure::of_exit_code(status.exit_code) {
        _ if status.is_seeded() => Ok(()),
        Some(failure) => Err(Error::AlreadyTold(failure)),
        None => Err(Error::AlreadyTold(Failure::Other)),
    }
}
