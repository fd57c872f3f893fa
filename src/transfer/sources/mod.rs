//! The places that images come from.

mod registry;
mod suspects;

pub use registry::{PullRequest, RegistrySource};
