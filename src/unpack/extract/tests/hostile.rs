//! Archives that try to get out of their root, by hundreds.

use std::path::Path;

use super::layer::{Fields, Layer, extract_gzipped, listing};
use crate::unpack::extract::Whiteouts;

/// A root with something next to it that must not change.
struct Arena {
    directory: tempfile::TempDir,
}

impl Arena {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("outside/inner")).unwrap();
        std::fs::write(directory.path().join("outside/file"), "untouched").unwrap();
        std::fs::create_dir(directory.path().join("root")).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// Extracts `archive` and checks that nothing but the root has changed.
    fn survives(&self, archive: &[u8], whiteouts: Whiteouts, what: &str) {
        let outside = listing(&self.directory.path().join("outside"));
        let names = names_in(self.directory.path());
        // Whether the archive is refused does not matter here.
        let _ = extract_gzipped(archive, Path::new(&self.path("root")), whiteouts);
        assert_eq!(listing(&self.directory.path().join("outside")), outside, "{what}");
        assert_eq!(names_in(self.directory.path()), names, "{what}");
    }
}

fn names_in(directory: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn keeps_known_escapes_inside() {
    let arena = Arena::new();
    let outside = arena.path("outside");
    let directory = Fields { kind: b'5', mode: 0o700, ..Fields::default() };
    for (what, layer) in [
        ("parent", Layer::new().file("../outside/file", "x").file("../new", "x")),
        ("absolute", Layer::new().file(&arena.path("outside/file"), "x")),
        ("link", Layer::new().symlink("l", &outside).file("l/file", "x").file("l/new", "x")),
        ("relative link", Layer::new().symlink("l", "../outside").file("l/file", "x")),
        (
            "links in a chain",
            Layer::new().symlink("a", "b").symlink("b", &outside).file("a/file", "x"),
        ),
        ("link as file", Layer::new().symlink("l", &arena.path("outside/file")).file("l", "x")),
        (
            "link as directory",
            Layer::new().symlink("l", &outside).entry("l", directory.clone(), b""),
        ),
        ("hard link", Layer::new().hard_link("h", "../outside/file").file("h", "x")),
        (
            "hard link through a link",
            Layer::new().symlink("l", &outside).hard_link("h", "l/file").file("h", "x"),
        ),
        (
            "hard link to a link, then written",
            Layer::new()
                .symlink("l", &arena.path("outside/file"))
                .hard_link("h", "l")
                .file("h", "x"),
        ),
        ("whiteout", Layer::new().symlink("l", &outside).file("l/.wh.file", "")),
        ("whiteout of the parent", Layer::new().file("a/.wh...", "").file(".wh...", "")),
        ("opaque", Layer::new().symlink("l", &outside).file("l/.wh..wh..opq", "")),
        (
            "directory replaced after its times were noted",
            Layer::new().directory("d/").symlink("d", &outside),
        ),
        (
            "link to the parent replaced by a directory",
            Layer::new().symlink("l", "..").directory("l/").file("l/outside/file", "x"),
        ),
        ("loop", Layer::new().symlink("l", "l").file("l/x", "x")),
        ("magic link", Layer::new().symlink("l", "/proc/self/root").file("l/tmp/x", "x")),
        ("device path", Layer::new().symlink("l", "/proc/self/fd").directory("l/3/x/")),
    ] {
        for whiteouts in [Whiteouts::Overlay, Whiteouts::Remove] {
            arena.survives(&layer.finished(), whiteouts, what);
        }
    }
}

/// A layer of entries with few names, so that they get in each other's way.
fn generated(random: &mut fastrand::Rng, outside: &str) -> Layer {
    const NAMES: [&str; 8] = ["a", "b", "c", "l", "..", ".", "outside", "file"];
    let path = |random: &mut fastrand::Rng| {
        let length = random.usize(1..=4);
        let names: Vec<_> = (0..length).map(|_| *random.choice(NAMES.iter()).unwrap()).collect();
        names.join("/")
    };
    let mut layer = Layer::new();
    for _ in 0..random.usize(1..=25) {
        let mut name = path(random);
        if random.u8(..8) == 0 {
            name.insert(0, '/');
        }
        let target = match random.u8(..6) {
            0 => outside.to_owned(),
            1 => format!("{outside}/file"),
            2 => format!("/{}", path(random)),
            _ => path(random),
        };
        layer = match random.u8(..12) {
            0..=2 => layer.file(&name, "generated"),
            3 | 4 => layer.directory(&name),
            5..=7 => layer.symlink(&name, &target),
            8 | 9 => layer.hard_link(&name, &target),
            10 => layer.file(&format!("{name}/.wh.{}", path(random).replace('/', "")), ""),
            _ => layer.file(&format!("{name}/.wh..wh..opq"), ""),
        };
    }
    layer
}

#[test]
fn keeps_generated_archives_inside() {
    let arena = Arena::new();
    for seed in 0..150 {
        let mut random = fastrand::Rng::with_seed(seed);
        let layer = generated(&mut random, &arena.path("outside"));
        let whiteouts = if seed % 2 == 0 { Whiteouts::Overlay } else { Whiteouts::Remove };
        std::fs::remove_dir_all(arena.path("root")).unwrap();
        std::fs::create_dir(arena.path("root")).unwrap();
        // Entry by entry, since most archives fail at some point.
        for end in (512..=layer.bytes.len()).step_by(512) {
            let next_is_header = layer.bytes.get(end + 257..end + 262) == Some(b"ustar");
            if next_is_header || end == layer.bytes.len() {
                arena.survives(&layer.bytes[..end], whiteouts, &format!("seed {seed}"));
            }
        }
    }
}

#[test]
fn survives_damaged_archives() {
    let arena = Arena::new();
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = generated(&mut random, &arena.path("outside")).finished();
        for _ in 0..random.usize(1..=8) {
            let place = random.usize(..bytes.len());
            bytes[place] = random.u8(..);
        }
        bytes.truncate(random.usize(..=bytes.len()));
        arena.survives(&bytes, Whiteouts::Overlay, &format!("seed {seed}"));
    }
}

#[test]
fn nests_deeper_than_a_path_may_be_long() {
    let arena = Arena::new();
    let deep = ["d"; 40].join("/");
    let mut layer = Layer::new().directory(&deep).symlink("l", &deep);
    for _ in 0..60 {
        // Each link starts where the last one led to.
        layer = layer.file(&format!("l/{deep}/f"), "").symlink("l2", &format!("l/{deep}"));
        layer = layer.hard_link("l3", "l2").hard_link("l", "l3");
    }
    arena.survives(&layer.finished(), Whiteouts::Overlay, "deep");
    let gone = layer.file("d", "a file instead");
    arena.survives(&gone.finished(), Whiteouts::Overlay, "deep, removed");
}
