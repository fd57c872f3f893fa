//! What the machine's owner configured, read once and handed on as plain values. Builds no clients.

mod authority;
pub mod credentials;
pub mod error;
pub mod hosts;

pub use authority::RegistryKey;
pub use credentials::{Credential, Keychain};
pub use error::{Error, Location};
pub use hosts::{
    Capabilities, Capability, ClientCertificate, HostOptions, RegistryHost, Source, defaults,
};
