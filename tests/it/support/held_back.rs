//! A socket before a daemon's that passes on so much of its answers, and the rest when a gate opens: a
//! command stops in the midst of what it reads, however fast the machine is.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::faulty::Gate;

/// The socket. Its threads end with the test process.
pub(crate) struct HeldBack {
    folder: TempDir,
}

impl HeldBack {
    /// One before the daemon at `target` that holds back what comes after so many bytes.
    pub(crate) fn start(target: &Path, after: u64, gate: Gate) -> Self {
        let held = Self { folder: tempfile::tempdir().expect("a temporary folder can be made") };
        let listener = UnixListener::bind(held.socket()).expect("its path is short");
        let (target, passed) = (target.to_owned(), Arc::new(AtomicU64::new(0)));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (target, passed, gate) = (target.clone(), Arc::clone(&passed), gate.clone());
                // An error is one end's doing.
                std::thread::spawn(move || carry(client, &target, after, &passed, &gate));
            }
        });
        held
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("held.sock")
    }
}

fn carry(
    mut client: UnixStream,
    target: &Path,
    after: u64,
    passed: &AtomicU64,
    gate: &Gate,
) -> io::Result<()> {
    let mut server = UnixStream::connect(target)?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        to_server.shutdown(Shutdown::Both)
    });
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = server.read(&mut buffer)?;
        if count == 0 {
            return client.shutdown(Shutdown::Both);
        }
        if passed.fetch_add(count as u64, Ordering::Relaxed) + count as u64 > after {
            gate.pass();
        }
        client.write_all(&buffer[..count])?;
    }
}
