//! Who turns a layer into a snapshot.

pub mod extract;
pub mod inflate;
