//! What is brought to a registry: blobs and manifests, to one host. See
//! <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#push>.
//!
//! | file | owns |
//! |---|---|
//! | `destination` | the one host of a repository that takes uploads, and its small requests |
//! | `manifest` | manifests: whether one is there, and bringing it |
//! | `session` | an upload's session: where its requests go, how many bytes it has |
//! | `stream` | a large blob, in pieces or as a whole, over any break |
//! | `piece` | one request whose body is handed in while it is sent |
//! | `refusal` | what the registry has against it |

pub(in crate::registry) mod destination;
mod manifest;
mod piece;
mod refusal;
pub(in crate::registry) mod session;
pub(in crate::registry) mod stream;
