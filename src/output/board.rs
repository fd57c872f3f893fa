//! What is known of every blob of a run, and which of them deserve a line of their own.

use std::collections::HashMap;

use crate::oci::Digest;
use crate::progress::{BlobKind, BlobState, Event};

/// Of a blob's size, the part that counts only when it is done, as a divisor (a hundredth): the whole
/// must not be shown as complete while something is still verified or unpacked.
const LAST_STEP: u64 = 100;

/// One configuration or layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) kind: BlobKind,
    pub(super) size_bytes: u64,
    pub(super) state: BlobState,
    resumed_bytes: u64,
    received_bytes: u64,
    sent_bytes: u64,
}

impl Blob {
    /// How much of it is there.
    pub(super) fn position(&self) -> u64 {
        match self.state {
            BlobState::Waiting | BlobState::Downloading | BlobState::Reading => {
                self.resumed_bytes.saturating_add(self.received_bytes).min(self.size_bytes)
            }
            BlobState::Uploading => {
                self.resumed_bytes.saturating_add(self.sent_bytes).min(self.size_bytes)
            }
            BlobState::Verifying
            | BlobState::AwaitingLowerLayers
            | BlobState::Unpacking
            | BlobState::Done
            | BlobState::Exists => self.size_bytes,
        }
    }

    /// How far everything that has to be done with it has come, in bytes of its size.
    fn progress(&self) -> u64 {
        match self.is_finished() {
            true => self.size_bytes,
            // A byte at the least, so that the whole is never complete before its last blob.
            false => {
                let last_step = (self.size_bytes / LAST_STEP).max(1);
                self.position().min(self.size_bytes.saturating_sub(last_step))
            }
        }
    }

    /// Whether all its bytes are there.
    pub(super) fn is_there(&self) -> bool {
        let is_moving = matches!(
            self.state,
            BlobState::Downloading | BlobState::Uploading | BlobState::Reading
        );
        !is_moving && self.state != BlobState::Waiting
    }

    /// Whether bytes of it have moved yet, in the state that it is in.
    pub(super) fn is_flowing(&self) -> bool {
        match self.state {
            BlobState::Downloading | BlobState::Reading => self.received_bytes > 0,
            BlobState::Uploading => self.sent_bytes > 0,
            _ => false,
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        matches!(self.state, BlobState::Done | BlobState::Exists)
    }
}

/// Sums over all blobs and images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) images: usize,
    pub(super) images_finished: usize,
    pub(super) images_failed: usize,
    pub(super) blobs: usize,
    pub(super) blobs_finished: usize,
    /// Of the blobs that were not there already.
    pub(super) size_bytes: u64,
    /// How much of `size_bytes` is there.
    pub(super) position_bytes: u64,
    /// How much of `size_bytes` is done: all of it only when every blob is.
    pub(super) done_bytes: u64,
    /// What came in or went out in this run, whichever is more: of what is handed through, both are
    /// the same bytes.
    pub(super) moved_bytes: u64,
}

/// The blobs of all images of a run, each once, in the order in which they were announced.
///
/// Indexes and manifests are left out: they are small and fetched before the layers are known.
#[derive(Debug, Default)]
pub(super) struct Board {
    order: Vec<Digest>,
    blobs: HashMap<Digest, Blob>,
    images: usize,
    images_finished: usize,
    images_failed: usize,
    /// Those that are being worked on, in the order in which they were begun.
    running: Vec<String>,
    received_bytes: u64,
    sent_bytes: u64,
}

impl Board {
    pub(super) fn event(&mut self, event: &Event) {
        match event {
            Event::Started { image } => {
                self.images += 1;
                self.running.push(image.clone());
            }
            Event::Finished(report) => {
                self.images_finished += 1;
                self.running.retain(|image| *image != report.image);
            }
            Event::Failed { image, .. } => {
                self.images_failed += 1;
                self.running.retain(|running| running != image);
            }
            Event::Blob { digest, kind, size_bytes, state, resumed_bytes }
                if matches!(kind, BlobKind::Config | BlobKind::Layer) =>
            {
                self.enter(*digest, *kind, *size_bytes, *state, *resumed_bytes);
            }
            Event::Received { digest, delta_bytes } => {
                if let Some(blob) = self.blobs.get_mut(digest) {
                    self.received_bytes = self.received_bytes.saturating_add(*delta_bytes);
                    blob.received_bytes = blob.received_bytes.saturating_add(*delta_bytes);
                }
            }
            Event::Sent { digest, delta_bytes } => {
                if let Some(blob) = self.blobs.get_mut(digest) {
                    self.sent_bytes = self.sent_bytes.saturating_add(*delta_bytes);
                    blob.sent_bytes = blob.sent_bytes.saturating_add(*delta_bytes);
                }
            }
            _ => {}
        }
    }

    fn enter(
        &mut self,
        digest: Digest,
        kind: BlobKind,
        size_bytes: u64,
        state: BlobState,
        resumed_bytes: u64,
    ) {
        let order = &mut self.order;
        let blob = self.blobs.entry(digest).or_insert_with(|| {
            order.push(digest);
            Blob { kind, size_bytes, state, resumed_bytes: 0, received_bytes: 0, sent_bytes: 0 }
        });
        // A second image finds what the first one fetched; that makes it no less fetched.
        if !(blob.is_finished() && state == BlobState::Exists) {
            blob.state = state;
        }
        if matches!(state, BlobState::Downloading | BlobState::Reading) {
            blob.resumed_bytes = resumed_bytes;
            blob.received_bytes = 0;
        } else if state == BlobState::Uploading {
            blob.resumed_bytes = resumed_bytes;
            blob.sent_bytes = 0;
        }
    }

    pub(super) fn blob(&self, digest: Digest) -> Option<&Blob> {
        self.blobs.get(&digest)
    }

    /// The images that are being worked on.
    pub(super) fn running(&self) -> &[String] {
        &self.running
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals {
            images: self.images,
            images_finished: self.images_finished,
            images_failed: self.images_failed,
            blobs: self.blobs.len(),
            moved_bytes: self.received_bytes.max(self.sent_bytes),
            ..Totals::default()
        };
        for blob in self.blobs.values() {
            totals.blobs_finished += usize::from(blob.is_finished());
            if blob.state != BlobState::Exists {
                totals.size_bytes = totals.size_bytes.saturating_add(blob.size_bytes);
                totals.position_bytes = totals.position_bytes.saturating_add(blob.position());
                totals.done_bytes = totals.done_bytes.saturating_add(blob.progress());
            }
        }
        totals
    }

    /// The blobs to show where there is room for `lines`: all if they fit, otherwise those that the
    /// most is happening with, in the order of announcement.
    pub(super) fn visible(&self, lines: usize) -> Vec<Digest> {
        if self.order.len() <= lines {
            return self.order.clone();
        }
        let mut ranked: Vec<(u8, usize, Digest)> = self
            .order
            .iter()
            .enumerate()
            .filter_map(|(position, digest)| {
                Some((interest(self.blobs.get(digest)?.state)?, position, *digest))
            })
            .collect();
        ranked.sort_unstable();
        ranked.truncate(lines);
        ranked.sort_unstable_by_key(|(_, position, _)| *position);
        ranked.into_iter().map(|(.., digest)| digest).collect()
    }
}

/// Which blobs get the lines that there are, lowest first; `None` for those that are finished and
/// counted only.
fn interest(state: BlobState) -> Option<u8> {
    match state {
        BlobState::Downloading | BlobState::Uploading | BlobState::Reading => Some(0),
        BlobState::Unpacking => Some(1),
        BlobState::Verifying => Some(2),
        BlobState::AwaitingLowerLayers => Some(3),
        BlobState::Waiting => Some(4),
        BlobState::Done | BlobState::Exists => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn blob(name: &str, state: BlobState) -> Event {
        Event::Blob {
            digest: digest(name),
            kind: BlobKind::Layer,
            size_bytes: 100,
            state,
            resumed_bytes: if state == BlobState::Downloading { 30 } else { 0 },
        }
    }

    fn board(blobs: &[(&str, BlobState)]) -> Board {
        let mut board = Board::default();
        for (name, state) in blobs {
            board.event(&blob(name, *state));
        }
        board
    }

    #[test]
    fn a_blob_shared_by_two_images_is_one_and_stays_fetched() {
        let board = board(&[
            ("a", BlobState::Waiting),
            ("a", BlobState::Downloading),
            ("a", BlobState::Done),
            ("a", BlobState::Exists),
        ]);
        let totals = board.totals();
        assert_eq!((totals.blobs, totals.blobs_finished, totals.size_bytes), (1, 1, 100));
    }

    #[test]
    fn what_was_there_is_not_counted_as_work() {
        let totals = board(&[("a", BlobState::Exists), ("b", BlobState::Waiting)]).totals();
        assert_eq!((totals.size_bytes, totals.position_bytes), (100, 0));
    }

    #[test]
    fn the_whole_is_complete_when_the_last_blob_is_done_and_not_before() {
        let states = [BlobState::Verifying, BlobState::AwaitingLowerLayers, BlobState::Unpacking];
        for state in states {
            let totals = board(&[("a", BlobState::Done), ("b", state)]).totals();
            assert_eq!((totals.size_bytes, totals.done_bytes), (200, 199), "{state:?}");
        }
        let totals = board(&[("a", BlobState::Done), ("b", BlobState::Done)]).totals();
        assert_eq!(totals.done_bytes, totals.size_bytes);
    }

    #[test]
    fn what_was_left_by_an_earlier_run_is_there_but_was_not_received() {
        let mut board = board(&[("a", BlobState::Downloading)]);
        assert!(!board.blob(digest("a")).unwrap().is_flowing());
        board.event(&Event::Received { digest: digest("a"), delta_bytes: 20 });
        assert!(board.blob(digest("a")).unwrap().is_flowing());
        let totals = board.totals();
        assert_eq!((totals.position_bytes, totals.moved_bytes), (50, 20));
    }

    #[test]
    fn an_upload_counts_what_went_out() {
        let mut board = board(&[("a", BlobState::Uploading)]);
        board.event(&Event::Received { digest: digest("a"), delta_bytes: 80 });
        assert!(!board.blob(digest("a")).unwrap().is_flowing());
        board.event(&Event::Sent { digest: digest("a"), delta_bytes: 30 });
        assert!(board.blob(digest("a")).unwrap().is_flowing());
        let totals = board.totals();
        assert_eq!((totals.position_bytes, totals.moved_bytes), (30, 80));
    }

    #[test]
    fn images_are_named_while_they_are_worked_on() {
        let mut board = Board::default();
        for image in ["a", "b"] {
            board.event(&Event::Started { image: image.to_owned() });
        }
        assert_eq!(board.running(), ["a", "b"]);
        let report = crate::progress::TransferReport {
            image: "a".to_owned(),
            digest: digest("a"),
            fetched_bytes: 0,
            reused_bytes: 0,
            sent_bytes: 0,
            unpacked_bytes: 0,
            duration: std::time::Duration::ZERO,
            kubelet: None,
        };
        board.event(&Event::Finished(report));
        assert_eq!(board.running(), ["b"]);
    }

    #[test]
    fn a_resumed_blob_begins_where_it_was_left_and_never_exceeds_its_size() {
        let received = |name, delta_bytes| Event::Received { digest: digest(name), delta_bytes };
        let mut board = board(&[("a", BlobState::Downloading)]);
        board.event(&received("a", 20));
        assert_eq!(board.totals().position_bytes, 50);
        board.event(&received("a", 500));
        assert_eq!(board.totals().position_bytes, 100);
        board.event(&blob("a", BlobState::Downloading));
        assert_eq!(board.totals().position_bytes, 30);
        board.event(&received("unheard of", 5));
        assert_eq!(board.totals().position_bytes, 30);
    }

    #[test]
    fn shows_all_that_fit_and_otherwise_what_is_going_on() {
        let board = board(&[
            ("a", BlobState::Exists),
            ("b", BlobState::Waiting),
            ("c", BlobState::Downloading),
            ("d", BlobState::Done),
            ("e", BlobState::Waiting),
            ("f", BlobState::Unpacking),
        ]);
        let names = |names: &[&str]| names.iter().map(|name| digest(name)).collect::<Vec<_>>();
        assert_eq!(board.visible(6), names(&["a", "b", "c", "d", "e", "f"]));
        assert_eq!(board.visible(5), names(&["b", "c", "e", "f"]));
        assert_eq!(board.visible(3), names(&["b", "c", "f"]));
        assert_eq!(board.visible(2), names(&["c", "f"]));
        assert_eq!(board.visible(1), names(&["c"]));
        assert_eq!(board.visible(0), names(&[]));
    }
}
