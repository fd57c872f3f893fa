//! How blobs are sent.

use std::time::Duration;

use clap::Args;

use super::TransportArgs;
use crate::cli::values::{ByteCount, duration, speed};
use crate::registry::Policy;

/// How blobs are sent.
#[derive(Debug, Args)]
#[command(next_help_heading = "Upload")]
pub struct UploadArgs {
    /// Blobs sent at the same time, of all images together
    #[arg(long, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=64))]
    pub concurrency: usize,

    /// Size of the pieces in which large blobs are sent, for proxies that limit it: 16MiB [default: as a
    /// whole, and 64MiB after that broke off or was refused]
    #[arg(long, value_name = "SIZE", value_parser = ByteCount::chunk_size)]
    pub chunk_size: Option<ByteCount>,

    /// How often a request that failed for a passing reason is repeated
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=100))]
    pub retries: u32,

    /// Longest time for all uploads together: 90s, 15m [default: none]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,

    /// Longest time in which the registry takes no byte, or gives no answer
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub stall_timeout: Duration,

    /// Most that all uploads together take of the network: 5MB/s [default: none]
    #[arg(long, value_name = "SPEED", value_parser = speed)]
    pub limit_rate: Option<ByteCount>,
}

impl UploadArgs {
    /// What the run may spend, on requests that travel as `transport` says.
    pub(in crate::cli) fn policy(&self, transport: &TransportArgs) -> Policy {
        Policy {
            retries: self.retries,
            timeout: self.timeout,
            stall_timeout: self.stall_timeout,
            upload_chunk_bytes: self.chunk_size.map(|size| size.0),
            limit_rate: self.limit_rate.map(|speed| speed.0),
            resolve: transport.resolve.clone(),
            ..Policy::default()
        }
    }
}
