//! What the pull of one small image waits for: two round trips to its registry and the daemon's calls, one
//! after the other where one needs what another brings, side by side otherwise. What it leaves is a pull's:
//! manifest, configuration and layer, their files in a snapshot, and the names that the kubelet goes by.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::try_join_all;
use pullctl::containerd::labels::{Labels, image_names};
use pullctl::containerd::{Client, Committed, ingest_reference};
use pullctl::oci::{Digest, Hasher};
use tokio::task::spawn_blocking;
use tokio::try_join;

use crate::daemon::Daemon;
use crate::floor::{Error, LIFETIME, active, ask, descriptor, in_namespace, prepare};
use crate::memory;
use crate::publish::Published;
use crate::unpacked::Layer;

/// Does it once for `image` at `authority`, then has the daemon forget all of it; files are left in `folder`.
pub(crate) fn measure(
    daemon: &Daemon,
    folder: &Path,
    authority: &str,
    image: &Published,
) -> Result<Duration, String> {
    in_namespace(daemon, async |namespace| pull(daemon, namespace, folder, authority, image).await)
}

async fn pull(
    daemon: &Daemon,
    namespace: &str,
    folder: &Path,
    authority: &str,
    image: &Published,
) -> Result<Duration, Error> {
    let [(layer, _)] = &image.layers[..] else { return Err("one layer is pulled".into()) };
    let registry = reqwest::Client::new();
    let fetch = async |url: String| Ok::<_, Error>(ask(&registry, &url).await?.bytes().await?);
    let parsed = image.reference(authority).parse()?;
    let names = image_names(&parsed, &image.manifest.digest, &image.config.parse()?);
    let (key, files) = (active(namespace), folder.join("files"));
    let none = Labels::new();
    rustix::fs::sync();
    memory::fetch();

    let started = Instant::now();
    let leased = async {
        let client = Client::connect(&daemon.socket(), namespace).await?;
        client.leases().create(namespace, LIFETIME, &none).await?;
        Ok(client.with_lease(namespace))
    };
    let (client, manifest) = try_join!(leased, fetch(image.manifest_url(authority)))?;
    let (content, snapshots, images) =
        (client.content(), client.snapshots("overlayfs"), client.images());
    let (config, layer, ()) = try_join!(
        fetch(image.blob_url(authority, &image.config)),
        fetch(image.blob_url(authority, layer)),
        prepare(&snapshots, &key, None),
    )?;
    let put = async |bytes: Bytes| {
        let blob = descriptor("application/octet-stream", &bytes);
        content.put(&ingest_reference(&blob), &blob, bytes, Labels::new()).await?;
        Ok(())
    };
    let packed = layer.clone();
    let unpacked = async {
        spawn_blocking(move || unpack(&packed, &files)).await??;
        match snapshots.commit(namespace, &key, None, &none).await? {
            Committed::Done => Ok(()),
            Committed::Exists => Err(Error::from("the snapshot was there")),
        }
    };
    try_join!(put(manifest), put(config), put(layer), unpacked)?;
    let name = async |name: &String| images.put(name, &image.manifest, &none, None).await;
    let (asked_for, others) = names.split_first().ok_or("the image has no name")?;
    try_join_all(others.iter().map(&name)).await?;
    name(asked_for).await?;
    client.leases().delete(namespace, false).await?;
    Ok(started.elapsed())
}

/// Inflates the layer, computes its diff ID and writes its files.
fn unpack(packed: &[u8], files: &Path) -> std::io::Result<Digest> {
    let layer = Layer::inflated(Default::default(), packed.to_vec())?;
    fs::create_dir_all(files)?;
    layer.write(&files.join("0"))?;
    let mut hasher = Hasher::new();
    hasher.update(&layer.tar);
    Ok(hasher.finish())
}
