//! Platforms: parsing, normalising and matching, after <https://github.com/containerd/platforms>.
//!
//! Which platforms an image has is read elsewhere; here is only which of them runs where.

mod description;
mod matcher;
mod selector;

pub use description::Platform;
pub use matcher::Matcher;
pub use selector::PlatformError;

#[cfg(test)]
mod tests;
