//! What is asked of a registry: a reference resolved, a manifest read, a login proved.

pub(super) mod login;
pub(super) mod resolver;
