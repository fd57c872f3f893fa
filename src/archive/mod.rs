//! Whole images in one file: OCI layouts and docker's archives, as tar.
//!
//! | part | owns |
//! |---|---|
//! | `held` | which blobs an archive has |
//! | `reader` | what is in an archive that somebody else wrote, and reading it |
//! | `writer` | an archive that is made: the same images, the same bytes |
//!
//! Knows neither registries nor daemons. What comes in may have been made by anybody; nothing in it is
//! ever a path outside.

mod held;
mod reader;
mod writer;

pub use held::held_blobs;
pub use reader::{
    ArchiveFile, ArchiveImage, BlobBegin, Body, Entry, Error as ReadError, Found, FoundLayer,
    GivenName, ImageNames, MAX_ARCHIVE_WINDOW, MAX_DOCUMENT_BYTES, NamedImage, Opened, Packing,
    PassedArchive, Passing,
};
pub use writer::{
    BlobWriter, Contents, Error as WriteError, Form, NamedTarget, Target, Wrapping, Writer,
};
