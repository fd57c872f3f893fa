//! Labels on their way to blobs. The daemon has no call that adds to a label's value, so one task at a
//! time reads, merges and writes; what others want for the same blob meanwhile, the next one takes
//! along. Fifty images on one base need a few calls for it instead of fifty.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use crate::containerd::labels::{Labels, merged};
use crate::oci::Digest;
use crate::sync::lock;

/// The labels that tasks of this process want written.
#[derive(Debug, Default)]
pub(in crate::containerd) struct Labelling {
    wanted: Mutex<HashMap<Digest, Labels>>,
    turn: tokio::sync::Mutex<()>,
}

/// What has to be written to one blob. Unless it [is written](Self::are_written), whoever comes next
/// has to.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    labelling: &'a Labelling,
    digest: Digest,
    labels: Labels,
    /// Given back after what could not be written.
    _turn: tokio::sync::MutexGuard<'a, ()>,
}

impl Labelling {
    /// Wants `labels` on the blob `digest`, and waits for its turn to write them, together with what
    /// others want there; `None` when another task has done it meanwhile.
    pub(super) async fn add(&self, digest: &Digest, labels: &Labels) -> Option<Wanted<'_>> {
        self.want(digest, labels);
        let turn = self.turn.lock().await;
        let labels = self.wanted().remove(digest)?;
        Some(Wanted { labelling: self, digest: *digest, labels, _turn: turn })
    }

    fn want(&self, digest: &Digest, labels: &Labels) {
        let mut wanted = self.wanted();
        let wanted = wanted.entry(*digest).or_default();
        for (key, value) in labels {
            wanted.insert(key.clone(), merged(wanted, key, value));
        }
    }

    fn wanted(&self) -> MutexGuard<'_, HashMap<Digest, Labels>> {
        // Nothing that could panic happens under this lock.
        lock(&self.wanted)
    }
}

impl Wanted<'_> {
    /// The labels.
    pub(super) fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Takes note that all of them are on the blob.
    pub(super) fn are_written(mut self) {
        self.labels.clear();
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        if !self.labels.is_empty() {
            self.labelling.want(&self.digest, &self.labels);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "containerd.io/distribution.source.docker.io";

    fn source(repository: &str) -> Labels {
        [(SOURCE.to_owned(), repository.to_owned())].into()
    }

    #[tokio::test]
    async fn what_several_want_is_written_by_one() {
        let labelling = Labelling::default();
        let digest = Digest::of(b"blob");
        let first = labelling.add(&digest, &source("a")).await.unwrap();
        let write = async |repository: &str| {
            let wanted = labelling.add(&digest, &source(repository)).await?;
            let labels = wanted.labels().clone();
            wanted.are_written();
            Some(labels)
        };
        let end_first = async { first.are_written() };
        let (second, third, ()) = tokio::join!(write("b"), write("c"), end_first);
        assert_eq!((second, third), (Some(source("b,c")), None));
    }

    #[tokio::test]
    async fn what_one_could_not_write_is_left_to_the_next() {
        let labelling = Labelling::default();
        let digest = Digest::of(b"blob");
        drop(labelling.add(&digest, &source("a")).await);
        let next = labelling.add(&digest, &source("b")).await.unwrap();
        assert_eq!(next.labels(), &source("a,b"));
    }
}
