//! Any bytes as a gzip stream, as deflated blocks, and as what is packed and then damaged: several threads
//! make of it what flate2 makes of it.
//!
//! `scripts/fuzz 60 gzip`

#![no_main]

use std::io::{Read, Write as _};

use flate2::Crc;
use flate2::bufread::{DeflateDecoder, MultiGzDecoder};
use flate2::write::GzEncoder;
use libfuzzer_sys::fuzz_target;
use pullctl::gzip::{Decoder, Threads};

/// Most that is decoded (8 MiB): a few bytes can be very much.
const MAX_BYTES: u64 = 8 << 20;

fn read(source: impl Read) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    source.take(MAX_BYTES).read_to_end(&mut content).ok().map(|_| content)
}

/// A member of these blocks, with the trailer that their content wants.
fn member(deflated: &[u8]) -> Vec<u8> {
    let mut decoder = DeflateDecoder::new(deflated);
    let mut content = Vec::new();
    let _ = decoder.by_ref().take(MAX_BYTES).read_to_end(&mut content);
    let length = usize::try_from(decoder.total_in()).unwrap_or(deflated.len());
    let (mut crc, blocks) = (Crc::new(), &deflated[..length.min(deflated.len())]);
    crc.update(&content);
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    [&head, blocks, &crc.sum().to_le_bytes(), &crc.amount().to_le_bytes()].concat()
}

/// The content so many times, packed, with a bit the other way.
fn packed(content: &[u8], level: u8, times: u8, bit: u8) -> Vec<u8> {
    let level = flate2::Compression::new(u32::from(level % 10));
    let mut encoder = GzEncoder::new(Vec::new(), level);
    for _ in 0..times {
        let _ = encoder.write_all(content);
    }
    let mut packed = encoder.finish().unwrap_or_default();
    // Half of them stay right.
    if bit & 1 == 1 {
        let at = packed.len() * usize::from(bit) / 256;
        if let Some(byte) = packed.get_mut(at) {
            *byte ^= 1 << (bit >> 1 & 7);
        }
    }
    packed
}

fuzz_target!(|input: &[u8]| {
    let Some((&[choice, level, times, bit], rest)) = input.split_first_chunk() else { return };
    let stream = match choice & 3 {
        0 => rest.to_vec(),
        1 => member(rest),
        2 => packed(rest, level, times, bit),
        _ => [packed(rest, level, 1, 0), member(rest)].concat(),
    };
    let threads = Threads::new(1 + usize::from(choice >> 2 & 3) % 3);
    let threads = threads.with_spans_of(64 << (choice >> 4 & 7));
    let wanted = read(MultiGzDecoder::new(&stream[..]));
    assert!(read(Decoder::new(&stream[..], &threads)) == wanted, "{threads:?}");
});
