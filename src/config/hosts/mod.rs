//! The hosts that may be asked for an image, in the order of preference.
//!
//! Follows containerd's `hosts.toml`, read as strictly as it is written: what containerd logs and
//! passes over is an error here. See
//! <https://github.com/containerd/containerd/blob/main/docs/hosts.md>.

mod certificates;
mod defaults;
mod directory;
mod duration;
mod host;
mod load;
mod settings;
mod url;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use defaults::own_registry;
pub use defaults::{HostOptions, defaults};
pub use host::{Capabilities, Capability, ClientCertificate, RegistryHost, Source};
pub use load::{HostsConfig, load};
