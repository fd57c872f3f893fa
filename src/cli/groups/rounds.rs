//! Whether the same is done again, and who is told how it went.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::values::duration;

/// Whether the same is done again, and who is told how it went.
#[derive(Debug, Args)]
#[command(next_help_heading = "Seeding")]
pub struct RoundsArgs {
    /// Do the same again and again, with this long in between. A round that failed is repeated after a
    /// minute, then after two, four and so on
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub interval: Option<Duration>,

    /// Wait for a random time before each round, at most this long, so that many nodes do not ask
    /// together
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub splay: Option<Duration>,

    /// Keep what the last round did in this file, as JSON. pullctl status tells of it
    #[arg(long, value_name = "FILE")]
    pub status_file: Option<PathBuf>,

    /// Keep the same in this file for Prometheus, as node_exporter's textfile collector reads it
    #[arg(long, value_name = "FILE")]
    pub metrics_file: Option<PathBuf>,
}
