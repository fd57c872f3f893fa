//! How much room could be had by removing what nobody uses, for whoever has too little.

use crate::containerd::{Client, Error};
use crate::images::{self, Doomed, Stock, Unused, Users};
use crate::reference::Reference;

/// What `pullctl rm --unused` would free; `None` where the daemon does not say. Where its CRI does not tell
/// what pods' sandboxes are made of, it is `sandbox`.
pub(super) async fn reclaimable_bytes(client: &Client, sandbox: Option<&str>) -> Option<u64> {
    match reclaimable(client, sandbox).await {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            tracing::debug!(%error, "what nobody uses is unknown");
            None
        }
    }
}

async fn reclaimable(client: &Client, sandbox: Option<&str>) -> Result<u64, Error> {
    let images = images::load(client).await?;
    let stock = Stock::read(client).await?;
    let users = Users::of(client, &stock).await?;
    let cri = client.cri();
    let live = cri.status().await?.and_then(|status| status.sandbox_image);
    let sandbox =
        live.or_else(|| sandbox.map(str::to_owned)).or_else(|| cri.default_sandbox_image());
    // As it is stored.
    let sandbox = sandbox.and_then(|name| name.parse::<Reference>().ok());
    let needed = sandbox.iter().map(ToString::to_string).collect();
    let unused = Unused { stored_before: None, needed }.of(&images, &users);
    let doomed = Doomed::all_of(unused);
    let names: Vec<_> = images.iter().flat_map(|image| image.names.clone()).collect();
    Ok(stock.freed(client, &names, doomed.names()).await?.total_bytes())
}
