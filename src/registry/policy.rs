//! What one run may spend on its registries.

use std::time::Duration;

/// Limits and sizes for all requests of a run together.
#[derive(Debug, Clone)]
pub struct Policy {
    /// How often a failed request is tried again, after it was tried at every host. Progress of a
    /// blob renews it.
    pub retries: u32,
    /// Longest time for the whole run; `None` is no limit.
    pub timeout: Option<Duration>,
    /// Longest wait for a response to begin, or for its next byte.
    pub stall_timeout: Duration,
    /// Most connections that carry blobs at one time, over all blobs and hosts.
    pub connections: usize,
    /// Length of the closed ranges that a large blob is fetched in, in bytes.
    pub chunk_bytes: u64,
    /// Most bytes that are requested but not yet handed on, over all blobs.
    pub window_bytes: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            retries: 5,
            timeout: None,
            stall_timeout: Duration::from_secs(30),
            connections: 12,
            chunk_bytes: 4 * 1024 * 1024,
            window_bytes: 48 * 1024 * 1024,
        }
    }
}
