//! The places that images come from.

mod archive;
mod containerd;
mod layout;
mod passing;
mod registry;
pub(super) mod stored;
mod suspects;

pub use archive::ArchiveSource;
pub use containerd::ContainerdSource;
pub use layout::LayoutSource;
pub use passing::{Intake, PassingSource};
pub use registry::RegistrySource;
