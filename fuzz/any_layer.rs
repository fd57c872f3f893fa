//! What holds for any bytes as a layer: nothing outside its root changes, whether it is extracted
//! where it stays, or apart and moved onto the layers below, and nothing panics. The fuzz target and
//! a plain test share it.

use std::fs::{self, File};
use std::io::Cursor;
use std::os::fd::OwnedFd;
use std::path::Path;

use pullctl::gzip::Threads;
use pullctl::oci::Compression;
use pullctl::unpack::Allowance;
use pullctl::unpack::extract::{
    ExtractOptions, Extracted, Roots, Whiteouts, extract, inherit, move_tree,
};

/// Bytes of a tar header, and of the blocks that contents fill up.
const BLOCK: usize = 512;

/// Where in a header its checksum is.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// Where in a header the length of the entry's content is, in octal digits.
const SIZE: std::ops::Range<usize> = 124..136;

/// The file that lies beside the roots, and must not change. Archives may name it.
pub(crate) const OUTSIDE: &str = "outside";

/// Takes `input` for two layers over each other. Its first byte chooses how whiteouts are treated and
/// whether the rest may be compressed, the second one where the upper layer begins, in blocks.
/// Answers whether the upper layer could be extracted.
pub(crate) fn stays_inside(input: &[u8]) -> bool {
    let Some((&[choice, blocks], layers)) = input.split_first_chunk() else { return false };
    let arena = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| arena.path().join(name);
    fs::write(path(OUTSIDE), "untouched").expect("a file beside the roots");
    for name in ["lower", "apart", "upper"] {
        fs::create_dir(path(name)).expect("a root");
    }

    let mut layers = layers.to_vec();
    let middle = layers.len().min(usize::from(blocks) * BLOCK);
    let (lower, upper) = layers.split_at_mut(middle);
    // Most inputs are refused, which is as good as any other answer.
    let _ = unpack(lower, &path("lower"), choice, Whiteouts::Remove);
    let whiteouts = if choice & 2 == 0 { Whiteouts::Overlay } else { Whiteouts::Remove };
    let extracted = unpack(upper, &path("apart"), choice, whiteouts);
    if let Some(extracted) = &extracted {
        move_tree(open(&path("apart")), open(&path("upper")))
            .expect("an empty directory to move to");
        let _ =
            inherit(&extracted.implied, open(&path("upper")), &[path("lower")], &Roots::default());
    }

    assert_eq!(fs::read(path(OUTSIDE)).expect("the file beside the roots"), b"untouched");
    assert_eq!(fs::read_dir(arena.path()).expect("the arena").count(), 4);
    extracted.is_some()
}

fn open(directory: &Path) -> OwnedFd {
    File::open(directory).expect("a root").into()
}

fn unpack(layer: &mut [u8], root: &Path, choice: u8, whiteouts: Whiteouts) -> Option<Extracted> {
    let compression = if choice & 1 == 0 { Compression::None } else { Compression::Gzip };
    if compression == Compression::None {
        mend(layer);
    }
    let allowance = Allowance::new(None);
    let threads = Threads::new(1);
    let options = ExtractOptions { compression, threads, whiteouts, allowance, is_sparing: false };
    extract(Cursor::new(layer.to_vec()), open(root), options).ok()
}

/// Makes every header's checksum right: of the inputs that chance makes, it would refuse all.
fn mend(layer: &mut [u8]) {
    let mut position = 0;
    while let Some(header) = layer.get_mut(position..position + BLOCK) {
        // Zeros end an archive.
        if header.iter().any(|&byte| byte != 0) {
            header[CHECKSUM].fill(b' ');
            let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
            header[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        let digits = header[SIZE].iter().take_while(|byte| (b'0'..=b'7').contains(*byte));
        let size = digits.fold(0_usize, |size, byte| size * 8 + usize::from(byte - b'0'));
        position += BLOCK + size.next_multiple_of(BLOCK);
    }
}
