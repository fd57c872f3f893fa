//! Archives that are made here.
//!
//! | file | owns |
//! |---|---|
//! | `contents` | what is in an archive beside the layers, in which order |
//! | `writer` | an archive on its way: documents, then blobs one by one, each hashed as it passes |
//! | `tape` | a tar, entry by entry, the same bytes each time |
//! | `wrapping` | gzip and zstd around the whole |
//! | `output` | where it goes: a file that appears when it is whole, or a stream |
//! | `error` | why an archive can't be written |

mod contents;
mod error;
mod output;
mod tape;
mod wrapping;
#[expect(clippy::module_inception, reason = "the room is named after what is in it")]
mod writer;

pub use contents::{Contents, Form, NamedTarget};
pub use error::Error;
pub use output::Target;
pub use wrapping::Wrapping;
pub use writer::{BlobWriter, Writer};
