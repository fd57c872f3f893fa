//! The `pullctl` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    pullctl::cli::main()
}
