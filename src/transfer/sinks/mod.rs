//! The places that images go to.

mod containerd;
mod layout;

pub use containerd::{ContainerdSink, UnpackOptions};
pub use layout::LayoutSink;
