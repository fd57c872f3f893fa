//! Archives as a client meets them, whole and damaged: the fuzz target's starting points, replayed.

#[path = "../../fuzz/any_archive.rs"]
mod any_archive;

use any_archive::{lists_images, reads_within_bounds};

use crate::support::archive::Archive as Images;
use crate::support::image::Image;
use crate::support::tree::{curious, curious_above};

/// How often each seed is damaged anew.
const DAMAGES: u64 = 200;

/// Names too long for a header, in GNU's way.
fn long_names() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for length in [99, 100, 101, 255, 3000] {
        let mut header = tar::Header::new_gnu();
        header.set_size(600);
        header.set_mode(0o644);
        builder.append_data(&mut header, "n/".repeat(length / 2), &[b'x'; 600][..]).unwrap();
    }
    builder.into_inner().unwrap()
}

/// An image in an archive.
fn image() -> Vec<u8> {
    Images::oci(&[(&Image::small(), "quay.io/a:1")]).build()
}

fn seeds() -> [(Vec<u8>, usize); 5] {
    let entries = |tar: &[u8]| tar::Archive::new(tar).entries().unwrap().count();
    [curious().into_tar(), curious_above().into_tar(), long_names(), image(), Vec::new()]
        .map(|seed| (seed.clone(), entries(&seed)))
}

#[test]
fn archives_are_read_to_their_end() {
    for (number, (seed, entries)) in seeds().into_iter().enumerate() {
        assert_eq!(reads_within_bounds(&seed), Some(entries), "seed {number}");
    }
    assert_eq!(lists_images(&image()), Some(1));
}

#[test]
fn damaged_archives_are_read_or_refused_within_bounds() {
    for (number, (seed, _)) in seeds().into_iter().enumerate() {
        for damage in 0..DAMAGES {
            let mut random = fastrand::Rng::with_seed(number as u64 * DAMAGES + damage);
            let mut input = seed.clone();
            for _ in 0..random.usize(1..=8).min(input.len()) {
                let place = random.usize(..input.len());
                input[place] = random.u8(..);
            }
            input.truncate(random.usize(..=input.len()).max(input.len() / 2));
            mend(&mut input);
            reads_within_bounds(&input);
            lists_images(&input);
        }
    }
}

/// Makes the checksums right where a header may lie: of what chance makes, all would be refused.
fn mend(archive: &mut [u8]) {
    for header in archive.chunks_exact_mut(512) {
        if header[257..262] == *b"ustar" {
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}
