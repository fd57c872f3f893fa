//! `pullctl completion`: prints a shell's completion script.

use clap::{Args, Command};

use super::{Error, Session};

/// `pullctl completion`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// Shell to complete for
    pub shell: clap_complete::Shell,
}

/// Prints the script for the commands of `definition`.
///
/// # Errors
/// When standard output can't be written.
pub(super) fn run(
    args: &CompletionArgs,
    mut definition: Command,
    session: &Session<'_>,
) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut definition, "pullctl", &mut script);
    session.printer.out(String::from_utf8_lossy(&script).trim_end())?;
    Ok(())
}
