//! The OCI image layout: a directory that skopeo, umoci and `ctr images import` read and write, for
//! machines without containerd.
//!
//! | file | owns |
//! |---|---|
//! | `layout` | a layout that is open, and reading it |
//! | `create` | a layout as a destination |
//! | `blobs` | which blobs are whole, reading them |
//! | `ingest` | one blob being written |
//! | `index` | `index.json` |
//! | `names` | what is there besides what the specification says |
//! | `directory` | files beneath the layout's directory, reached without following links |
//!
//! Owns the files and their atomicity. Knows neither registries nor what an image is made of. What
//! lies in a layout may have been put there by anybody.
//! See <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>.

mod blobs;
mod blocking;
mod create;
mod directory;
mod error;
mod index;
mod ingest;
#[expect(clippy::module_inception, reason = "the room is named after what is in it")]
mod layout;
mod names;

pub use create::Opened;
pub use error::Error;
pub use index::{Entry, IndexEntry};
pub use ingest::Ingest;
pub use layout::Layout;

#[cfg(test)]
mod tests;
