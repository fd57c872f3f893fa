//! `pullctl completion`: prints a shell's completion script.

use clap::{Args, CommandFactory as _};

use super::command::Cli;
use super::{Error, Session};

/// `pullctl completion`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// Shell to complete for
    pub shell: clap_complete::Shell,
}

/// Prints the script.
///
/// # Errors
/// When standard output can't be written.
pub(super) fn run(args: &CompletionArgs, session: &Session<'_>) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "pullctl", &mut script);
    session.printer.out(String::from_utf8_lossy(&script).trim_end())?;
    Ok(())
}
