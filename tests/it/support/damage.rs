//! Damage done by hand to what a daemon keeps, as power losses, disks and other tools do it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::containerd::Containerd;
use super::store::Store;

/// The daemon's own file of a blob.
pub(crate) fn blob_file(daemon: &Containerd, digest: &str) -> PathBuf {
    let hex = digest.trim_start_matches("sha256:");
    daemon.root().join("io.containerd.content.v1.content/blobs/sha256").join(hex)
}

/// Changes the bytes of a blob.
pub(crate) fn edit_blob(daemon: &Containerd, digest: &str, edit: impl FnOnce(&mut Vec<u8>)) {
    let path = blob_file(daemon, digest);
    let mut bytes = fs::read(&path).expect("the blob has a file");
    edit(&mut bytes);
    let writable = fs::Permissions::from_mode(0o644);
    fs::set_permissions(&path, writable).expect("the file is ours");
    fs::write(&path, bytes).expect("the file can be written");
}

/// Flips a bit in the middle of a blob.
pub(crate) fn flip_a_bit(daemon: &Containerd, digest: &str) {
    edit_blob(daemon, digest, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
    });
}

/// Where the files of the layer `chain_id` lie.
pub(crate) fn directory_of(store: &Store<'_>, chain_id: &str) -> PathBuf {
    store.with_layers(chain_id, |_, directories| directories[0].clone())
}
