//! What is not right is refused as flate2 refuses it.

use std::io::{self, BufReader, Cursor, Read};

use super::made::{adorned, gzip, member, text};
use super::{Threads, decode, expected, read};

#[track_caller]
fn check(packed: &[u8], what: impl std::fmt::Display) {
    let wanted = expected(packed);
    for threads in [1, 3] {
        let (decoded, _) = decode(packed, threads, 700);
        match (&wanted, decoded) {
            (Ok(wanted), Ok(decoded)) => assert!(*wanted == decoded, "{what}"),
            (Err(wanted), Err(error)) => assert_eq!(wanted.kind(), error.kind(), "{what}"),
            (wanted, decoded) => panic!(
                "{what}, {threads} threads: {:?} instead of {:?}",
                decoded.map(|content| content.len()),
                wanted.as_ref().map(Vec::len)
            ),
        }
    }
}

#[test]
fn truncated_at_every_byte() {
    let packed = [adorned(&text(1_500)), gzip(&text(200), 9), gzip(b"xyz", 0)].concat();
    for length in 1..packed.len() {
        check(&packed[..length], format!("{length} bytes"));
    }
}

#[test]
fn with_any_bit_the_other_way() {
    let packed = [adorned(&text(500)), gzip(b"xyz", 0)].concat();
    for bit in 0..packed.len() * 8 {
        let mut packed = packed.clone();
        packed[bit / 8] ^= 1 << (bit % 8);
        check(&packed, format!("bit {bit}"));
    }
}

#[test]
fn with_bits_the_other_way_far_from_the_beginning() {
    let packed = gzip(&text(60_000), 6);
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..100 {
        let mut packed = packed.clone();
        let bit = random.usize(..packed.len() * 8);
        packed[bit / 8] ^= 1 << (bit % 8);
        check(&packed, format!("bit {bit}"));
    }
}

#[test]
fn with_something_behind_it() {
    for behind in [&b"x"[..], &[0; 512], &[0x1f, 0x8b], b"\x1f\x8b\x08\xff\0\0\0\0\0\0"] {
        check(&[gzip(&text(20_000), 6), behind.to_vec()].concat(), format!("{behind:x?}"));
    }
}

#[test]
fn with_a_match_from_before_the_member() {
    // A match of three bytes, one back, by a fixed block; before it is a whole member.
    let packed = member(&[0x03, 0x02, 0x00], b"aaa");
    check(&packed, "alone");
    check(&[gzip(&text(40_000), 6), packed].concat(), "after another member");
}

/// A source that fails, as connections do.
struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

#[test]
fn a_failing_source_is_told_after_what_came_before() {
    let content = text(100_000);
    let packed = gzip(&content, 6);
    for length in [0, 5, 100, packed.len() / 2, packed.len() - 1, packed.len()] {
        let begin = packed[..length].to_vec();
        for threads in [1, 3] {
            let source = BufReader::new(Cursor::new(begin.clone()).chain(Failing));
            let threads = Threads::new(threads).with_spans_of(5_000);
            let (read, outcome, _) = read(source, &threads);
            assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::ConnectionReset, "{length}");
            assert!(content.starts_with(&read) && read.len() * 4 >= length.saturating_sub(100));
        }
    }
}
