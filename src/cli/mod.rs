//! The command line: arguments into requests, results into output and exit codes. The one place
//! where things are put together.
//!
//! | file | owns |
//! |---|---|
//! | `command` | the commands, and which of them runs |
//! | `deferred` | arguments of a command, defined when it is the one that was typed |
//! | `groups` | flags that commands have in common, and what they come to |
//! | `values` | values of flags that have a form of their own |
//! | `session` | what a command works with, wired once: streams, daemon, registry, progress, signals |
//! | `pull`, `push`, `copy`, `save`, `load`, `images`, `refs`, `lock`, `rm`, `pin`, `tag`, `status`, `generate`, `login`, `logout`, `explain`, `completion` | one command each: its flags, and what it does |
//! | `inspect` | what an image consists of: one command, too |
//! | `background` | work that takes what nobody else wants |
//! | `budget` | what a run may hold in memory, and how its parts share that |
//! | `recipe` | the recipe as a command runs it: shown, ended by signals, its failures as one |
//! | `rounds` | doing the same again and again, and keeping note of it |
//! | `seeding_error` | why that, or what `generate` writes, did not work |
//! | `lock_error` | what goes wrong with locks |
//! | `pod_logins` | registries as asked for the images of pods with logins of their own |
//! | `held` | what the other side of an archive has already |
//! | `outlook` | what a pull would do, as a document |
//! | `sandbox`, `rules` | the image that pods' sandboxes are made of; what the node's kubelet wants |
//! | `foreign` | what the flags of other tools are called here |
//! | `wanted` | images as typed and as listed in files |
//! | `location` | where an image is or goes, as users of skopeo write it |
//! | `origin`, `destination` | such a place as a source, and as a sink |
//! | `referrers` | what refers to an image at a registry |
//! | `explanation` | what a pull would do, as a document |
//! | `doctor` | what is wrong with the node: one command, too |
//! | `probed` | what a probe found, as lines |
//! | `check`, `findings` | whether images are right: one command, and what is wrong with them as a document |
//! | `inspection`, `comparison`, `listing` | what an image consists of, what is different between two, and what a registry lists, as documents |
//! | `warned` | a document with the warnings of its run |
//! | `version` | what `--version` says |
//! | `prompt` | questions to somebody at the terminal |
//! | `error` | why a command could not be carried out |

mod background;
mod budget;
pub mod check;
pub mod command;
mod comparison;
pub mod completion;
pub mod copy;
mod deferred;
mod destination;
pub mod doctor;
mod error;
pub mod explain;
mod explanation;
mod findings;
mod foreign;
pub mod generate;
pub mod groups;
mod held;
pub mod images;
pub mod inspect;
mod inspection;
mod listing;
pub mod load;
mod location;
pub mod lock;
mod lock_error;
pub mod login;
pub mod logout;
mod origin;
mod outlook;
pub mod pin;
mod pod_logins;
mod probed;
mod prompt;
pub mod pull;
pub mod push;
mod recipe;
mod referrers;
pub mod refs;
pub mod rm;
mod rounds;
mod rules;
mod sandbox;
pub mod save;
mod seeding_error;
mod session;
pub mod status;
pub mod tag;
#[cfg(test)]
mod tests;
pub mod values;
mod version;
mod wanted;
mod warned;

use std::io;
use std::num::NonZero;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::failure::{Diagnose as _, Failure};
use crate::output::{self, Printer};
use crate::registry;
pub use command::Cli;
pub use error::Error;
pub use lock_error::LockError;
pub use seeding_error::SeedingError;
use session::Session;

/// Longest wait for threads that still write a file when the process ends. What they write is
/// resumed by the next run.
const SHUTDOWN: Duration = Duration::from_millis(200);

/// Parses the arguments, runs what they say, and returns the exit code for the process.
pub fn main() -> ExitCode {
    let cli = command::parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let printer = Printer::standard();
    let traced = cli.command.http_trace().then_some(registry::HTTP_TRACE_TARGET);
    output::start_logs(&printer, cli.global.verbose, traced);
    let is_background = cli.command.is_background();
    let budget = cli.command.budget();
    let (global, observer) = (&cli.global, None);
    let session = Session { global, printer: &printer, observer, is_background, budget };
    if is_background {
        background::enter();
    }
    let outcome = runtime(is_background).map_err(Error::Runtime).and_then(|runtime| {
        let outcome = runtime.block_on(cli.command.run(&session));
        runtime.shutdown_timeout(SHUTDOWN);
        outcome
    });
    if let Err(error) = &outcome
        && !matches!(error, Error::AlreadyTold(_))
    {
        printer.error(error);
    }
    ExitCode::from(outcome.err().map_or(0, |error| Failure::exit_code(error.failure())))
}

/// Most threads for what waits: more do not make sixteen connections faster.
const MOST_THREADS: usize = 8;

/// Threads for what waits. What computes or writes files (inflating, hashing, extracting) has
/// threads of its own, and with as many as there are processors the two would stand in each other's
/// way: on two cores, 100 small layers took a sixth longer. In the background one has to do.
fn runtime(is_background: bool) -> io::Result<Runtime> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = if is_background { 1 } else { (processors / 2).clamp(1, MOST_THREADS) };
    match threads {
        // The command itself, too: no answer has to wake another thread.
        1 => Builder::new_current_thread().enable_all().build(),
        _ => Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
    }
}
