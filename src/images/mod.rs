//! The images of one containerd namespace: what there is, under which names, and removing it.
//!
//! | file | owns |
//! |---|---|
//! | `inventory` | which names stand for the same image, and what it weighs |
//! | `names` | what a name is, and which of an image's names go together |
//! | `removal` | what goes when an image is removed |
//! | `error` | why that did not work |
//!
//! Knows no registry, and prints nothing.

mod error;
mod inventory;
mod names;
mod removal;

pub use error::Error;
pub use inventory::{StoredImage, load};
pub use names::NameKind;
pub use removal::Doomed;
