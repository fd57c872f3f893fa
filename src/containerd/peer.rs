//! The process behind a daemon's socket, and whether it sees the files that we see.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use tokio::net::UnixStream;

/// What is known of who listens, as the kernel tells of each connection. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Peer(Arc<AtomicI32>);

impl Peer {
    /// Takes note of who is at the other end of `stream`. Of a process that is not in our PID namespace
    /// there is no number.
    pub(super) fn note(&self, stream: &UnixStream) {
        let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
        self.0.store(pid.unwrap_or_default(), Ordering::Relaxed);
    }

    /// Whether it has our mounts and our root, so that a path is the same file to both. Where that may
    /// not be asked, it has not.
    pub(super) fn sees_our_files(&self) -> bool {
        let pid = self.0.load(Ordering::Relaxed);
        pid > 0 && ["ns/mnt", "root"].iter().all(|what| is_shared(pid, what))
    }
}

fn is_shared(pid: i32, what: &str) -> bool {
    let identity = |process: &str| {
        let found = fs::metadata(Path::new("/proc").join(process).join(what)).ok()?;
        Some((found.dev(), found.ino()))
    };
    let ours = identity("self");
    ours.is_some() && ours == identity(&pid.to_string())
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn a_process_of_this_very_kind_sees_the_same_files() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        let peer = Peer::default();
        assert!(!peer.sees_our_files());
        peer.note(&UnixStream::connect(&socket).await.unwrap());
        assert!(peer.sees_our_files());
        peer.0.store(i32::MAX, Ordering::Relaxed);
        assert!(!peer.sees_our_files());
    }
}
