//! Any bytes as a layer: nothing outside the root changes, and nothing panics.
//!
//! `cargo +nightly fuzz run extract`; with `TMPDIR` on a tmpfs it is many times faster. The first
//! byte chooses how whiteouts are treated and whether the rest may be compressed.

#![no_main]

use std::fs;
use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use pullctl::oci::Compression;
use pullctl::unpack::extract::{ExtractOptions, Whiteouts, extract};

fuzz_target!(|input: &[u8]| {
    let Some((&choice, layer)) = input.split_first() else { return };
    let arena = tempfile::tempdir().expect("a temporary directory");
    let outside = arena.path().join("outside");
    let root = arena.path().join("root");
    fs::write(&outside, "untouched").expect("a file beside the root");
    fs::create_dir(&root).expect("a root");

    let options = ExtractOptions {
        compression: if choice & 1 == 0 { Compression::None } else { Compression::Gzip },
        whiteouts: if choice & 2 == 0 { Whiteouts::Overlay } else { Whiteouts::Remove },
    };
    let directory = fs::File::open(&root).expect("the root").into();
    // Most inputs are refused, which is as good as any other answer.
    let _ = extract(Cursor::new(layer.to_vec()), directory, options);

    assert_eq!(fs::read(&outside).expect("the file beside the root"), b"untouched");
    assert_eq!(fs::read_dir(arena.path()).expect("the arena").count(), 2);
});
