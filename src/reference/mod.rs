//! Image references as docker and containerd write them, parsed and normalised.
//!
//! The grammar is that of <https://github.com/distribution/reference>, its surprises included
//! (`localhost:5000` is an image with the tag `5000`). What is refused is refused with the rule that
//! it breaks, and where the intention is plain, with the form that would have been accepted.

mod authority;
mod error;
mod grammar;
mod rule;
#[cfg(test)]
mod tests;

pub use authority::{split_port, without_brackets};
pub use error::ReferenceError;
pub(crate) use grammar::without_user_info;
pub use grammar::{DOCKER_HUB, Reference};
pub use rule::ReferenceRule;
