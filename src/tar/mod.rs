//! Tar archives, read once from front to back: a layer's, or one that carries a whole image
//! (`docker save`, an OCI layout in a file).
//!
//! | file | owns |
//! |---|---|
//! | [`Archive`] | entries in order, extension headers merged in, contents with their holes |
//! | `input` | the bytes, counted |
//! | `header`, `pax`, `sparse` | the formats: header blocks, PAX records, maps of sparse files |
//! | [`Entry`] | what is said of one file |
//!
//! Every byte may be hostile: names, extension headers and maps are bounded, and what is accepted is
//! what Go's `archive/tar`, containerd's reader, accepts. Knows nothing of layers, and makes no files.

mod archive;
mod entry;
mod error;
mod header;
mod input;
mod pax;
mod sparse;

pub use archive::Archive;
pub use entry::{DeviceNumber, Entry, EntryKind, EntryName, Timestamp};
pub use error::{Error, Problem};
