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

/// Bytes of a tar header, and of the blocks that contents fill up.
const BLOCK: usize = 512;

/// Where in a header its checksum is.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// Where in a header the length of the entry's content is, in octal digits.
const SIZE: std::ops::Range<usize> = 124..136;

/// Makes every header's checksum right: of the inputs that chance makes, it would refuse all.
fn mend(layer: &mut [u8]) {
    let mut position = 0;
    while let Some(header) = layer.get_mut(position..position + BLOCK) {
        header[CHECKSUM].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let digits = header[SIZE].iter().take_while(|byte| (b'0'..=b'7').contains(byte));
        let size = digits.fold(0_usize, |size, byte| size * 8 + usize::from(byte - b'0'));
        position += BLOCK + size.next_multiple_of(BLOCK);
    }
}

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
    let mut layer = layer.to_vec();
    mend(&mut layer);
    let _ = extract(Cursor::new(layer), directory, options);

    assert_eq!(fs::read(&outside).expect("the file beside the root"), b"untouched");
    assert_eq!(fs::read_dir(arena.path()).expect("the arena").count(), 2);
});
