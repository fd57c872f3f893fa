//! The extractor as a whole, against real file systems.

mod equality;
mod formats;
mod hostile;
mod layer;
mod placement;
mod threads;
