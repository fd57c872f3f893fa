//! What is shown of a run.

use clap::Args;

use crate::output::{Options, ProgressMode};

/// What is shown.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// How progress is shown on standard error
    #[arg(long, value_enum, value_name = "MODE", default_value_t)]
    pub progress: ProgressMode,

    /// Print the images' digests only
    #[arg(short, long)]
    pub quiet: bool,
}

impl OutputArgs {
    /// The same, to start with.
    pub(in crate::cli) fn options(&self) -> Options {
        let Self { progress, quiet } = *self;
        Options { progress, quiet, ..Options::default() }
    }
}
