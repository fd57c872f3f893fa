//! Work that several images share and one of them does (single-flight).

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use tokio::sync::OnceCell;

use crate::sync::lock;

/// A map of work done once a key, with what came of it. A failure is not kept: the next to come tries
/// again.
#[derive(Debug)]
pub(super) struct OnceMap<K, V> {
    cells: Mutex<HashMap<K, Arc<OnceCell<V>>>>,
}

impl<K: Eq + Hash, V: Clone> OnceMap<K, V> {
    pub(super) fn new() -> Self {
        Self { cells: Mutex::new(HashMap::new()) }
    }

    /// What came of `work` for `key`, which is run unless it was done; waits while another does it.
    pub(super) async fn run<E, F>(&self, key: K, work: impl FnOnce() -> F) -> Result<V, E>
    where
        F: Future<Output = Result<V, E>>,
    {
        let cell = {
            let mut cells = lock(&self.cells);
            Arc::clone(cells.entry(key).or_default())
        };
        cell.get_or_try_init(work).await.cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn work_is_shared_and_a_failure_is_tried_again() {
        let map = OnceMap::new();
        let runs = AtomicUsize::new(0);
        let work = |fail: bool| {
            let runs = &runs;
            move || async move {
                let run = runs.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                if fail { Err("broken") } else { Ok(run) }
            }
        };
        assert_eq!(map.run("a", work(true)).await, Err("broken"));
        let (first, second) = tokio::join!(map.run("a", work(false)), map.run("a", work(false)));
        assert_eq!((first, second), (Ok(1), Ok(1)));
        assert_eq!(runs.load(Ordering::Relaxed), 2);
    }
}
