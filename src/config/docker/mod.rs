//! Logins as docker, podman and Kubernetes keep them, read and written.
//!
//! One format under several names: docker's `config.json`, podman's `auth.json`, and the
//! `.dockerconfigjson` of a Kubernetes Secret.

mod decode;
mod helper;
mod key;
mod login_file;
mod replace;
mod secret;
mod store;
mod wildcard;

#[cfg(test)]
mod tests;

pub(super) use decode::Members;
pub use helper::{Helper, HelperError};
pub use login_file::LoginFile;
pub use store::{Kept, LoginStore, StoreError};
