//! All HTTP to registries: resolving a reference, reading manifests, streaming blobs in and out.
//!
//! | room or file | owns |
//! |---|---|
//! | `repository` | [`Registry`] and [`Repository`], the way in |
//! | `policy` | what a run may spend: retries, time, connections, memory |
//! | `context` | what all requests of a run share |
//! | `api` | what a registry is asked: references to descriptors, manifests, a login's proof; what it is brought |
//! | `ask` | the hosts of a repository, their health, who is asked next and when to give up |
//! | `blob` | a blob's bytes in order, over any failure and several connections, within bounds |
//! | `http` | one host: connections, TLS, proxies, redirects, bodies, and all of it in the log |
//! | `auth` | challenges, tokens, who to be |
//! | `probe` | all hosts of an image looked at, step by step |
//! | `fault`, `upload_fault`, `error` | what one host did wrong; what the operation came to |
//! | `hint`, `place` | what can be done about it; where the settings of a host stand |
//!
//! Bytes are handed on unverified but counted: a blob's stream yields exactly the promised number
//! of bytes or an error. Whoever stores them checks the digest, and calls
//! [`Repository::distrust`] when it differs. Knows no store and no terminal.

mod api;
mod ask;
mod auth;
mod blob;
mod context;
mod error;
mod fault;
mod hint;
mod http;
mod place;
mod policy;
mod probe;
mod repository;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod upload_fault;

pub use self::http::proxy::{ProxyChoice, proxy_of};
pub use self::http::tls::facts::{CertificateFacts, certificate_file};
pub use self::http::trace::TARGET as HTTP_TRACE_TARGET;
pub use api::resolver::Resolved;
pub use api::upload::destination::Destination;
pub use api::upload::session::{Begun, Session};
pub use api::upload::stream::{Opened, Stopped, Upload};
pub use auth::Action;
pub use blob::stream::BlobStream;
pub use error::{Error, HostFailures, SetupError};
pub use fault::{Fault, Phase, TlsFault};
pub use policy::{AddressOverride, Policy};
pub use probe::{Chooser, HostReport, Probe, Step, StepKind, Verdict};
pub use repository::{Registry, Repository};
pub use upload_fault::UploadFault;
