//! What pulls that ended early have left in a namespace: bytes that a later pull of the same image
//! goes on with, and that nothing else is of use for. Leases of ours hold them until they expire.

use jiff::Timestamp;

use crate::containerd::{Client, Error, Lease, Resource};

/// What one ended run holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The lease.
    pub lease: String,
    /// The images that it is kept for.
    pub images: Vec<String>,
    /// When it goes by itself.
    pub expires: Option<Timestamp>,
    /// Blobs that are complete.
    pub blobs: usize,
    /// Blobs that are not.
    pub unfinished: usize,
    /// Layers that are unpacked.
    pub snapshots: usize,
    /// Size of what there is of the blobs. Some may belong to images that have names, and stay then.
    pub size_bytes: u64,
}

/// What ended runs hold in the client's namespace, the first to expire first. What a run holds that is
/// still going on is not left over.
///
/// # Errors
/// When the daemon refuses.
pub async fn leftovers(client: &Client) -> Result<Vec<Leftover>, Error> {
    let leases = client.leases();
    let mut found = Vec::new();
    for lease in leases.list().await?.into_iter().filter(Lease::is_left_behind) {
        match leases.resources(&lease.id).await {
            // Of a run that ended before it had written anything. It goes in time.
            Ok(resources) if resources.is_empty() && !lease.has_expired() => {}
            Ok(resources) => found.push(leftover(client, &lease, &resources).await?),
            // It expired between the two questions.
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_by(|a, b| (a.expires, &a.images).cmp(&(b.expires, &b.images)));
    Ok(found)
}

async fn leftover(
    client: &Client,
    lease: &Lease,
    resources: &[Resource],
) -> Result<Leftover, Error> {
    let images = lease.images().unwrap_or_default();
    let mut leftover = Leftover {
        lease: lease.id.clone(),
        images: images.into_iter().map(str::to_owned).collect(),
        expires: lease.expires(),
        blobs: 0,
        unfinished: 0,
        snapshots: 0,
        size_bytes: 0,
    };
    let content = client.content();
    for Resource { kind, name } in resources {
        let size = match kind.as_str() {
            Resource::CONTENT => {
                let Ok(digest) = name.parse() else { continue };
                let Some(info) = content.info(&digest).await? else { continue };
                leftover.blobs += 1;
                info.size
            }
            Resource::INGESTS => {
                let Some(status) = content.status(name).await? else { continue };
                leftover.unfinished += 1;
                status.offset
            }
            _ => {
                leftover.snapshots += 1;
                0
            }
        };
        leftover.size_bytes = leftover.size_bytes.saturating_add(size);
    }
    Ok(leftover)
}

/// Ends what `leftovers` hold: unfinished blobs are deleted, the rest is freed unless a named image has
/// it too. The room is free when this returns.
///
/// # Errors
/// When the daemon refuses.
pub async fn end(client: &Client, leftovers: &[Leftover]) -> Result<(), Error> {
    let leases = client.leases();
    let content = client.content();
    for (position, leftover) in leftovers.iter().enumerate() {
        match leases.resources(&leftover.lease).await {
            Ok(resources) => {
                for ingest in resources.iter().filter(|resource| resource.kind == Resource::INGESTS)
                {
                    content.abort(&ingest.name).await?;
                }
            }
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        // The daemon frees the room once, before the last call returns.
        leases.delete(&leftover.lease, position + 1 == leftovers.len()).await?;
    }
    Ok(())
}
