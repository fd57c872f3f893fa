//! How much may be under way at once, over all blobs of a run: connections, bytes asked for, and bytes that
//! came, neither of them handed on yet.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::registry::policy::Policy;

/// The window is counted in units of this many bytes (64 KiB).
const UNIT: u64 = 64 * 1024;

/// See the module. Whoever waits is served in order of arrival, so that no blob starves another.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    connections: Arc<Semaphore>,
    asked: Arc<Semaphore>,
    window: Arc<Semaphore>,
    window_units: u32,
}

/// The right to use one connection.
pub(crate) type Connection = OwnedSemaphorePermit;

/// The right to ask for bytes, or memory set aside for them; given back piece by piece, as the last of them
/// are handed on.
#[derive(Debug)]
pub(crate) struct Reservation {
    units: OwnedSemaphorePermit,
    /// What is still to be handed on.
    bytes: u64,
}

impl Budget {
    /// Room for at least one connection and one unit, whatever `policy` says.
    pub(crate) fn new(policy: &Policy) -> Self {
        let window_units = units(policy.window_bytes).max(1);
        Self {
            connections: Arc::new(Semaphore::new(policy.connections.clamp(1, 1024))),
            asked: Arc::new(Semaphore::new(window_units as usize + window_units as usize / 3)),
            window: Arc::new(Semaphore::new(window_units as usize)),
            window_units,
        }
    }

    /// Waits for a connection. The semaphore is never closed, so there always is one in the end.
    pub(crate) async fn connection(&self) -> Option<Connection> {
        Arc::clone(&self.connections).acquire_owned().await.ok()
    }

    /// Waits until `bytes` may be asked for, of which `most` are held at a time: a third more than has
    /// room, since what is on its way needs none.
    pub(crate) async fn ask(&self, bytes: u64, most: u64) -> Option<Reservation> {
        self.take(&self.asked, bytes, most).await
    }

    /// Waits for room for `bytes`, `most` of them at a time; more than the whole window counts as the whole.
    pub(crate) async fn reserve(&self, bytes: u64, most: u64) -> Option<Reservation> {
        self.take(&self.window, bytes, most).await
    }

    async fn take(&self, of: &Arc<Semaphore>, bytes: u64, most: u64) -> Option<Reservation> {
        let wanted = units(most.min(bytes)).min(self.window_units);
        let units = Arc::clone(of).acquire_many_owned(wanted).await.ok()?;
        Some(Reservation { units, bytes })
    }
}

impl Reservation {
    /// Gives back what `bytes` took.
    pub(crate) fn release(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        let held = self.units.num_permits();
        drop(self.units.split(held.saturating_sub(units(self.bytes) as usize)));
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(window_bytes: u64) -> Budget {
        Budget::new(&Policy { window_bytes, ..Policy::default() })
    }

    #[tokio::test]
    async fn gives_back_room_as_bytes_are_handed_on() {
        let budget = budget(4 * UNIT);
        let mut reservation = budget.reserve(3 * UNIT, 3 * UNIT).await.unwrap();
        assert_eq!(budget.window.available_permits(), 1);
        reservation.release(UNIT - 1);
        assert_eq!(budget.window.available_permits(), 1, "a unit in use stays taken");
        reservation.release(1);
        assert_eq!(budget.window.available_permits(), 2);
        drop(reservation);
        assert_eq!(budget.window.available_permits(), 4);
    }

    #[tokio::test]
    async fn a_third_more_may_be_asked_for_than_has_room() {
        let budget = budget(3 * UNIT);
        let asked = budget.ask(4 * UNIT, 4 * UNIT).await.unwrap();
        assert_eq!(budget.asked.available_permits(), 1, "no more than the window is one's own");
        assert_eq!(budget.window.available_permits(), 3);
        drop(asked);
        assert_eq!(budget.asked.available_permits(), 4);
    }

    #[tokio::test]
    async fn takes_the_whole_window_for_what_is_larger() {
        let budget = budget(2 * UNIT);
        let mut reservation = budget.reserve(100 * UNIT, 100 * UNIT).await.unwrap();
        assert_eq!(budget.window.available_permits(), 0);
        reservation.release(98 * UNIT);
        assert_eq!(budget.window.available_permits(), 0);
        reservation.release(UNIT);
        assert_eq!(budget.window.available_permits(), 1);
    }

    #[tokio::test]
    async fn what_has_less_room_than_bytes_gives_it_back_with_the_last_of_them() {
        let budget = budget(4 * UNIT);
        let mut reservation = budget.reserve(10 * UNIT, 2 * UNIT).await.unwrap();
        assert_eq!(budget.window.available_permits(), 2);
        reservation.release(8 * UNIT);
        assert_eq!(budget.window.available_permits(), 2);
        reservation.release(UNIT);
        assert_eq!(budget.window.available_permits(), 3);
    }
}
