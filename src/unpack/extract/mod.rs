//! Extraction of a layer while it streams in: inflate, hash, untar, all in one pass.
//!
//! [`Extractor`] takes a layer's compressed bytes in order; the files appear beneath one directory
//! exactly as containerd's own unpacker would leave them, and the diff ID comes out at the end. It
//! knows no registry, no snapshot and no daemon.
//!
//! | part | does |
//! |---|---|
//! | `buffers`, `chunks`, `pipeline`, `stream` | bytes: queue, read-ahead, digest |
//! | `path`, `open`, `tree`, `removal` | directories beneath the root, by descriptor |
//! | `apply`, `attributes`, `whiteout`, `implied` | entries into files |
//! | `cache` | what the page cache lets go of, on a node that is at work |
//! | `relocate` | an extracted layer to another directory |
//! | `copying`, `content`, `xattrs` | a layer that lies extracted elsewhere, into files of its own |
//! | `rehearsal` | extraction that writes no content and compares it instead |
//! | `worker` | the threads and the handle |

mod apply;
mod attributes;
mod buffers;
mod cache;
mod chunks;
mod content;
mod copying;
mod error;
mod implied;
mod open;
mod path;
mod pipeline;
mod rehearsal;
mod relocate;
mod removal;
mod stream;
#[cfg(test)]
mod tests;
mod tree;
mod whiteout;
mod worker;
mod xattrs;

pub(super) use attributes::path_through_proc;
pub(super) use chunks::{ChunkSender, queue};
pub use content::Halt;
pub use copying::copy_tree;
pub(super) use error::ATTRIBUTE_HINT;
pub use error::ExtractError;
pub use implied::{ImpliedDirectory, Roots, inherit};
pub(super) use path::join;
pub(super) use rehearsal::{Content, Rehearsal, hash_file, open_file};
pub use relocate::move_tree;
pub(super) use tree::{Directory, Missing, Tree};
pub use whiteout::Whiteouts;
pub(super) use worker::rehearse;
pub use worker::{ExtractOptions, Extracted, ExtractionEnded, Extractor, extract};
