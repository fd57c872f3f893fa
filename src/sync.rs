//! Locks for plain values, and values used again.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`. A panic while it was held leaves plain values behind that are still valid, so
/// poisoning is of no concern.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Values that nobody uses at the moment: what takes memory, and is let go by other threads than the
/// next one that needs such a thing. An allocator keeps what a thread has let go for that thread.
#[derive(Debug)]
pub struct Pool<T> {
    spare: Mutex<Vec<T>>,
    most: usize,
}

impl<T> Pool<T> {
    /// One that keeps all: never more than were in use at once.
    pub const fn new() -> Self {
        Self::keeping(usize::MAX)
    }

    /// One that keeps `most` values.
    pub const fn keeping(most: usize) -> Self {
        Self { spare: Mutex::new(Vec::new()), most }
    }

    /// The value that was given back last, which the caches may still have.
    pub fn take(&self) -> Option<T> {
        lock(&self.spare).pop()
    }

    /// Keeps `value` for the next one, or drops it when there are enough.
    pub fn give_back(&self, value: T) {
        let mut spare = lock(&self.spare);
        if spare.len() < self.most {
            spare.push(value);
        }
    }

    /// How many values wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        lock(&self.spare).len()
    }
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_came_back_goes_first_and_a_bounded_number_is_kept() {
        let pool = Pool::keeping(2);
        assert_eq!(pool.take(), None);
        for value in 1..=3 {
            pool.give_back(value);
        }
        assert_eq!(pool.len(), 2);
        assert_eq!((pool.take(), pool.take(), pool.take()), (Some(2), Some(1), None));
    }
}
