//! How much memory a run takes.

use clap::Args;

use crate::cli::values::ByteCount;

/// How much memory a run takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct MemoryArgs {
    /// Most memory to take, 64MiB or more: how far is fetched ahead, and how many blobs are worked on at the
    /// same time, follow from it [default: what --concurrency blobs need, up to 144MiB for 4 and 16MiB for
    /// each further one]
    #[arg(long, value_name = "SIZE", value_parser = ByteCount::memory)]
    pub memory: Option<ByteCount>,
}

impl MemoryArgs {
    /// The same in bytes.
    pub(in crate::cli) fn bytes(&self) -> Option<u64> {
        self.memory.map(|memory| memory.0)
    }
}
