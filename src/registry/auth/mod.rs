//! Logging in to one host: from its challenge to an `Authorization` header.
//!
//! `challenge` reads what the host asks for, `token` talks to its token endpoint,
//! `authorizer` remembers tokens and lets only one task fetch each.

mod authorizer;
mod challenge;
mod token;

pub(crate) use authorizer::{Access, Authorizer, Grant, Standing};
pub(crate) use challenge::challenges;
