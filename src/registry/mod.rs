//! All HTTP to registries: resolving a reference, reading manifests, streaming blobs.
//!
//! | file | owns |
//! |---|---|
//! | `repository` | [`Registry`] and [`Repository`], the way in |
//! | `policy` | what a run may spend: retries, time, connections, memory |
//! | `host` | the hosts of one repository, their URLs, who may be asked for what |
//! | `endpoint` | one host: sending, redirects, the https → http fallback |
//! | `clients`, `tls`, `proxy` | connections |
//! | `auth` | challenges, tokens, who to be |
//! | `login` | proving a login |
//! | `retry`, `health`, `pace` | who is asked next, when, and when to give up |
//! | `resolver` | references to descriptors, manifests |
//! | `source`, `segment` | a blob's bytes from a byte on, over any failure |
//! | `parallel`, `assembly`, `window`, `throttle` | large blobs over several connections, within bounds |
//! | `stream` | [`BlobStream`], the bytes in order |
//! | `context` | what all requests of a run share |
//! | `content`, `ranges`, `envelope` | reading bodies, ranges and refusals |
//! | `trace` | requests and responses in the log, without secrets |
//! | `fault`, `client_error`, `hint`, `error` | what one host did wrong; what the operation came to |
//!
//! Bytes are handed on unverified but counted: a blob's stream yields exactly the promised number
//! of bytes or an error. Whoever stores them checks the digest, and calls
//! [`Repository::distrust`] when it differs. Knows no store and no terminal.

mod assembly;
mod auth;
mod client_error;
mod clients;
mod content;
mod context;
mod endpoint;
mod envelope;
mod error;
mod fault;
mod health;
mod hint;
mod host;
mod login;
mod pace;
mod parallel;
mod policy;
mod proxy;
mod ranges;
mod repository;
mod resolver;
mod retry;
mod segment;
mod source;
mod stream;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod throttle;
mod tls;
mod trace;
mod window;

pub use error::{Error, HostFailures, SetupError};
pub use fault::{Fault, Phase, TlsFault};
pub use policy::{AddressOverride, Policy};
pub use repository::{Registry, Repository};
pub use resolver::Resolved;
pub use stream::BlobStream;
pub use trace::TARGET as HTTP_TRACE_TARGET;
