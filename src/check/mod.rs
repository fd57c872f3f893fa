//! What an image consists of, and whether all of it is there and right.
//!
//! | file | owns |
//! |---|---|
//! | `anatomy` | what an image consists of, read from any source |
//! | `holdings` | what a namespace holds of an image beside its content: names, snapshots, leases, containers |
//! | `contrast` | what is different between two images |
//! | `checkup` | what the images of a namespace have in common, and what was seen of them |
//! | `examination` | what is looked at for each of them, in which order |
//! | `walk`, `shallow`, `deep` | documents, as far as they lead; what is seen without reading blobs; what is read |
//! | `descent` | where an image's content came from, whatever it is called |
//! | `finding` | what is wrong, and what would mend it |
//! | `mend`, `error` | mending that, and why it did not work |
//!
//! Prints nothing.

mod anatomy;
mod checkup;
mod contrast;
mod deep;
mod descent;
mod error;
mod examination;
mod finding;
mod holdings;
mod mend;
mod shallow;
mod walk;

pub use anatomy::{Anatomy, Listed, Part};
pub use checkup::{CheckOptions, Checkup, Report};
pub use contrast::{Change, Contrast};
pub use descent::{Lead, leads};
pub use error::Error;
pub use finding::{FileFinding, Finding, Remark};
pub use holdings::{Holder, Holdings, SnapshotState, User};
pub use mend::Origin;
