//! What a run may hold in memory (`--memory`), and how its parts share that.
//!
//! | part | holds | of a budget of 64, 80, 144, 256 MiB |
//! |---|---|---|
//! | the program | itself, certificates, the threads' stacks | 14 MiB each |
//! | the allocator | what it keeps for each thread of what that has let go | 16 MiB each |
//! | documents | those of the images under way | 4, 5, 11, 20 MiB |
//! | small layers | that wait for those below them | 2, 3, 5, 8 MiB |
//! | connections | what was read from a socket and not put in order yet | 6 MiB each |
//! | the window | what was fetched ahead of who stores it | 6, 10, 28, 96 MiB |
//! | blobs under way | queues to the file and the extractor, inflated bytes, zstd's windows | 16, 26, 64, 64 MiB |
//!
//! Each part is bounded where it is spent: this only says by how much. How large an image is is in none of
//! them.

use crate::archive::{MAX_ARCHIVE_WINDOW, MAX_DOCUMENT_BYTES};
use crate::registry::Policy;
use crate::transfer::{BLOB_BYTES, Manner, ZSTD_LAYER_BYTES};

const MIB: u64 = 1 << 20;

/// The least that a run gets by with: with less, not even one zstd layer could be worked on.
pub(super) const LEAST_BYTES: u64 = 64 * MIB;

/// Blobs worked on at the same time where nobody says how many.
pub(super) const BLOBS_AT_ONCE: usize = 4;

/// The program itself: 13 MiB are resident when an image is there already.
const PROGRAM_BYTES: u64 = 14 * MIB;

/// What the allocator keeps of what threads have let go, each for itself: 14 MiB of eight mixed layers, sixteen
/// at once on what says that it has 96 processors.
const RETAINED_BYTES: u64 = 16 * MIB;

/// What the connections have read: hyper's buffers grow to 400 KiB where connections are fast, and of those there
/// are few.
const CONNECTION_BYTES: u64 = 6 * MIB;

/// The widest window: twelve long ranges of 8 MiB are under way then. More would not make them faster.
const WIDEST_WINDOW: u64 = 96 * MIB;

/// What is kept of an image until it is named: its documents, and what was made of them. Ordinary ones have
/// a fifth of it (64 KiB).
const IMAGE_BYTES: u64 = 64 << 10;

/// What an archive that comes through a pipe has on its way to who takes its blobs.
const PIPE_BYTES: u64 = 4 * MIB;

/// What a run may hold in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    /// Blobs that are to be worked on at the same time.
    blobs_at_once: usize,
    /// `None` where nobody has set it: every part takes what it is used to.
    shares: Option<Shares>,
}

/// What each part gets, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shares {
    documents: u64,
    held: u64,
    ahead: u64,
    blobs: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(None, BLOBS_AT_ONCE)
    }
}

impl Budget {
    /// The budget of a run with `memory` bytes, if that was set, which works on `blobs_at_once`, as far as
    /// there is memory for them. Less than [`LEAST_BYTES`] counts as that.
    pub(super) fn new(memory: Option<u64>, blobs_at_once: usize) -> Self {
        let blobs_at_once = blobs_at_once.max(1);
        let shares = memory.map(|total| Shares::of(total.max(LEAST_BYTES), blobs_at_once as u64));
        Self { blobs_at_once, shares }
    }

    /// Whether somebody has said how much may be taken.
    pub(super) fn is_set(&self) -> bool {
        self.shares.is_some()
    }

    /// `policy` within the budget.
    pub(super) fn policy(&self, policy: Policy) -> Policy {
        match self.shares {
            Some(shares) => policy.within(shares.ahead.min(WIDEST_WINDOW)),
            None => policy,
        }
    }

    /// `manner` within the budget.
    pub(super) fn manner(&self, manner: Manner) -> Manner {
        match self.shares {
            Some(Shares { blobs, documents, .. }) => {
                let concurrency = manner.concurrency.min(count(blobs, BLOB_BYTES));
                let images = count(documents, IMAGE_BYTES).min(manner.images_together);
                let memory_bytes = Some(blobs);
                Manner { concurrency, memory_bytes, images_together: images, ..manner }
            }
            None => manner,
        }
    }

    /// Layers that may be read and inflated at the same time, whatever they are packed by.
    pub(super) fn layers_at_once(&self) -> usize {
        match self.shares {
            Some(Shares { blobs, .. }) => self.blobs_at_once.min(count(blobs, ZSTD_LAYER_BYTES)),
            None => self.blobs_at_once,
        }
    }

    /// Most bytes of small layers that wait in memory; `None` where that is as usual.
    pub(super) fn held_bytes(&self) -> Option<u64> {
        self.shares.map(|shares| shares.held)
    }

    /// Most bytes of documents that are kept of an archive that comes through a pipe.
    pub(super) fn document_bytes(&self) -> u64 {
        self.shares.map_or(MAX_DOCUMENT_BYTES, |shares| shares.documents)
    }

    /// The widest window of an archive that is packed by zstd as a whole, in bytes. There are no
    /// connections and nothing is fetched ahead then.
    pub(super) fn archive_window(&self) -> u64 {
        let Some(shares) = self.shares else { return MAX_ARCHIVE_WINDOW };
        let room = (shares.ahead + CONNECTION_BYTES).saturating_sub(PIPE_BYTES);
        room.checked_ilog2().map_or(0, |log| 1 << log).min(MAX_ARCHIVE_WINDOW)
    }
}

impl Shares {
    fn of(total: u64, blobs_at_once: u64) -> Self {
        let total = total - RETAINED_BYTES;
        let documents = (total / 12).clamp(4 * MIB, 32 * MIB);
        let held = (total / 24).clamp(2 * MIB, 8 * MIB);
        let rest = total - PROGRAM_BYTES - CONNECTION_BYTES - documents - held;
        // Where there is enough for all blobs at their largest, what is left is fetched ahead.
        let left = rest.saturating_sub(blobs_at_once.saturating_mul(ZSTD_LAYER_BYTES));
        let ahead = left.max((total - 24 * MIB) / 4);
        Self { documents, held, ahead, blobs: rest - ahead }
    }
}

/// How many times `each` is in `bytes`, at least once.
fn count(bytes: u64, each: u64) -> usize {
    usize::try_from(bytes / each).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(mib: u64, blobs_at_once: usize) -> Shares {
        Budget::new(Some(mib * MIB), blobs_at_once).shares.unwrap()
    }

    /// What all parts take at their largest.
    fn sum(shares: Shares) -> u64 {
        let Shares { documents, held, ahead, blobs } = shares;
        PROGRAM_BYTES + RETAINED_BYTES + CONNECTION_BYTES + documents + held + ahead + blobs
    }

    #[test]
    fn the_parts_are_no_more_than_the_whole_and_each_has_enough() {
        for mib in (64..2048).chain([1 << 20, u64::MAX >> 20]) {
            for blobs_at_once in [1, 2, 4, 16, 64] {
                let budget = Budget::new(Some(mib * MIB), blobs_at_once);
                let shares = budget.shares.unwrap();
                assert!(sum(shares) <= mib * MIB, "{mib} MiB, {blobs_at_once} blobs");
                assert!(shares.blobs >= ZSTD_LAYER_BYTES, "{mib} MiB, {blobs_at_once} blobs");
                assert!(shares.ahead >= 6 * MIB, "{mib} MiB, {blobs_at_once} blobs");
                let pipe = budget.archive_window() + PIPE_BYTES;
                assert!(pipe <= shares.ahead + CONNECTION_BYTES, "{mib} MiB");
                assert!(budget.archive_window() >= 8 * MIB, "{mib} MiB");
                let manner = budget.manner(Manner::of_blobs(blobs_at_once));
                assert!(manner.concurrency as u64 * BLOB_BYTES <= shares.blobs);
                assert!(budget.layers_at_once() as u64 * ZSTD_LAYER_BYTES <= shares.blobs);
            }
        }
    }

    #[test]
    fn more_memory_is_never_worse() {
        for blobs_at_once in [1, 4, 64] {
            let mut before = shares(64, blobs_at_once);
            for mib in 65..1024 {
                let now = shares(mib, blobs_at_once);
                assert!(now.ahead >= before.ahead && now.documents >= before.documents, "{mib}");
                let is_enough = now.blobs == blobs_at_once as u64 * ZSTD_LAYER_BYTES;
                assert!(now.blobs >= before.blobs || is_enough, "{mib} MiB");
                before = now;
            }
        }
    }

    #[test]
    fn what_is_not_set_stays_as_it_is() {
        let budget = Budget::new(None, 64);
        let (policy, usual) = (budget.policy(Policy::default()), Policy::default());
        assert_eq!(policy.window_bytes, usual.window_bytes);
        assert_eq!(policy.chunk_bytes, usual.chunk_bytes);
        let manner = budget.manner(Manner::of_blobs(64));
        assert_eq!((manner.concurrency, manner.memory_bytes), (64, None));
        assert_eq!(manner.images_together, Manner::of_blobs(64).images_together);
        assert_eq!((budget.held_bytes(), budget.document_bytes()), (None, MAX_DOCUMENT_BYTES));
        assert_eq!(budget.archive_window(), MAX_ARCHIVE_WINDOW);
        assert_eq!(budget.layers_at_once(), 64);
    }

    #[test]
    fn a_budget_of_144_mib_is_as_fast_as_none_and_a_larger_one_fetches_further_ahead() {
        let window = |mib: u64| {
            Budget::new(Some(mib * MIB), BLOBS_AT_ONCE).policy(Policy::default()).window_bytes
        };
        let usual = Policy::default();
        assert!(window(144) >= usual.window_bytes && window(80) < usual.window_bytes);
        let policy = Budget::new(Some(144 * MIB), BLOBS_AT_ONCE).policy(Policy::default());
        assert_eq!(policy.chunk_bytes, usual.chunk_bytes);
        assert_eq!(policy.long_chunk_bytes, usual.long_chunk_bytes);
        assert_eq!([256, 1 << 20].map(window), [WIDEST_WINDOW; 2]);
        for (mib, gzip, zstd) in [(64, 2, 1), (80, 4, 1), (144, 10, 4), (256, 10, 4)] {
            let blobs = shares(mib, BLOBS_AT_ONCE).blobs;
            assert_eq!(count(blobs, BLOB_BYTES), gzip, "{mib} MiB");
            assert_eq!(count(blobs, ZSTD_LAYER_BYTES), zstd, "{mib} MiB");
        }
    }
}
