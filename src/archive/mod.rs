//! Whole images in one file: OCI layouts and docker's archives, as tar.
//!
//! | part | owns |
//! |---|---|
//! | `writer` | an archive that is made: the same images, the same bytes |
//!
//! Knows neither registries nor daemons.

mod writer;

pub use writer::{
    BlobWriter, Contents, Error as WriteError, Form, NamedTarget, Target, Wrapping, Writer,
};
