//! What is asked of a registry: a reference resolved, a manifest read, tags and referrers listed, a
//! login proved, and what is brought to it.

pub(super) mod document;
pub(super) mod login;
pub(super) mod manifest;
mod pages;
pub(super) mod referrers;
pub(super) mod resolver;
pub(super) mod tags;
pub(super) mod upload;
