//! What one run may spend on its registries.

use std::net::IpAddr;
use std::time::Duration;

/// Shortest range of a large blob where the window is narrow, in bytes (512 KiB). Each is a request, and
/// the next one waits a round trip.
const SHORTEST_CHUNK: u64 = 512 << 10;

/// How many long ranges have room in the window, at least.
const LONG_CHUNKS: u64 = 3;

/// Limits and sizes for all requests of a run together.
#[derive(Debug, Clone)]
pub struct Policy {
    /// How often a failed request is tried again, after it was tried at every host. Progress of a
    /// blob renews it.
    pub retries: u32,
    /// Wait before the first retry; each further one waits twice as long, up to a limit. What it is
    /// multiplied by for jitter is at least a half.
    pub first_wait: Duration,
    /// Longest time for the whole run; `None` is no limit.
    pub timeout: Option<Duration>,
    /// Longest wait for a response to begin, or for its next byte.
    pub stall_timeout: Duration,
    /// Most connections that carry blobs at one time, over all blobs and hosts.
    pub connections: usize,
    /// Length of the closed ranges that a large blob is fetched in, in bytes.
    pub chunk_bytes: u64,
    /// Length that they have at hosts whose connections are fast, in bytes.
    pub long_chunk_bytes: u64,
    /// Length of the pieces in which a large blob is sent, in bytes; `None` sends it as a whole as long
    /// as that goes well.
    pub upload_chunk_bytes: Option<u64>,
    /// Most bytes that are requested but not yet handed on, over all blobs.
    pub window_bytes: u64,
    /// A connection slower than this is left for another one, in bytes per second.
    pub min_speed: Option<u64>,
    /// Shortest time after which a chunk that lags behind is asked for on a second connection.
    pub hedge_after: Duration,
    /// Most bytes per second over all blobs and hosts.
    pub limit_rate: Option<u64>,
    /// Addresses to use in place of what the system's resolver says.
    pub resolve: Vec<AddressOverride>,
}

/// The address of a host name, as given by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressOverride {
    /// Host name, without port.
    pub host: String,
    /// Where to connect.
    pub address: IpAddr,
    /// Port to connect to where the host is written without one; `None` is the scheme's own.
    pub port: Option<u16>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            retries: 5,
            first_wait: Duration::from_millis(250),
            timeout: None,
            stall_timeout: Duration::from_secs(30),
            connections: 12,
            chunk_bytes: 2 * 1024 * 1024,
            long_chunk_bytes: 8 * 1024 * 1024,
            upload_chunk_bytes: None,
            window_bytes: 24 * 1024 * 1024,
            min_speed: None,
            hedge_after: Duration::from_millis(500),
            limit_rate: None,
            resolve: Vec::new(),
        }
    }
}

impl Policy {
    /// The same with a window of `window_bytes`. Where every connection would not have room for a range of
    /// its own in it, the ranges are shorter, unless their length was chosen.
    #[must_use]
    pub fn within(self, window_bytes: u64) -> Self {
        let is_chosen = self.long_chunk_bytes <= self.chunk_bytes;
        if is_chosen {
            return Self { window_bytes, ..self };
        }
        let fitting = |count: u64, longest: u64| {
            // Ranges begin where a cache in between keeps its pieces.
            let length = (window_bytes / count.max(1)).checked_ilog2().map_or(0, |log| 1 << log);
            length.max(SHORTEST_CHUNK).min(longest)
        };
        let chunk_bytes = fitting(self.connections as u64, self.chunk_bytes);
        let long_chunk_bytes = fitting(LONG_CHUNKS, self.long_chunk_bytes).max(chunk_bytes);
        Self { window_bytes, chunk_bytes, long_chunk_bytes, ..self }
    }

    /// Whether a range of `bytes` does not fit into the window, so that it comes no faster than its
    /// consumer takes it.
    pub(crate) fn is_wide(&self, bytes: u64) -> bool {
        bytes > self.window_bytes
    }

    /// The length of a chunk at a host where `allowed` bytes may be asked for at once, as far as is
    /// known. Nothing between the two lengths: ranges begin where a cache in between keeps its pieces.
    pub(crate) fn chunk(&self, allowed: Option<u64>) -> u64 {
        let short = self.chunk_bytes.max(1);
        let long = self.long_chunk_bytes.max(short);
        if allowed.is_some_and(|allowed| allowed >= long) { long } else { short }
    }

    /// How many workers a blob with `bytes` to come has use for.
    pub(crate) fn workers(&self, bytes: u64) -> u64 {
        bytes.div_ceil(self.chunk_bytes.max(1)).clamp(1, self.connections.max(1) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_long_where_the_whole_of_it_is_allowed() {
        let policy = Policy::default();
        let (short, long) = (policy.chunk_bytes, policy.long_chunk_bytes);
        assert_eq!(policy.chunk(None), short);
        assert_eq!(policy.chunk(Some(long - 1)), short);
        assert_eq!(policy.chunk(Some(long)), long);

        let chosen = Policy { chunk_bytes: 2 * long, long_chunk_bytes: long, ..policy };
        assert_eq!(chosen.chunk(Some(u64::MAX)), 2 * long);
    }

    #[test]
    fn every_connection_has_room_for_a_range_in_the_window() {
        const MIB: u64 = 1 << 20;
        let defaults = Policy::default();
        for (window, chunk, long) in [
            (6 * MIB, MIB / 2, 2 * MIB),
            (10 * MIB, MIB / 2, 2 * MIB),
            (12 * MIB, MIB, 4 * MIB),
            (defaults.window_bytes, defaults.chunk_bytes, defaults.long_chunk_bytes),
            (96 * MIB, defaults.chunk_bytes, defaults.long_chunk_bytes),
        ] {
            let policy = Policy::default().within(window);
            let found = (policy.window_bytes, policy.chunk_bytes, policy.long_chunk_bytes);
            assert_eq!(found, (window, chunk, long));
            assert!(policy.chunk_bytes * policy.connections as u64 <= window);
        }
        let chosen = Policy { chunk_bytes: 64 * MIB, long_chunk_bytes: 64 * MIB, ..defaults };
        let chosen = chosen.within(6 * MIB);
        assert_eq!((chosen.chunk_bytes, chosen.long_chunk_bytes), (64 * MIB, 64 * MIB));
        assert!(chosen.is_wide(7 * MIB) && !chosen.is_wide(6 * MIB));
    }
}
