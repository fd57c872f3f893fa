//! Archives that are made here.
//!
//! | file | owns |
//! |---|---|
//! | `contents` | what is in an archive beside the layers, in which order |
//! | `writer` | an archive on its way: documents, then blobs, several at a time where each has a place |
//! | `blob` | a blob, hashed as it passes: to the archive's end, or to its place |
//! | `recorder` | the thread that writes an archive in one order |
//! | `tape` | a tar, entry by entry, the same bytes each time |
//! | `wrapping` | gzip and zstd around the whole |
//! | `output` | where it goes: a file that appears when it is whole, or a stream |
//! | `error` | why an archive can't be written |

mod blob;
mod contents;
mod error;
mod output;
mod recorder;
mod tape;
mod wrapping;
#[expect(clippy::module_inception, reason = "the room is named after what is in it")]
mod writer;

pub use blob::BlobWriter;
pub use contents::{Contents, Form, NamedTarget};
pub use error::Error;
pub use output::Target;
pub use wrapping::Wrapping;
pub use writer::Writer;
