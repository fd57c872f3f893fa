//! Who does the work, and what becomes of the threads.

use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::made::{flushed, gzip, text};
use super::{decode, expected};
use crate::gzip::codes::Tables;
use crate::gzip::crew::Crew;
use crate::gzip::input::Chunk;
use crate::gzip::span::{Buffers, Decoded};
use crate::gzip::{Counts, Decoder, Share, Threads};

/// Decodes `packed` with helpers who are always done in time.
fn decode_with_quick_helpers(packed: &[u8], span_bytes: usize) -> (Vec<u8>, Counts) {
    let threads = Threads::new(4).with_spans_of(span_bytes);
    let mut decoder = Decoder::with_crew(packed, &threads, Crew::new(0));
    let (mut content, mut piece) = (Vec::new(), [0; 1000]);
    loop {
        let length = decoder.read(&mut piece).unwrap();
        if length == 0 {
            return (content, decoder.counts());
        }
        content.extend_from_slice(&piece[..length]);
        decoder.crew.work_off();
    }
}

#[test]
fn nearly_all_spans_are_taken_where_helpers_are_quick() {
    let content = text(10_000_000);
    for packed in [gzip(&content, 6), flushed(&content)] {
        let (decoded, counts) = decode_with_quick_helpers(&packed, 200_000);
        assert!(decoded == content);
        // All but the first, which is the reader's own, and the last, where the content ends.
        assert!(counts.spans >= 15 && counts.taken_spans + 2 >= counts.spans, "{counts:?}");
        assert!(counts.helped_bytes > counts.own_bytes * 4, "{counts:?}");
    }
}

#[test]
fn blocks_without_codes_of_their_own_and_short_members_are_the_readers() {
    let content = text(400_000);
    let stored = gzip(&content, 0);
    let members: Vec<u8> = content.chunks(3_000).flat_map(|piece| gzip(piece, 6)).collect();
    for packed in [stored, members] {
        let (decoded, counts) = decode_with_quick_helpers(&packed, 5_000);
        assert!(decoded == content);
        assert!(counts.helped_bytes * 4 < counts.own_bytes, "{counts:?}");
    }
}

#[test]
fn however_threads_are_scheduled_all_bytes_are_counted() {
    let packed = gzip(&text(1_500_000), 6);
    for threads in [2, 3, 8] {
        let (decoded, counts) = decode(&packed, threads, 40_000);
        assert!(decoded.unwrap() == expected(&packed).unwrap());
        assert_eq!(counts.own_bytes + counts.helped_bytes, 1_500_000);
    }
}

#[test]
fn dropping_it_early_ends_helpers_and_waits_for_them() {
    static BEGUN: AtomicUsize = AtomicUsize::new(0);
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    fn never_done(
        chunk: &Chunk,
        buffers: Buffers,
        _: &mut Tables,
        _: &dyn Fn(u64),
    ) -> Result<Decoded, Buffers> {
        BEGUN.fetch_add(1, Ordering::SeqCst);
        while !chunk.is_unwanted() {
            thread::yield_now();
        }
        ENDED.fetch_add(1, Ordering::SeqCst);
        Err(buffers)
    }
    let packed = gzip(&text(500_000), 6);
    let threads = Threads::new(3).with_spans_of(5_000);
    let mut decoder = Decoder::with_crew(&packed[..], &threads, Crew::doing(2, never_done));
    decoder.read_exact(&mut [0; 10]).unwrap();
    while BEGUN.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    drop(decoder);
    assert_eq!(BEGUN.load(Ordering::SeqCst), ENDED.load(Ordering::SeqCst));
}

#[test]
fn a_helper_that_panics_is_an_error() {
    fn panics(_: &Chunk, _: Buffers, _: &mut Tables, _: &dyn Fn(u64)) -> Result<Decoded, Buffers> {
        panic!("on purpose")
    }
    let packed = gzip(&text(500_000), 6);
    let threads = Threads::new(2).with_spans_of(5_000);
    let mut decoder = Decoder::with_crew(&packed[..], &threads, Crew::doing(1, panics));
    // It may have died by the time that the first bytes are asked for.
    let begun = decoder.read_exact(&mut [0; 10]);
    while !decoder.crew.has_died() {
        thread::yield_now();
    }
    let error = match begun {
        Ok(()) => decoder.read_to_end(&mut Vec::new()).unwrap_err(),
        Err(error) => error,
    };
    assert!(error.to_string().contains("thread stopped"), "{error}");
}

#[test]
fn streams_that_share_spans_have_no_more_than_those() {
    let content = text(1_000_000);
    let packed = gzip(&content, 6);
    let share = Share::for_threads(2);
    let threads = Threads::new(2).with_spans_of(20_000).sharing(&share);
    let mut decoders: Vec<_> = (0..3).map(|_| Decoder::new(&packed[..], &threads)).collect();
    let mut contents = vec![Vec::new(); 3];
    for at in (0..3).cycle() {
        let mut piece = vec![0; 50_000];
        let length = decoders[at].read(&mut piece).unwrap();
        contents[at].extend_from_slice(&piece[..length]);
        if contents.iter().all(|it| it.len() == content.len()) {
            break;
        }
    }
    assert!(contents.iter().all(|it| *it == content));
    drop(decoders);
    let permits: Vec<_> = (0..4).map(|_| share.take().is_some()).collect();
    assert!(permits.iter().all(|&is_there| is_there), "each was given back at once");
    let held: Vec<_> = (0..4).map(|_| share.take()).collect();
    assert_eq!(held.iter().flatten().count(), 3);
}
