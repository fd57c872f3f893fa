//! The places that images come from.

mod containerd;
mod layout;
mod registry;
mod stored;
mod suspects;

pub use containerd::ContainerdSource;
pub use layout::LayoutSource;
pub use registry::RegistrySource;
