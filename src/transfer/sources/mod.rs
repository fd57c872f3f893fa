//! The places that images come from.

mod containerd;
mod registry;
mod suspects;

pub use containerd::ContainerdSource;
pub use registry::{PullRequest, RegistrySource};
