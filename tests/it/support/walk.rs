//! A file tree as a list of lines that can be compared: everything that an unpacker decides on.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use pullctl::oci::Digest;

/// Later than any time that a layer of the tests gives an entry, in seconds since the epoch: what has
/// such a time got it from the clock, when it was unpacked.
const NOW: i64 = 1_750_000_000;

/// One line an entry, by path: type, mode, owner, size, mtime to the nanosecond, device numbers,
/// link target, the first of its hard links, extended attributes, digest of the content.
pub(crate) fn walk(root: &Path) -> BTreeMap<String, String> {
    let mut lines = BTreeMap::new();
    let mut links = BTreeMap::new();
    visit(root, root, &mut lines, &mut links);
    lines
}

fn visit(
    root: &Path,
    path: &Path,
    lines: &mut BTreeMap<String, String>,
    links: &mut BTreeMap<u64, String>,
) {
    let name = path.strip_prefix(root).expect("it is below the root").display().to_string();
    let metadata = std::fs::symlink_metadata(path).expect("the entry can be read");
    let kind = metadata.file_type();
    let modified = if metadata.mtime() < NOW {
        format!("{}.{:09}", metadata.mtime(), metadata.mtime_nsec())
    } else {
        "now".to_owned()
    };
    let mut line = format!(
        "{:o} {}:{} {modified} {:?}",
        metadata.mode(),
        metadata.uid(),
        metadata.gid(),
        extended_attributes(path),
    );
    if kind.is_char_device() || kind.is_block_device() {
        line += &format!(" device {:x}", metadata.rdev());
    }
    if kind.is_symlink() {
        let target = std::fs::read_link(path).expect("the link can be read");
        line += &format!(" -> {}", target.display());
    }
    if kind.is_file() {
        let content = std::fs::read(path).expect("the file can be read");
        line += &format!(" {} bytes {}", content.len(), Digest::of(&content));
    }
    if !kind.is_dir() && metadata.nlink() > 1 {
        let first = links.entry(metadata.ino()).or_insert_with(|| name.clone());
        line += &format!(" linked {first} {}", metadata.nlink());
    }
    lines.insert(name, line);
    if kind.is_dir() {
        let mut entries: Vec<_> = std::fs::read_dir(path)
            .expect("the folder can be read")
            .map(|entry| entry.expect("the folder can be read").path())
            .collect();
        entries.sort();
        for entry in entries {
            visit(root, &entry, lines, links);
        }
    }
}

fn extended_attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 64 * 1024];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    names
        .get(..length)
        .unwrap_or_default()
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let name = String::from_utf8_lossy(name).into_owned();
            let mut value = vec![0; 64 * 1024];
            let length = rustix::fs::lgetxattr(path, name.as_str(), &mut value).unwrap_or(0);
            value.truncate(length);
            (name, value)
        })
        // An overlay's own bookkeeping says where a copy came from, not what it is.
        .filter(|(name, _)| !name.starts_with("trusted.overlay.") || name.ends_with(".opaque"))
        .collect()
}
