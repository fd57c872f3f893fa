//! Content of all kinds, packed in all ways.

use std::io::Write as _;

use flate2::{Compression, GzBuilder};

/// Text that compresses about as programs and documents do.
pub(super) fn text(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(length as u64);
    let words: Vec<Vec<u8>> = (0..3000)
        .map(|_| (0..random.usize(2..12)).map(|_| random.u8(b'a'..=b'z')).collect())
        .collect();
    let mut text = Vec::with_capacity(length + 16);
    while text.len() < length {
        text.extend_from_slice(&words[random.usize(..words.len())]);
        text.push(b' ');
        // Matches of the longest kind, from as far away as may be.
        if random.u8(..) == 0 && text.len() > 33_000 {
            let from = text.len() - random.usize(1..=32_768);
            let piece = text[from..text.len().min(from + 600)].to_vec();
            text.extend_from_slice(&piece);
        }
    }
    text.truncate(length);
    text
}

pub(super) fn noise(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..length).map(|_| random.u8(..)).collect()
}

/// Text, zeros, noise, and short patterns, one after another.
fn mixture(length: usize) -> Vec<u8> {
    let part = length / 5;
    let mut mixture = text(part);
    mixture.extend(vec![0; part]);
    mixture.extend(noise(part));
    mixture.extend((0..part).map(|at| [b'a', b'b', b'c'][at % 3]));
    mixture.extend(text(part).iter().rev());
    mixture
}

/// Contents, each with its name.
pub(super) fn contents() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("nothing", Vec::new()),
        ("a byte", b"x".to_vec()),
        ("text", text(400_000)),
        ("noise", noise(150_000)),
        ("zeros", vec![0; 1_500_000]),
        ("a mixture", mixture(300_000)),
    ]
}

pub(super) fn gzip(content: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A member with all that a header may have.
pub(super) fn adorned(content: &[u8]) -> Vec<u8> {
    let builder = GzBuilder::new().filename("name").comment("comment").extra(vec![1; 300]).mtime(9);
    let mut encoder = builder.write(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// As pigz does: blocks that end at a byte's border now and then, in one member.
pub(super) fn flushed(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
    for piece in content.chunks(40_000) {
        encoder.write_all(piece).unwrap();
        encoder.flush().unwrap();
    }
    encoder.finish().unwrap()
}

/// A member of these blocks, whose content has `crc` and `length`.
pub(super) fn member(deflated: &[u8], content: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(content);
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    [&head, deflated, &crc.sum().to_le_bytes(), &crc.amount().to_le_bytes()].concat()
}
