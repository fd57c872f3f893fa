//! What is shown of a run.

use clap::Args;

use crate::output::ProgressMode;

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
