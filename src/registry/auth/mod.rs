//! Logging in to one host: from its challenge to an `Authorization` header.
//!
//! `access` says what a request wants to do, `challenge` reads what the host asks for, `token` talks to its token endpoint,
//! `authorizer` remembers tokens and lets only one task fetch each, `grant` is what comes out,
//! `logins` says who to be instead where a login is refused.

mod access;
mod authorizer;
mod challenge;
mod grant;
mod logins;
mod token;

pub(crate) use access::Access;
pub use access::Action;
pub(crate) use authorizer::Authorizer;
pub(crate) use challenge::{Bearer, Challenge, challenges};
pub(crate) use grant::{Grant, Standing};
pub(crate) use token::once as token_once;
