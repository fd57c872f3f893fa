//! The places that images go to.

mod archive;
mod containerd;
mod layout;
mod registry;

pub use archive::ArchiveSink;
pub use containerd::{ContainerdSink, UnpackOptions};
pub use layout::LayoutSink;
pub use registry::RegistrySink;
