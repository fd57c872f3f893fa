//! The images of an archive that comes by once, through standard input for instance.
//!
//! | file | owns |
//! |---|---|
//! | `intake` | the archive while it comes by: documents into memory, blobs to whoever waits for them, or else apart |
//! | `arrivals` | what has come by, and who waits for what |
//! | `source` | an image of it as a source |

mod arrivals;
mod intake;
mod source;

pub use intake::Intake;
pub use source::PassingSource;
