//! The hosts that may be asked for an image, in the order of preference.

mod defaults;
mod host;

#[cfg(test)]
pub(super) use defaults::own_registry;
pub use defaults::{HostOptions, defaults};
pub use host::{Capabilities, Capability, ClientCertificate, RegistryHost, Source};
