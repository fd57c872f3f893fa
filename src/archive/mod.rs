//! Whole images in one file: OCI layouts and docker's archives, as tar.
//!
//! | part | owns |
//! |---|---|
//! | `held` | which blobs an archive has |
//! | `writer` | an archive that is made: the same images, the same bytes |
//!
//! Knows neither registries nor daemons.

mod held;
mod writer;

pub use held::held_blobs;
pub use writer::{
    BlobWriter, Contents, Error as WriteError, Form, NamedTarget, Target, Wrapping, Writer,
};
