//! How the sources become a program: what is generated on the way, and what the program then knows
//! of itself.
//!
//! | file | owns |
//! |---|---|
//! | `entropy` | TLS begins without measuring the processor |
//! | `licences` | the texts of the libraries' licences, for releases |
//! | `order` | functions that a pull passes through lie side by side |
//! | `protoc` | bindings are generated without protoc |
//! | `version` | commit, target and libraries, in a checkout and out of it |
#![expect(clippy::unwrap_used, reason = "what can't be done fails the test")]

mod entropy;
mod licences;
mod order;
mod protoc;
mod version;

use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
