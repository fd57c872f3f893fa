//! The image that pods' sandboxes are made of on this node, the pause image: as its CRI tells, as
//! containerd's configuration says, or as this containerd has it by default.

use super::{Error, Session};
use crate::config::{Environment, Generation, Locations, NodeConfig};
use crate::containerd::Client;
use crate::reference::Reference;

/// The node's configuration as `client` reads it, or as `locations` say.
///
/// # Errors
/// A file that cannot be obeyed.
pub(super) fn node(client: &Client, locations: Locations) -> Result<NodeConfig, Error> {
    let generation = match client.major_version() {
        None => Generation::Unknown,
        Some(..=1) => Generation::One,
        Some(_) => Generation::Two,
    };
    Ok(NodeConfig::read(&Locations { generation, ..locations }, &Environment::of_process())?)
}

/// The image, which is needed. `node` is what containerd is told.
///
/// # Errors
/// [`Error::NoSandbox`]; when there is no daemon.
pub(super) async fn needed(node: &NodeConfig, session: &Session<'_>) -> Result<Reference, Error> {
    let client = session.connect().await?;
    let configured =
        || Ok(node.containerd.as_ref().and_then(|config| config.sandbox_image.clone()));
    image(&client, configured).await?.ok_or(Error::NoSandbox)
}

/// The image, where it can be told. containerd's configuration is read where the CRI does not tell,
/// which it does not from containerd 2 on.
///
/// # Errors
/// When the daemon refuses, or `node` does.
pub(super) async fn image(
    client: &Client,
    node: impl FnOnce() -> Result<Option<String>, Error>,
) -> Result<Option<Reference>, Error> {
    let live = client.cri().status().await?.and_then(|status| status.sandbox_image);
    let name = match live {
        Some(name) => Some(name),
        None => node()?.or_else(|| client.cri().default_sandbox_image()),
    };
    Ok(name.map(|name| name.parse()).transpose()?)
}
