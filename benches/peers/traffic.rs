//! What a server saw of a client.

use std::iter::Sum;
use std::ops::Sub;

use serde::{Deserialize, Serialize};

/// Totals since a server's start, or the difference between two moments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Traffic {
    pub(crate) connections: u64,
    pub(crate) requests: u64,
    /// Bytes of answers' bodies.
    pub(crate) bytes: u64,
}

impl Sub for Traffic {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            connections: self.connections.saturating_sub(earlier.connections),
            requests: self.requests.saturating_sub(earlier.requests),
            bytes: self.bytes.saturating_sub(earlier.bytes),
        }
    }
}

impl Sum for Traffic {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |sum, part| Self {
            connections: sum.connections + part.connections,
            requests: sum.requests + part.requests,
            bytes: sum.bytes + part.bytes,
        })
    }
}
