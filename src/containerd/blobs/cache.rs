//! The page cache of a node that is at work: what is written for later is let go of, so that it pushes
//! out nothing that is in use.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::Advice;
use tokio::task::spawn_blocking;
use tracing::debug;

/// Lets go of what the page cache has of `file`. Pages that are not on the disk yet stay: the system only
/// begins to write them.
pub(super) fn let_go(file: impl AsFd) {
    if let Err(error) = rustix::fs::fadvise(file, 0, None, Advice::DontNeed) {
        debug!(%error, "the page cache keeps what was written");
    }
}

/// The same for the file at `path`, which the daemon has written, where it is within reach.
pub(super) async fn let_go_of(path: PathBuf) {
    let outcome = spawn_blocking(move || File::open(&path).map(let_go)).await;
    if let Ok(Err(error)) = outcome {
        debug!(%error, "the page cache keeps what the daemon has written");
    }
}
