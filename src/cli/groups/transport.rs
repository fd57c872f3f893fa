//! How requests travel.

use clap::Args;

use crate::cli::values::address_override;
use crate::registry::AddressOverride;

/// How requests travel.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registry")]
pub struct TransportArgs {
    /// Connect to this address for a host, in place of what DNS says. Can be repeated
    #[arg(long, value_name = "HOST:ADDRESS[:PORT]", value_parser = address_override)]
    pub resolve: Vec<AddressOverride>,

    /// Show the heads of all requests and responses, with secrets blotted out
    #[arg(long)]
    pub http_trace: bool,
}
