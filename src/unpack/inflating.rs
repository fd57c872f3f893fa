//! How many threads inflate one layer.

use std::thread;

use crate::gzip::{Share, Threads};

/// Fewest processors of which a layer gets more than one, unless somebody says how many: below, the
/// download, the digest and the files need them.
const MIN_PROCESSORS: usize = 4;

/// Most threads that a layer gets by itself: with more, hashing what they make is slower.
const MAX_THREADS: usize = 4;

/// Smallest blob, in bytes (16 MiB), that gets more than one thread by itself.
const MIN_BLOB: u64 = 16 << 20;

/// How many threads inflate one gzip layer, for all layers of a run.
#[derive(Debug, Clone)]
pub struct Inflating(Choice);

#[derive(Debug, Clone)]
enum Choice {
    /// As many for each layer.
    Exactly(usize),
    /// As many for each large layer, which share the memory that they need.
    Shared(usize, Share),
}

impl Inflating {
    /// So many threads for each layer.
    pub fn exactly(threads: usize) -> Self {
        Self(Choice::Exactly(threads))
    }

    /// Half the processors, four at most, for each layer of 16 MiB or more, where there are four
    /// processors.
    pub fn auto() -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self::on(processors)
    }

    fn on(processors: usize) -> Self {
        match processors {
            ..MIN_PROCESSORS => Self::exactly(1),
            _ => {
                let threads = (processors / 2).min(MAX_THREADS);
                Self(Choice::Shared(threads, Share::for_threads(threads)))
            }
        }
    }

    /// The threads for a blob of so many bytes.
    pub(super) fn threads_for(&self, blob_bytes: u64) -> Threads {
        match &self.0 {
            Choice::Exactly(threads) => Threads::new(*threads),
            Choice::Shared(threads, share) if blob_bytes >= MIN_BLOB => {
                Threads::new(*threads).sharing(share)
            }
            Choice::Shared(..) => Threads::new(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_layer_gets_half_of_many_processors() {
        let threads = |processors, bytes| Inflating::on(processors).threads_for(bytes).count();
        for (processors, expected) in [(1, 1), (3, 1), (4, 2), (7, 3), (8, 4), (96, 4)] {
            assert_eq!(threads(processors, MIN_BLOB), expected, "{processors}");
            assert_eq!(threads(processors, MIN_BLOB - 1), 1, "{processors}");
        }
        assert_eq!(Inflating::exactly(3).threads_for(1).count(), 3);
    }
}
