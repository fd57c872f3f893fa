//! Blobs of which the daemon has said just now that there is nothing: whoever brings one of them need not
//! ask the same again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use crate::oci::Digest;
use crate::sync::lock;

/// What was found to be absent. Another client may bring it at any time, before the next look as after it,
/// so that this holds for as long as an answer does: once. Clones share it.
#[derive(Debug, Default, Clone)]
pub(super) struct Absent(Arc<Mutex<HashSet<Digest>>>);

impl Absent {
    /// Takes note that there is nothing of the blob.
    pub(super) fn note(&self, digest: Digest) {
        lock(&self.0).insert(digest);
    }

    /// Whether that was found of the blob; the next to ask has to look.
    pub(super) fn take(&self, digest: &Digest) -> bool {
        lock(&self.0).remove(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_good_for_one_that_asks() {
        let (absent, digest) = (Absent::default(), Digest::of(b"blob"));
        assert!(!absent.take(&digest));
        absent.clone().note(digest);
        assert!(absent.take(&digest));
        assert!(!absent.take(&digest));
    }
}
