//! What no client gets around that leaves an image's content and snapshots behind: the registry's
//! answers and the daemon's calls for its layers. No file of a layer is written, nothing is inflated,
//! and neither manifest, configuration nor name is asked for or stored.

use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use pullctl::containerd::labels::Labels;
use pullctl::containerd::{self, Client, Committed, Prepared, ingest_reference};
use pullctl::oci::{Descriptor, Digest, MediaType};

use crate::daemon::Daemon;
use crate::support::{block_on, unique};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Blobs that are stored at the same time, as many as a pull fetches.
const AT_ONCE: usize = 4;

/// How long the lease would live that holds what is made here; it is removed at once.
const LIFETIME: Duration = Duration::from_secs(3600);

/// Fetches what is at `urls` and stores it, and beside that makes as many empty snapshots, one on
/// another; then has the daemon forget all of it.
pub(crate) fn measure(daemon: &Daemon, urls: &[String]) -> Result<Duration, String> {
    let namespace = unique("bench");
    let elapsed = block_on(calls(daemon, &namespace, urls)).map_err(|error| error.to_string());
    daemon.forget(&namespace)?;
    elapsed
}

async fn calls(daemon: &Daemon, namespace: &str, urls: &[String]) -> Result<Duration, Error> {
    let client = Client::connect(&daemon.socket(), namespace).await?;
    client.leases().create(namespace, LIFETIME, &Labels::new()).await?;
    let client = client.with_lease(namespace);
    rustix::fs::sync();
    let started = Instant::now();
    let stack = async { stack(&client, urls.len()).await.map_err(Error::from) };
    tokio::try_join!(store(&client, urls), stack)?;
    Ok(started.elapsed())
}

async fn store(client: &Client, urls: &[String]) -> Result<(), Error> {
    // The client insists on one even where nothing is encrypted; it may be there from the last pair.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let registry = reqwest::Client::new();
    let blobs = urls.iter().map(async |url| {
        let bytes = registry.get(url).send().await?.error_for_status()?.bytes().await?;
        let media_type = MediaType::new("application/vnd.oci.image.layer.v1.tar+gzip");
        let blob = Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64);
        let reference = ingest_reference(&blob);
        client.content().put(&reference, &blob, bytes, Labels::new()).await?;
        Ok(())
    });
    stream::iter(blobs).buffer_unordered(AT_ONCE).try_collect().await
}

async fn stack(client: &Client, layers: usize) -> Result<(), containerd::Error> {
    let snapshots = client.snapshots("overlayfs");
    let mut parent = None;
    for _ in 0..layers {
        let name = unique("layer");
        let key = format!("extract-{name}");
        let prepared = snapshots.prepare(&key, parent.as_deref(), &Labels::new()).await?;
        debug_assert!(matches!(prepared, Prepared::Mounts(_)), "the name is new");
        let committed = snapshots.commit(&name, &key, None, &Labels::new()).await?;
        debug_assert!(matches!(committed, Committed::Done), "the name is new");
        parent = Some(name);
    }
    Ok(())
}
