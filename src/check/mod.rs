//! What an image consists of, and whether all of it is there and right.
//!
//! | file | owns |
//! |---|---|
//! | `anatomy` | what an image consists of, read from any source |
//! | `holdings` | what a namespace holds of an image beside its content: names, snapshots, leases, containers |
//! | `contrast` | what is different between two images |
//!
//! Prints nothing.

mod anatomy;
mod contrast;
mod holdings;

pub use anatomy::{Anatomy, Listed, Part};
pub use contrast::{Change, Contrast};
pub use holdings::{Holder, Holdings, SnapshotState, User};
