//! What the machine's owner configured, read once and handed on as plain values. Builds no clients.

mod authority;
pub mod credentials;
mod document;
pub mod error;
pub mod hosts;
mod warning;

pub use authority::RegistryKey;
pub use credentials::{Credential, Keychain};
pub use error::{Error, Location};
pub use hosts::{
    Capabilities, Capability, ClientCertificate, HostOptions, HostsConfig, RegistryHost, Source,
    defaults,
};
pub use warning::{Warning, WarningKind};
