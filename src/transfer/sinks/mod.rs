//! The places that images go to.

mod archive;
mod containerd;
mod layout;

pub use archive::ArchiveSink;
pub use containerd::{ContainerdSink, UnpackOptions};
pub use layout::LayoutSink;
