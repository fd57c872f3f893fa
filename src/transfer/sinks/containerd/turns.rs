//! Whose turn it is to fetch a small blob, among the pulls of this machine.
//!
//! Large blobs have an ingest from their first byte on, which the daemon locks: who comes second
//! waits, and finds the blob there. A small one has none until it is complete, since making one costs
//! more than the blob. Its lock is a file of ours, which costs the daemon nothing: asked for an ingest
//! that is locked, it lets everybody else wait for half a second. Where no lock can be had, a blob is
//! fetched twice, and nothing worse.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use tokio::time::{Instant, sleep};

use crate::oci::Digest;

/// Where locks of root are; those of others are in their own runtime directory.
const SYSTEM_DIRECTORY: &str = "/run/pullctl";

/// How often a lock that another has is tried again: a small blob takes as long as one round trip.
const INTERVAL: Duration = Duration::from_millis(10);

/// How long another is waited for (20 s) before the blob is fetched beside it: it may have been
/// stopped.
const PATIENCE: Duration = Duration::from_secs(20);

/// The locks of this user.
#[derive(Debug)]
pub(super) struct Turns {
    directory: Option<PathBuf>,
}

/// A turn at a blob, which ends when this is dropped, or the process dies.
#[derive(Debug)]
pub(super) struct Turn {
    lock: Option<(File, PathBuf)>,
    /// Whether somebody else had it before.
    pub(super) is_next: bool,
}

impl Turns {
    pub(super) fn new() -> Self {
        let directory = match rustix::process::geteuid().is_root() {
            true => Some(PathBuf::from(SYSTEM_DIRECTORY)),
            false => std::env::var_os("XDG_RUNTIME_DIR").map(|own| Path::new(&own).join("pullctl")),
        };
        Self::in_directory(directory)
    }

    fn in_directory(directory: Option<PathBuf>) -> Self {
        Self { directory: directory.filter(|directory| is_ours(directory)) }
    }

    /// Waits for the turn at the blob `digest`. Whoever had it before may have stored the blob.
    pub(super) async fn take(&self, digest: &Digest) -> Turn {
        let mut is_next = false;
        let Some(directory) = &self.directory else { return Turn { lock: None, is_next } };
        let path = directory.join(digest.hex());
        let until = Instant::now() + PATIENCE;
        loop {
            match try_lock(&path) {
                Ok(file) => return Turn { lock: Some((file, path)), is_next },
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    is_next = true;
                    sleep(INTERVAL.mul_f64(0.5 + fastrand::f64())).await;
                }
                Err(error) => {
                    tracing::debug!(%error, %digest, "fetching without a turn");
                    return Turn { lock: None, is_next };
                }
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some((_lock, path)) = self.lock.take() {
            // Who waits for this file has the next turn; who comes later makes a new one, which is
            // as well by then.
            let _ = fs::remove_file(path);
        }
    }
}

/// Makes the directory if it is missing, and tells whether nobody else can write there.
fn is_ours(directory: &Path) -> bool {
    let made = DirBuilder::new().mode(0o700).create(directory);
    if made.is_err_and(|error| error.kind() != io::ErrorKind::AlreadyExists) {
        return false;
    }
    let own = rustix::process::geteuid().as_raw();
    fs::symlink_metadata(directory)
        .is_ok_and(|found| found.is_dir() && found.uid() == own && found.mode() & 0o022 == 0)
}

fn try_lock(path: &Path) -> Result<File, TryLockError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(TryLockError::Error)?;
    file.try_lock()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn locks(turns: &Turns) -> usize {
        fs::read_dir(turns.directory.as_ref().unwrap()).unwrap().count()
    }

    #[tokio::test(start_paused = true)]
    async fn one_has_the_turn_at_a_blob_and_the_next_comes_when_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let turns = Turns::in_directory(Some(folder.path().join("turns")));
        let (blob, another) = (Digest::of(b"blob"), Digest::of(b"another"));
        let first = turns.take(&blob).await;
        let beside = turns.take(&another).await;
        let second = turns.take(&blob);
        tokio::pin!(second);
        let waited = tokio::time::timeout(Duration::from_secs(5), &mut second).await;
        assert!(waited.is_err(), "{waited:?}");
        drop(first);
        assert!(second.await.lock.is_some());
        drop(beside);
        assert_eq!(locks(&turns), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_for_one_that_stands_still() {
        let folder = tempfile::tempdir().unwrap();
        let turns = Turns::in_directory(Some(folder.path().join("turns")));
        let first = turns.take(&Digest::of(b"blob")).await;
        assert!(turns.take(&Digest::of(b"blob")).await.lock.is_none());
        assert!(first.lock.is_some());
    }

    #[tokio::test]
    async fn a_directory_that_others_may_write_to_or_that_cannot_be_made_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        for directory in [open, link, folder.path().join("no/such"), "/dev/null".into()] {
            let turns = Turns::in_directory(Some(directory.clone()));
            assert!(turns.directory.is_none(), "{}", directory.display());
            assert!(turns.take(&Digest::of(b"blob")).await.lock.is_none());
        }
    }
}
