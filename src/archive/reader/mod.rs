//! Archives that somebody else wrote: which images are in them, where their blobs are.
//!
//! | file | owns |
//! |---|---|
//! | `file` | a plain tar that can be read at any place |
//! | `passing`, `passed` | an archive that comes by once; what is known of it so far |
//! | `entries` | what is where, by name, links followed |
//! | `forms`, `oci`, `docker` | the two forms: `index.json`; `manifest.json` |
//! | `images` | what they have in common: images, and the blobs that they consist of |
//! | `names` | what the images are to be called |
//! | `packing` | gzip and zstd around the whole |
//! | `error` | why an archive can't be loaded |

mod docker;
mod entries;
mod error;
mod file;
mod forms;
mod images;
mod names;
mod oci;
mod packing;
mod passed;
mod passing;

pub use crate::tar::Entry;
pub use error::Error;
pub use file::{ArchiveFile, Body, Found, Opened};
pub use images::{ArchiveImage, FoundLayer, GivenName};
pub use names::{ImageNames, NamedImage};
pub use packing::{MAX_ARCHIVE_WINDOW, Packing};
pub use passed::PassedArchive;
pub use passing::{BlobBegin, MAX_DOCUMENT_BYTES, Passing};
