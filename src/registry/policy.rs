//! What one run may spend on its registries.

use std::net::IpAddr;
use std::time::Duration;

/// Shortest range of a large blob where the window is narrow, in bytes (512 KiB). Each is a request, and
/// the next one waits a round trip.
const SHORTEST_CHUNK: u64 = 512 << 10;

/// How many long ranges have room in the window, at least.
const LONG_CHUNKS: u64 = 3;

/// Longest range that is asked for unbidden, in bytes (64 MiB). docker-registry (2.8.2) reads 4 MiB ahead
/// for each one: for 512 MB in ranges of 2, 8, 64 MiB it takes 2.6, 1.0, 0.4 s of its processor, in one 0.3.
const LONGEST_CHUNK: u64 = 64 << 20;

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
    /// Most bytes that have come or are coming and are not yet handed on, over all blobs.
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
            connections: 16,
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
        if !self.is_free_to_choose() {
            return Self { window_bytes, ..self };
        }
        let fitting = |count: u64, longest: u64| {
            // Ranges begin where a cache in between keeps its pieces.
            let length = (window_bytes / count.max(1)).checked_ilog2().map_or(0, |log| 1 << log);
            length.max(SHORTEST_CHUNK).min(longest)
        };
        let chunk_bytes = fitting(self.carrying(), self.chunk_bytes);
        let long_chunk_bytes = fitting(LONG_CHUNKS, self.long_chunk_bytes).max(chunk_bytes);
        Self { window_bytes, chunk_bytes, long_chunk_bytes, ..self }
    }

    /// How much of the window a range of `bytes` takes. Where that is less than all of it, the range comes
    /// no faster than its consumer takes it.
    pub(crate) fn room(&self, bytes: u64) -> u64 {
        bytes.min(self.long()).min(self.window_bytes)
    }

    /// Whether a range of `bytes` is asked for before it has room in the window. Not where few of them fill
    /// that: what asks for long ones is fast, and a registry reads ahead for each.
    pub(crate) fn asks_ahead(&self, bytes: u64) -> bool {
        bytes.saturating_mul(self.carrying()) <= self.window_bytes
    }

    /// How many connections the window has a short range for. One in four is on its way to the host and back
    /// meanwhile, which takes a distant one a good part of the time that its bytes take.
    fn carrying(&self) -> u64 {
        (self.connections as u64 * 3).div_ceil(4)
    }

    /// The length of a chunk at a host where `allowed` bytes may be asked for at once, as far as is
    /// known. Where its consumer is who is waited for, it is longer, since one connection brings enough,
    /// but no longer than the `sated` bytes that he takes in a second: connections wait meanwhile, and
    /// servers close one that waits for a minute. Only few lengths: ranges begin where a cache in between
    /// keeps its pieces.
    pub(crate) fn chunk(&self, allowed: Option<u64>, sated: Option<u64>) -> u64 {
        let (short, long) = (self.chunk_bytes.max(1), self.long());
        if allowed.is_none_or(|allowed| allowed < long) {
            return short;
        }
        let most = sated.filter(|_| self.is_free_to_choose()).unwrap_or(0).min(LONGEST_CHUNK);
        let mut length = long;
        while 2 * length <= most {
            length *= 2;
        }
        length
    }

    fn long(&self) -> u64 {
        self.long_chunk_bytes.max(self.chunk_bytes).max(1)
    }

    /// Whether nobody has said how long ranges are.
    pub(crate) fn is_free_to_choose(&self) -> bool {
        self.long_chunk_bytes > self.chunk_bytes
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
        for (allowed, sated, length) in [
            (None, None, short),
            (None, Some(u64::MAX), short),
            (Some(long - 1), Some(u64::MAX), short),
            (Some(long), None, long),
            (Some(u64::MAX), Some(2 * long - 1), long),
            (Some(long), Some(5 * long), 4 * long),
            (Some(long), Some(u64::MAX), LONGEST_CHUNK),
        ] {
            assert_eq!(policy.chunk(allowed, sated), length, "{allowed:?} {sated:?}");
        }
        assert_eq!(policy.room(short), short);
        assert_eq!(policy.room(LONGEST_CHUNK), long);

        let chosen = Policy { chunk_bytes: 2 * long, long_chunk_bytes: long, ..policy };
        assert_eq!(chosen.chunk(Some(u64::MAX), Some(u64::MAX)), 2 * long);
        assert_eq!(chosen.room(2 * long), 2 * long);
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
            assert!(policy.asks_ahead(policy.chunk_bytes));
        }
        let chosen = Policy { chunk_bytes: 64 * MIB, long_chunk_bytes: 64 * MIB, ..defaults };
        let chosen = chosen.within(6 * MIB);
        assert_eq!((chosen.chunk_bytes, chosen.long_chunk_bytes), (64 * MIB, 64 * MIB));
        assert_eq!((chosen.room(7 * MIB), chosen.room(5 * MIB)), (6 * MIB, 5 * MIB));
    }
}
