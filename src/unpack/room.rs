//! Whether a file system has room, and how much of it unpacking may take.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::StatVfs;

/// Free bytes from which on a file system is not full (1 MiB): more than any single attribute takes,
/// which file systems refuse as if they were full where it is too large for them.
const ROOM_BYTES: u64 = 1 << 20;

/// Whether the file system that `nearby` is on has room for something small.
pub(super) fn has_room(nearby: impl AsFd) -> bool {
    rustix::fs::fstatvfs(nearby).is_ok_and(|stat| is_roomy(&stat))
}

/// Whether the file system of `path` has room for something small, as far as that is known.
pub(super) fn has_room_at(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|stat| is_roomy(&stat))
}

fn is_roomy(stat: &StatVfs) -> bool {
    let bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    // Where inodes are made as they are needed, none are counted.
    bytes >= ROOM_BYTES && (stat.f_files == 0 || stat.f_favail > 0)
}

/// How many bytes of files unpacking may write, all layers of a run together: a small blob can be a
/// very large layer. Clones share it.
#[derive(Debug, Clone)]
pub struct Allowance {
    limit_bytes: Option<u64>,
    left_bytes: Arc<AtomicU64>,
}

/// More was wanted than there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// All layers together would be more than this many bytes, which the user allows.
    Limit(u64),
    /// The file system has fewer bytes free.
    Room,
}

impl Allowance {
    /// At most `limit_bytes`; without a limit, what is free where files are written, which is looked
    /// up anew as it is used up.
    pub fn new(limit_bytes: Option<u64>) -> Self {
        Self { limit_bytes, left_bytes: Arc::new(AtomicU64::new(limit_bytes.unwrap_or(0))) }
    }

    /// Whether the user has set a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.limit_bytes.is_some()
    }

    /// Takes `bytes`, which are about to be written to the file system of `nearby`.
    ///
    /// # Errors
    /// [`Exhausted`]; nothing is taken then.
    pub(super) fn take(&self, bytes: u64, nearby: impl AsFd) -> Result<(), Exhausted> {
        if self.try_take(bytes) {
            return Ok(());
        }
        if let Some(limit) = self.limit_bytes {
            return Err(Exhausted::Limit(limit));
        }
        let Ok(stat) = rustix::fs::fstatvfs(nearby) else { return Ok(()) };
        // What is kept for root is left to it, as `df` counts.
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        match free.checked_sub(bytes) {
            Some(left) => {
                self.left_bytes.store(left, Ordering::Relaxed);
                Ok(())
            }
            None => Err(Exhausted::Room),
        }
    }

    /// Takes `bytes` out of the user's limit, where there is one.
    ///
    /// # Errors
    /// The limit; nothing is taken then.
    pub(super) fn take_of_limit(&self, bytes: u64) -> Result<(), u64> {
        match self.limit_bytes {
            Some(limit) if !self.try_take(bytes) => Err(limit),
            _ => Ok(()),
        }
    }

    fn try_take(&self, bytes: u64) -> bool {
        let take = |left: u64| left.checked_sub(bytes);
        self.left_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_for_all_layers_together() {
        let directory = std::fs::File::open(std::env::temp_dir()).unwrap();
        let allowance = Allowance::new(Some(10));
        assert_eq!(allowance.take(6, &directory), Ok(()));
        assert_eq!(allowance.clone().take(5, &directory), Err(Exhausted::Limit(10)));
        assert_eq!(allowance.take_of_limit(4), Ok(()));
        assert_eq!(allowance.take_of_limit(1), Err(10));
        assert_eq!(allowance.take(0, &directory), Ok(()));
    }

    #[test]
    fn without_a_limit_what_is_free_may_be_taken() {
        let directory = std::fs::File::open(std::env::temp_dir()).unwrap();
        let allowance = Allowance::new(None);
        for _ in 0..3 {
            assert_eq!(allowance.take(1 << 10, &directory), Ok(()));
        }
        assert_eq!(allowance.take(u64::MAX, &directory), Err(Exhausted::Room));
        assert_eq!(allowance.take_of_limit(u64::MAX), Ok(()));
    }
}
