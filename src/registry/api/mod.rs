//! What is asked of a registry: a reference resolved, a manifest read, tags and referrers listed, a
//! login proved.

mod document;
pub(super) mod login;
pub(super) mod manifest;
pub(super) mod resolver;
