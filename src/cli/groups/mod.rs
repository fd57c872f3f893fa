//! Flags that commands have in common: a group a file, with what its flags come to.

mod access;
mod download;
mod global;
mod hosts;
mod image;
mod listed;
mod logins;
mod output;
mod place;
mod probe;
mod registry;
mod rounds;
mod store;
mod transport;
mod upload;
mod verifiers;

pub use access::AccessArgs;
pub use download::DownloadArgs;
pub(super) use global::DEFAULT_NAMESPACE;
pub use global::GlobalArgs;
pub use hosts::HostsArgs;
pub use image::ImageArgs;
pub use listed::ListArgs;
pub use logins::LoginsArgs;
pub use output::OutputArgs;
pub(super) use place::Configured;
pub use place::PlaceArgs;
pub use probe::ProbeArgs;
pub(super) use registry::Located;
pub use registry::RegistryArgs;
pub use rounds::RoundsArgs;
pub use store::{StoreArgs, UnpackWay};
pub use transport::TransportArgs;
pub use upload::UploadArgs;
pub use verifiers::VerifierArgs;
