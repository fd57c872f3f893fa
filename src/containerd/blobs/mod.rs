//! Blobs: looking, reading, and writing with resume and verification.
//!
//! | file | owns |
//! |---|---|
//! | `content` with `content_list` | which blobs there are, their labels, reading them |
//! | `open`, `turn` | opening an ingest, after whoever writes the same blob |
//! | `ingest`, `ingest_list` | one blob being written; all that are |
//! | `write_stream`, `content_file` with `appender` | the ways that its bytes take: gRPC, or the daemon's own file |
//! | `put`, `blob_file` | small blobs, in one message or put in place by us |
//! | `replacement` | the right bytes in the place of a blob that is there and wrong |
//! | `stored_file` | a blob read from the daemon's own file |
//! | `cache` | the page cache of a node that is at work |
//! | `labelling` | labels that several tasks add to one blob |

mod appender;
pub(super) mod blob_file;
mod cache;
mod content;
mod content_file;
mod content_list;
mod ingest;
mod ingest_list;
pub(super) mod labelling;
mod open;
mod put;
mod replacement;
mod stored_file;
mod turn;
mod write_stream;

pub use content::{ContentStore, Info, IngestStatus};
pub use ingest::Ingest;
pub use ingest_list::Unfinished;
pub use open::{Opened, ingest_reference};
pub use replacement::Replacement;
