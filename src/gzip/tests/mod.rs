//! The decoder against flate2: the same bytes, or an error where flate2 has one.

mod damaged;
mod made;
mod same;
mod threads;

use std::io::{self, BufRead, BufReader, Cursor, Read as _};

use flate2::bufread::MultiGzDecoder;

use super::{Counts, Decoder, Threads};

/// Spans of so many bytes: borders everywhere, and few.
const SPANS: [usize; 3] = [700, 5_000, 60_000];

/// What flate2 makes of `packed`.
fn expected(packed: &[u8]) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    MultiGzDecoder::new(packed).read_to_end(&mut content).map(|_| content)
}

/// What comes before an error, and the outcome; and who has done what.
fn read(source: impl BufRead, threads: &Threads) -> (Vec<u8>, io::Result<()>, Counts) {
    let mut decoder = Decoder::new(source, threads);
    let mut content = Vec::new();
    let outcome = decoder.read_to_end(&mut content).map(drop);
    (content, outcome, decoder.counts())
}

/// What we make of `packed`.
fn decode(packed: &[u8], threads: usize, span_bytes: usize) -> (io::Result<Vec<u8>>, Counts) {
    // Pieces of any length, as downloads have them.
    let source = BufReader::with_capacity(997, Cursor::new(packed.to_vec()));
    let threads = Threads::new(threads).with_spans_of(span_bytes);
    let (content, outcome, counts) = read(source, &threads);
    (outcome.map(|()| content), counts)
}
