//! Any bytes as a tar archive, and as one of images: read to its end or refused, within the bounds, and
//! nothing panics.
//!
//! `scripts/fuzz 60 archive`

#![no_main]

#[path = "../any_archive.rs"]
mod any_archive;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    any_archive::reads_within_bounds(input);
    any_archive::lists_images(input);
});
