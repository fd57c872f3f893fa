//! Whether the network is looked at, and how.

use std::time::Duration;

use clap::Args;

use crate::cli::values::{address_override, duration};
use crate::registry::{AddressOverride, Policy};

/// Whether the network is looked at, and how.
#[derive(Debug, Args)]
#[command(next_help_heading = "Probe")]
pub struct ProbeArgs {
    /// Ask the registries and mirrors as well, all of them, step by step
    #[arg(long)]
    pub probe: bool,

    /// Connect to this address for a host, in place of what DNS says. Can be repeated
    #[arg(long, value_name = "HOST:ADDRESS[:PORT]", value_parser = address_override, requires = "probe")]
    pub resolve: Vec<AddressOverride>,

    /// Longest wait for each thing that is looked at
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration, requires = "probe")]
    pub stall_timeout: Duration,

    /// Show the heads of all requests and responses, with secrets blotted out
    #[arg(long, requires = "probe")]
    pub http_trace: bool,
}

impl ProbeArgs {
    /// What a look may take.
    pub(in crate::cli) fn policy(&self) -> Policy {
        Policy {
            retries: 0,
            stall_timeout: self.stall_timeout,
            resolve: self.resolve.clone(),
            ..Policy::default()
        }
    }
}
