//! The hosts that may be asked for an image, in the order of preference.
//!
//! Follows containerd's `hosts.toml`, read as strictly as it is written: what containerd logs and
//! passes over is an error here. See
//! <https://github.com/containerd/containerd/blob/main/docs/hosts.md>.

mod certificates;
mod configure;
mod defaults;
mod directory;
pub(super) mod duration;
mod host;
mod load;
mod rewrite;
mod settings;
mod url;

#[cfg(test)]
mod tests;

pub(super) use configure::{configure, configure_own};
pub use defaults::{HostOptions, defaults, own_registry};
pub use directory::find as find_directory;
pub(super) use directory::without_port;
pub use host::{Capabilities, Capability, ClientCertificate, Header, RegistryHost, Source};
pub use load::{HostsConfig, load, load_directory};
pub use rewrite::Rewrite;
pub(super) use settings::{HostSettings, header};
pub(super) use url::HostUrl;
