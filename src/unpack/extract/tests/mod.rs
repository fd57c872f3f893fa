//! The extractor as a whole, against real file systems.

mod equality;
mod formats;
mod hostile;
pub(super) mod layer;
mod limits;
mod placement;
mod threads;
