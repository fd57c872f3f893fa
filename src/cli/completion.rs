//! `pullctl completion`: prints a shell's completion script.

use clap::CommandFactory;

use super::args::{Cli, CompletionArgs};
use crate::output::{Error, Printer};

/// Prints the script.
///
/// # Errors
/// When standard output can't be written.
pub(super) fn run(args: &CompletionArgs, printer: &Printer) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "pullctl", &mut script);
    printer.out(String::from_utf8_lossy(&script).trim_end())
}
