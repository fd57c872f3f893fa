//! Images: which entries of an index are wanted; what a containerd namespace has, under which names,
//! and removing it.
//!
//! | file | owns |
//! |---|---|
//! | `choose` | which entries of an index are wanted |
//! | `inventory` | which names stand for the same image, and what it weighs |
//! | `condition` | platform, age, unpacked size, and whether all of an image is there |
//! | `names` | what a name is, and which of an image's names go together |
//! | `lookup` | an image by what was typed |
//! | `tag` | further names for an image |
//! | `leftovers` | what ended pulls hold, and ending that |
//! | `pins` | keeping the kubelet's garbage collection away from an image |
//! | `stock` | all that a namespace holds, and what of it goes with names |
//! | `unused` | which images nobody uses |
//! | `removal` | what goes when an image is removed |
//! | `error` | why that did not work |
//!
//! Knows no registry, and prints nothing.

mod choose;
mod condition;
mod error;
mod inventory;
mod leftovers;
mod lookup;
mod names;
mod pins;
mod removal;
mod stock;
mod tag;
mod unused;

pub use choose::{
    Candidate, Chosen, Entry, MAX_MANIFESTS, NoPlatform, PlatformChoice, choose, entry_for,
};
pub use condition::{Condition, conditions};
pub use error::Error;
pub use inventory::{StoredImage, load};
pub use leftovers::{Leftover, end, leftovers};
pub use lookup::{Match, lookup, not_found};
pub use names::{NameKind, is_found_by_kubelet};
pub use pins::{pin, unpin};
pub use removal::Doomed;
pub use stock::{Freed, Stock};
pub use tag::tag;
pub use unused::{Unused, Users};
