//! What the machine's owner configured, read once and handed on as plain values. Builds no clients.

pub mod credentials;
pub mod hosts;

pub use credentials::{Credential, Keychain};
pub use hosts::{Capabilities, Capability, ClientCertificate, RegistryHost, Source};
