//! What was decoded last: as much as matches reach back, and what nobody has taken yet.

use flate2::Crc;

use super::symbols::{HISTORY, Output, ROOM};

/// Bytes that are decoded before somebody takes them (128 KiB): with the history, they stay in the
/// second-level cache.
const AHEAD: usize = 128 << 10;

/// The last bytes of a stream, of which members have a history of their own.
#[derive(Debug)]
pub(super) struct Window {
    bytes: Vec<u8>,
    at: usize,
    /// Up to where it was taken.
    taken: usize,
    /// Up to where it is in the checksum.
    summed: usize,
    /// Where the member begins, or the history.
    floor: usize,
    /// The member's checksum, and its length.
    crc: Crc,
}

impl Window {
    pub(super) fn new() -> Self {
        let bytes = vec![0; HISTORY + AHEAD + ROOM];
        Self { bytes, at: 0, taken: 0, summed: 0, floor: 0, crc: Crc::new() }
    }

    /// Hands over what nobody has taken yet.
    pub(super) fn read(&mut self, into: &mut [u8]) -> usize {
        let there = &self.bytes[self.taken..self.at];
        let length = there.len().min(into.len());
        into[..length].copy_from_slice(&there[..length]);
        self.taken += length;
        length
    }

    /// Makes room, once all was taken.
    pub(super) fn slide(&mut self) {
        if self.at + 2 * ROOM <= self.bytes.len() {
            return;
        }
        let moved = self.at - HISTORY;
        self.bytes.copy_within(moved..self.at, 0);
        (self.at, self.taken, self.summed) = (HISTORY, HISTORY, HISTORY);
        self.floor = self.floor.saturating_sub(moved);
    }

    /// Where what is decoded goes.
    pub(super) fn output(&mut self) -> Output<'_, u8> {
        Output { to: &mut self.bytes, at: &mut self.at, floor: self.floor }
    }

    /// Takes as much of `piece` as there is room for.
    pub(super) fn store(&mut self, piece: &[u8]) -> usize {
        let room = self.bytes.len() - ROOM;
        let length = piece.len().min(room.saturating_sub(self.at));
        self.bytes[self.at..self.at + length].copy_from_slice(&piece[..length]);
        self.at += length;
        length
    }

    /// Begins with a member.
    pub(super) fn begin(&mut self) {
        self.floor = self.at;
        self.crc.reset();
    }

    /// Adds to the checksum what is not in it yet.
    pub(super) fn sum(&mut self) {
        self.crc.update(&self.bytes[self.summed..self.at]);
        self.summed = self.at;
    }

    /// Adds to the checksum what somebody else has decoded.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
    }

    /// Whether `trailer`, checksum and length, fits the member.
    pub(super) fn fits(&self, trailer: [u32; 2]) -> bool {
        trailer == [self.crc.sum(), self.crc.amount()]
    }

    /// What there is of the member that matches may reach back to.
    pub(super) fn history(&self) -> &[u8] {
        &self.bytes[self.floor.max(self.at.saturating_sub(HISTORY))..self.at]
    }

    /// Goes on after `history`, 32 KiB, of which the member has `known`.
    pub(super) fn set(&mut self, history: &[u8], known: usize) {
        self.bytes[..HISTORY].copy_from_slice(history);
        (self.at, self.taken, self.summed) = (HISTORY, HISTORY, HISTORY);
        self.floor = HISTORY - known.min(HISTORY);
    }
}
