//! What the machine's owner configured, read once and handed on as plain values. Builds no clients.
//!
//! [`NodeConfig`] reads it all. A file that cannot be obeyed as a whole is an [`Error`] with its
//! place; what in it looks wrong is a [`Notice`](crate::failure::Notice).

mod authority;
pub mod containerd;
pub mod credentials;
pub mod docker;
mod document;
mod environment;
pub mod error;
pub mod hosts;
pub mod keychain;
pub mod kubelet;
mod named_file;
mod node;
pub mod providers;
mod rancher;
mod registries_yaml;
mod warning;
mod yaml;

pub use authority::{RegistryKey, authority_in};
pub use containerd::{
    ContainerdConfig, FlatFile, FlatSetting, FlatValue, Generation, VerifierSettings,
};
pub use credentials::{Credential, Login};
pub use docker::{Kept, LoginFile, LoginStore, StoreError};
pub use environment::Environment;
pub use error::{Error, Location};
pub use hosts::{
    Capabilities, Capability, ClientCertificate, Header, HostOptions, HostsConfig, RegistryHost,
    Rewrite, Source, defaults, find_directory, load_directory, own_registry,
};
pub use keychain::{Keychain, MAX_LOGINS};
pub use kubelet::Kubelet;
pub use node::{DEFAULT_HOSTS_DIRECTORIES, Locations, NodeConfig};
pub use providers::{Place as ProviderPlace, Providers};
pub use warning::WarningKind;
