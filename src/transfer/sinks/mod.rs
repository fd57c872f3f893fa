//! The places that images go to.

mod archive;
mod containerd;
mod layout;
mod referrers;
mod registry;

pub use archive::ArchiveSink;
pub(super) use containerd::StagedBlob;
pub use containerd::{ContainerdSink, NodeRules, Staging, UnpackOptions};
pub use layout::LayoutSink;
pub use registry::RegistrySink;
