//! What a layer may not have too much of, since it costs memory or time that nothing pays for.

use std::io::{self, BufReader, Read};

use super::layer::{Fields, Layer, extract_gzipped};
use crate::gzip::Threads;
use crate::oci::Compression;
use crate::unpack::Allowance;
use crate::unpack::extract::{ExtractError, ExtractOptions, Extracted, Whiteouts, extract};

/// The longest name of a file, in bytes.
const NAME: usize = 255;

/// A path of `count` long names.
fn long_path(count: usize) -> String {
    vec!["n".repeat(NAME); count].join("/")
}

/// Adds an entry whose path does not fit a header.
fn long_entry(layer: Layer, path: &str, kind: u8, link: &str) -> Layer {
    let pax = vec![("path", path.into()), ("linkpath", link.into())];
    let pax = pax.into_iter().filter(|(_, value): &(_, Vec<u8>)| !value.is_empty()).collect();
    layer.entry("short", Fields { kind, mode: 0o755, pax, ..Fields::default() }, b"")
}

fn extracted(layer: &Layer, whiteouts: Whiteouts) -> Result<Extracted, ExtractError> {
    let root = tempfile::tempdir().unwrap();
    extract_gzipped(&layer.finished(), root.path(), whiteouts)
}

/// The system's number of the error that a file system call was refused with.
fn errno(result: Result<Extracted, ExtractError>) -> rustix::io::Errno {
    match result {
        Err(ExtractError::File { source, .. }) => {
            rustix::io::Errno::from_io_error(&source).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

fn has_too_many_directories(result: Result<Extracted, ExtractError>) -> bool {
    match result {
        Err(ExtractError::Unusable { problem, .. }) => problem.contains("too many directories"),
        other => panic!("{other:?}"),
    }
}

/// The same bytes again and again.
struct Repeated {
    piece: Vec<u8>,
    position: usize,
}

impl Read for Repeated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut rest = &self.piece[self.position..];
        let length = rest.read(buffer)?;
        self.position = (self.position + length) % self.piece.len();
        Ok(length)
    }
}

#[test]
fn refuses_directories_whose_notes_fill_the_memory() {
    let root = tempfile::tempdir().unwrap();
    let entry = long_entry(Layer::new(), &long_path(15), b'5', "");
    // Without end: only the bound ends it.
    let archive = BufReader::new(Repeated { piece: entry.bytes, position: 0 });
    let options = ExtractOptions {
        compression: Compression::None,
        whiteouts: Whiteouts::Overlay,
        allowance: Allowance::new(None),
        threads: Threads::new(1),
        is_sparing: false,
    };
    let fd = std::fs::File::open(root.path()).unwrap().into();
    assert!(has_too_many_directories(extract(archive, fd, options)));
}

/// A layer whose link `deep` leads deeper than any path that can be written: to some 57,000 bytes.
fn deep_layer() -> Layer {
    let mut layer = Layer::new().directory("hop0");
    for hop in 1..=15 {
        // Each link leads on from where the last one led to.
        let to = format!("hop{}/{}", hop - 1, long_path(15));
        layer = long_entry(layer, &format!("{to}/file"), b'0', "");
        layer = long_entry(layer, &format!("hop{hop}"), b'2', &to);
    }
    layer.symlink("deep", "hop15")
}

#[test]
fn refuses_emptied_directories_whose_notes_fill_the_memory() {
    let mut layer = deep_layer();
    for number in 0..1500 {
        let directory = format!("deep/{number}");
        layer = layer.directory(&directory).file(&format!("{directory}/.wh..wh..opq"), "");
    }
    assert!(extracted(&layer, Whiteouts::Overlay).is_ok());
    assert!(has_too_many_directories(extracted(&layer, Whiteouts::Remove)));
}

#[test]
fn refuses_implied_directories_whose_notes_fill_the_memory() {
    let mut layer = deep_layer();
    assert!(extracted(&layer, Whiteouts::Overlay).is_ok());
    for number in 0..200 {
        layer = layer.file(&format!("deep/{number}/file"), "");
    }
    assert_eq!(errno(extracted(&layer, Whiteouts::Overlay)), rustix::io::Errno::NAMETOOLONG);
}

#[test]
fn follows_as_many_links_as_containerd_and_no_more() {
    for (links, is_followed) in [(255, true), (256, false)] {
        let mut layer = Layer::new().directory("l0");
        for number in 1..=links {
            layer = layer.symlink(&format!("l{number}"), &format!("l{}", number - 1));
        }
        let result = extracted(&layer.file(&format!("l{links}/file"), ""), Whiteouts::Overlay);
        match is_followed {
            true => assert!(result.is_ok(), "{result:?}"),
            false => assert_eq!(errno(result), rustix::io::Errno::LOOP),
        }
    }
}

#[test]
fn takes_no_more_steps_on_a_way_than_any_path_needs() {
    let deep = "d/".repeat(1000);
    // From the top down again for each `..`.
    for (times, is_taken) in [(10, true), (20, false)] {
        let layer = long_entry(Layer::new(), &format!("{deep}file"), b'0', "");
        let layer = long_entry(layer, "l", b'2', &format!("{deep}{}", "../d/".repeat(times)));
        let result = extracted(&layer.file("l/other", ""), Whiteouts::Overlay);
        match is_taken {
            true => assert!(result.is_ok(), "{result:?}"),
            false => assert_eq!(errno(result), rustix::io::Errno::LOOP),
        }
    }
}
