//! Ordinary archives: what the extractor makes of them is what GNU tar makes of them.

use std::path::Path;
use std::process::Command;

use super::layer::{Fields, Layer, extract_gzipped, is_root, listing};
use crate::unpack::extract::Whiteouts;

fn unpack_with_gnu_tar(archive: &[u8], root: &Path) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), archive).unwrap();
    let status = Command::new("tar")
        .args(["--extract", "--preserve-permissions", "--numeric-owner"])
        .arg("--file")
        .arg(file.path())
        .arg("--directory")
        .arg(root)
        .status()
        .unwrap();
    assert!(status.success());
}

fn generated(seed: u64) -> Layer {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut directories = vec![String::new()];
    let mut files: Vec<String> = Vec::new();
    let mut layer = Layer::new();
    for number in 0..random.usize(20..=120) {
        let parent = random.choice(&directories).unwrap().clone();
        let dot = if random.bool() { "./" } else { "" };
        let name = format!("{parent}{number}");
        let path = format!("{dot}{name}");
        let mut pax = Vec::new();
        if random.bool() {
            pax.push((
                "mtime",
                format!("1600000{number:03}.{:09}", random.u32(..999_999_999)).into_bytes(),
            ));
        }
        let owner = if is_root() { (random.u64(..3) * 1000, random.u64(..3) * 50) } else { (0, 0) };
        let mode = *random.choice(&[0o644, 0o755, 0o600, 0o4755, 0o2711, 0o400]).unwrap();
        let fields = Fields { owner, mode, pax, ..Fields::default() };
        let file = random.choice(&files).cloned();
        layer = match (random.u8(..8), file) {
            (0 | 1, _) => {
                directories.push(format!("{name}/"));
                let fields = Fields { kind: b'5', mode: mode & 0o777 | 0o700, ..fields };
                layer.entry(&format!("{path}/"), fields, b"")
            }
            (2, _) => layer.entry(&path, Fields { kind: b'2', link: "../x", ..fields }, b""),
            // A hard link repeats the attributes of its target, which are the default ones.
            (3, Some(target)) => layer.hard_link(&path, &target),
            (4, _) => {
                files.push(path.clone());
                layer.file(&path, "to be linked")
            }
            _ => {
                let content = vec![b'x'; random.usize(..3000)];
                layer.entry(&path, fields, &content)
            }
        };
    }
    layer
}

#[test]
fn agrees_with_gnu_tar() {
    for seed in 0..12 {
        let archive = generated(seed).finished();
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        extract_gzipped(&archive, ours.path(), Whiteouts::Overlay).unwrap();
        unpack_with_gnu_tar(&archive, theirs.path());
        let (mut ours, mut theirs) = (listing(ours.path()), listing(theirs.path()));
        // The roots are the tests' own directories.
        assert!(ours.remove("").is_some() && theirs.remove("").is_some());
        // GNU tar loses some directories' times when entries are out of order.
        for node in ours.values_mut().chain(theirs.values_mut()).filter(|node| node.links == 0) {
            node.modified = (0, 0);
        }
        for (name, node) in &theirs {
            assert_eq!(ours.get(name), Some(node), "seed {seed}: {name}");
        }
        assert_eq!(ours.len(), theirs.len(), "seed {seed}");
    }
}
