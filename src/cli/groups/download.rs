//! How blobs are fetched.

use std::time::Duration;

use clap::Args;

use super::TransportArgs;
use crate::cli::values::{ByteCount, duration, speed};
use crate::registry::Policy;

/// How blobs are fetched.
#[derive(Debug, Args)]
#[command(next_help_heading = "Download")]
pub struct DownloadArgs {
    /// Blobs fetched at the same time, of all images together
    #[arg(long, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=64))]
    pub concurrency: usize,

    /// Size of the ranges in which large blobs are fetched: 4MiB, 512KiB [default: 2MiB, 8MiB where connections are fast, and up to 64MiB where one brings more than is stored]
    #[arg(long, value_name = "SIZE", value_parser = ByteCount::chunk_size)]
    pub chunk_size: Option<ByteCount>,

    /// How often a request that failed for a passing reason is repeated
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=100))]
    pub retries: u32,

    /// Longest time for all downloads together: 90s, 15m [default: none]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,

    /// Longest time without a byte before a connection is given up
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub stall_timeout: Duration,

    /// Leave a host whose connection brings less than this for another one: 20KB/s [default: none]
    #[arg(long, value_name = "SPEED", value_parser = speed)]
    pub min_speed: Option<ByteCount>,

    /// Most that all downloads together take of the network: 5MB/s [default: none]
    #[arg(long, value_name = "SPEED", value_parser = speed)]
    pub limit_rate: Option<ByteCount>,
}

impl DownloadArgs {
    /// What the run may spend, on requests that travel as `transport` says.
    pub(in crate::cli) fn policy(&self, transport: &TransportArgs) -> Policy {
        let defaults = Policy::default();
        Policy {
            retries: self.retries,
            timeout: self.timeout,
            stall_timeout: self.stall_timeout,
            chunk_bytes: self.chunk_size.map_or(defaults.chunk_bytes, |size| size.0),
            long_chunk_bytes: self.chunk_size.map_or(defaults.long_chunk_bytes, |size| size.0),
            min_speed: self.min_speed.map(|speed| speed.0),
            limit_rate: self.limit_rate.map(|speed| speed.0),
            resolve: transport.resolve.clone(),
            ..defaults
        }
    }
}
