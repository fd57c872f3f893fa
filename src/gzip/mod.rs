//! Gzip by several threads: one stream, decoded in several places at once.
//!
//! [`Decoder`] reads members as any decoder does, and hands on the same bytes and the same errors. Meanwhile
//! other threads look, further on in what was read ahead, for places where a block may begin, and decode
//! from there without knowing what comes before. Where the reader gets to exactly such a place, it takes
//! what they made; where it gets somewhere else, that is thrown away. So nothing depends on a guess.
//!
//! | file | owns |
//! |---|---|
//! | `bits`, `codes`, `blocks`, `symbols` | deflate (RFC 1951): bits, Huffman codes, blocks' headers, and symbols into output |
//! | `member` | a gzip member's header (RFC 1952) |
//! | `input` | the stream in spans, read ahead |
//! | `search`, `span` | a span decoded by itself: where a block begins, and what follows |
//! | `queue`, `crew` | which span a helper takes; the threads |
//! | `window`, `taken` | what was decoded, by the reader and by helpers, until it is read |
//! | `share` | how many threads and spans there are |
//! | `decoder` | the reader |
//! | `damage` | what may be wrong with a stream |
//!
//! Found are blocks that tell codes of their own. A stream of stored or fixed blocks alone, of members that
//! are shorter than a span (bgzip, eStargz), or of little that becomes very much, is the reader's alone.
//! pigz makes one member with such blocks, which are found.

mod bits;
mod blocks;
mod codes;
mod crew;
mod damage;
mod decoder;
mod input;
mod member;
mod queue;
mod search;
mod share;
mod span;
mod symbols;
mod taken;
#[cfg(test)]
mod tests;
mod window;

pub use decoder::{Counts, Decoder};
pub use share::{Share, Threads};
