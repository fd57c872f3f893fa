//! The test bed: real daemons, real and faulty registries, images made from code, and the built
//! binary. Knows the product only as a command, apart from its gRPC client crates.

pub(crate) mod archive;
pub(crate) mod cli;
pub(crate) mod containerd;
pub(crate) mod cri;
pub(crate) mod cutter;
pub(crate) mod damage;
pub(crate) mod dns;
pub(crate) mod fault_case;
pub(crate) mod faulty;
pub(crate) mod fix;
pub(crate) mod harbor;
pub(crate) mod held_back;
pub(crate) mod image;
pub(crate) mod left;
pub(crate) mod manifest;
pub(crate) mod nginx;
pub(crate) mod pod;
pub(crate) mod receiver;
pub(crate) mod registry;
pub(crate) mod secrets;
pub(crate) mod soci;
pub(crate) mod store;
pub(crate) mod supervisor;
pub(crate) mod terminal;
pub(crate) mod tree;
pub(crate) mod tunnels;
pub(crate) mod walk;

pub(crate) mod certificates;
mod each_version;

pub(crate) use certificates::Validity;
pub(crate) use each_version::{each_version, one_version};
pub(crate) use supervisor::wait_until;

use std::future::Future;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::runtime::Runtime;

/// Runs `future` to its end from a test's own thread; for the gRPC clients.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    static RUNTIME: LazyLock<Runtime> =
        LazyLock::new(|| Runtime::new().expect("a tokio runtime starts"));
    RUNTIME.block_on(future)
}

/// Puts a shell script where it can be run. Another process writes it: of this one a child that is just
/// started might have it open for writing, and then nobody may run it.
pub(crate) fn install_script(path: &Path, script: &str) {
    let text = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    std::fs::write(text.path(), format!("#!/bin/sh\n{script}\n")).expect("it can be written");
    let installed = Command::new("install").args(["-m", "755"]).arg(text.path()).arg(path).status();
    assert!(installed.expect("install runs").success(), "the script can be put there");
}

/// A word that no other test of this process gets. Tests share daemons, and containerd shares
/// content between namespaces, so an image that must not be there yet needs bytes of its own.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
