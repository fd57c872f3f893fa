//! The command line: arguments into requests, results into output and exit codes. The one place
//! where things are put together.
//!
//! | file | owns |
//! |---|---|
//! | `args`, `registry_args`, `values` | what can be typed |
//! | `settings` | what it means: files, variables and flags into typed requests |
//! | `pull`, `images`, `rm`, `login`, `logout`, `explain`, `completion` | one subcommand each: wires and prints |
//! | `explanation` | what a pull would do, as a document |
//! | `inventory` | the images in containerd, for those that list or remove them |
//! | `prompt` | questions to somebody at the terminal |
//! | `error` | what can go wrong before a subcommand's own work begins |

pub mod args;
mod completion;
mod error;
mod explain;
mod explanation;
mod images;
mod inventory;
mod login;
mod logout;
mod prompt;
mod pull;
pub mod registry_args;
mod rm;
mod settings;
pub mod values;

use std::io;
use std::num::NonZero;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser as _;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::containerd::{self, Client};
use crate::failure::{Diagnose, Failure};
use crate::output::{self, Printer};
use crate::registry;
use args::{Cli, Command, GlobalArgs};
pub use error::Error;

/// Longest wait for threads that still write a file when the process ends. What they write is
/// resumed by the next run.
const SHUTDOWN: Duration = Duration::from_millis(200);

/// Parses the arguments, runs what they say, and returns the exit code for the process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let printer = Printer::standard();
    let traced = cli.command.http_trace().then_some(registry::HTTP_TRACE_TARGET);
    output::start_logs(&printer, cli.global.verbose, traced);
    let failure = match runtime() {
        Ok(runtime) => {
            let failure = runtime.block_on(run(&cli, &printer));
            runtime.shutdown_timeout(SHUTDOWN);
            failure
        }
        Err(source) => {
            printer.error(&Error::Runtime(source));
            Some(Failure::Other)
        }
    };
    ExitCode::from(failure.map_or(0, Failure::exit_code))
}

/// Threads for what waits. What computes or writes files (inflating, hashing, extracting) has
/// threads of its own, and with as many as there are processors the two would stand in each other's
/// way: on two cores, 100 small layers took a sixth longer.
fn runtime() -> io::Result<Runtime> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    Builder::new_multi_thread().worker_threads((processors / 2).max(1)).enable_all().build()
}

/// Runs the command unless a signal ends it first.
async fn run(cli: &Cli, printer: &Printer) -> Option<Failure> {
    let interrupted = async {
        match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
            (Ok(mut interrupt), Ok(mut terminate)) => {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
            // Without a handler the signals end the process by themselves.
            _ => std::future::pending().await,
        }
    };
    match &cli.command {
        Command::Pull(args) => pull::run(&cli.global, args, printer, interrupted).await,
        Command::Images(args) => told(printer, images::run(&cli.global, args, printer).await),
        Command::Rm(args) => told(printer, rm::run(&cli.global, args, printer).await),
        Command::Login(args) => {
            told(printer, login::run(&cli.global, args, printer, interrupted).await)
        }
        Command::Logout(args) => told(printer, logout::run(args, printer).await),
        Command::Explain(args) => explain::run(&cli.global, args, printer).await,
        Command::Completion(args) => told(printer, completion::run(args, printer)),
    }
}

/// The daemon and the namespace that the flags of every command name.
async fn connect(global: &GlobalArgs) -> Result<Client, containerd::Error> {
    let address = containerd::find_address(global.address())?;
    Client::connect(&address, global.namespace()).await
}

/// Prints what went wrong, if anything did, and tells its kind.
fn told(printer: &Printer, outcome: Result<(), impl Diagnose>) -> Option<Failure> {
    outcome.err().and_then(|error| fail(printer, &error))
}

/// Prints `error` and tells its kind.
fn fail(printer: &Printer, error: &dyn Diagnose) -> Option<Failure> {
    printer.error(error);
    Some(error.failure())
}
