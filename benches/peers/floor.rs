//! The daemon's calls for an image's layers and nothing else: no registry, no file of a layer. No
//! client that leaves content and snapshots behind gets around them.

use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use pullctl::containerd::labels::Labels;
use pullctl::containerd::{Client, Committed, Error, Prepared, ingest_reference};
use pullctl::oci::{Descriptor, Digest, MediaType};

use crate::daemon::Daemon;
use crate::support::{block_on, unique};

/// Blobs that are stored at the same time, as many as a pull fetches.
const AT_ONCE: usize = 4;

/// How long the lease would live that holds what is made here; it is removed at once.
const LIFETIME: Duration = Duration::from_secs(3600);

/// Stores `layers` blobs of a few bytes, and beside that makes as many empty snapshots, one on
/// another; then has the daemon forget all of it.
pub(crate) fn measure(daemon: &Daemon, layers: usize) -> Result<Duration, String> {
    let namespace = unique("bench");
    let elapsed = block_on(calls(daemon, &namespace, layers)).map_err(|error| error.to_string());
    daemon.forget(&namespace)?;
    elapsed
}

async fn calls(daemon: &Daemon, namespace: &str, layers: usize) -> Result<Duration, Error> {
    let client = Client::connect(&daemon.socket(), namespace).await?;
    client.leases().create(namespace, LIFETIME, &Labels::new()).await?;
    let client = client.with_lease(namespace);
    rustix::fs::sync();
    let started = Instant::now();
    tokio::try_join!(store(&client, layers), stack(&client, layers))?;
    Ok(started.elapsed())
}

async fn store(client: &Client, layers: usize) -> Result<(), Error> {
    let blobs = (0..layers).map(|_| unique("blob")).map(async |text| {
        let digest = Digest::of(text.as_bytes());
        let media_type = MediaType::new("application/vnd.oci.image.layer.v1.tar+gzip");
        let blob = Descriptor::new(media_type, digest, text.len() as u64);
        let reference = ingest_reference(&blob);
        client.content().put(&reference, &blob, text.into(), Labels::new()).await
    });
    stream::iter(blobs).buffer_unordered(AT_ONCE).try_collect().await
}

async fn stack(client: &Client, layers: usize) -> Result<(), Error> {
    let snapshots = client.snapshots("overlayfs");
    let mut parent = None;
    for _ in 0..layers {
        let name = unique("layer");
        let key = format!("extract-{name}");
        let prepared = snapshots.prepare(&key, parent.as_deref(), &Labels::new()).await?;
        debug_assert!(matches!(prepared, Prepared::Mounts(_)), "the name is new");
        let committed = snapshots.commit(&name, &key, &Labels::new()).await?;
        debug_assert!(matches!(committed, Committed::Done), "the name is new");
        parent = Some(name);
    }
    Ok(())
}
