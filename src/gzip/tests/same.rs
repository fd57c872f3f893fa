//! What is right is decoded, by however many threads, and wherever spans end.

use super::made::{adorned, contents, flushed, gzip, member, noise, text};
use super::{SPANS, decode};

#[track_caller]
fn check(what: &str, packed: &[u8], content: &[u8]) {
    for threads in [1, 2, 4] {
        for span_bytes in SPANS {
            let (decoded, counts) = decode(packed, threads, span_bytes);
            let decoded =
                decoded.unwrap_or_else(|error| panic!("{what}, {threads} threads: {error}"));
            assert!(decoded == content, "{what}, {threads} threads, spans of {span_bytes}");
            assert_eq!(counts.own_bytes + counts.helped_bytes, content.len() as u64);
        }
    }
}

#[test]
fn all_contents_at_all_levels() {
    for (name, content) in contents() {
        for level in [0, 1, 4, 6, 9] {
            check(&format!("{name} at level {level}"), &gzip(&content, level), &content);
        }
    }
}

#[test]
fn members_of_all_kinds_one_after_another() {
    let (short, long) = (text(30_000), text(200_000));
    let parts = [
        (gzip(&short, 9), &short[..]),
        (gzip(b"", 6), b""),
        (adorned(&long), &long),
        (gzip(b"", 0), b""),
        (flushed(&long), &long),
        (gzip(&short, 1), &short),
    ];
    let packed: Vec<u8> = parts.iter().flat_map(|(packed, _)| packed.clone()).collect();
    let content: Vec<u8> = parts.iter().flat_map(|(_, content)| content.to_vec()).collect();
    check("members", &packed, &content);
}

#[test]
fn many_short_members() {
    let content = text(300_000);
    let packed: Vec<u8> = content.chunks(3_000).flat_map(|piece| gzip(piece, 6)).collect();
    check("as bgzip packs", &packed, &content);
}

#[test]
fn blocks_of_all_types_written_by_hand() {
    // "a" by a fixed block, nothing and "bcd" by stored ones; the last one is final.
    let deflated =
        [0x4a, 0x04, 0x00, 0x00, 0x00, 0xff, 0xff, 1, 3, 0, 0xfc, 0xff, b'b', b'c', b'd'];
    check("blocks", &member(&deflated, b"abcd"), b"abcd");
    let content = noise(65_535);
    let length = 65_535_u16.to_le_bytes();
    let deflated = [&[1], &length[..], &[0, 0], &content].concat();
    check("the longest stored block", &member(&deflated, &content), &content);
}
