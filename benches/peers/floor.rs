//! What no client gets around that leaves images behind, each by the fastest there is: the registry's
//! answers, the digests of what came, the daemon's calls that store it and make a snapshot of each layer,
//! inflating the layers (by igzip or zstd), their diff IDs, their files with the times that they have, and
//! a name for each image. Less than a pull: owners and modes are left alone, nothing is parsed, large blobs
//! are no more than a file, and all of it begins at once. Nothing waits for anything but a snapshot for its
//! parent, where the daemon can put it there later no sooner than when it is committed.

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::io;
use std::num::NonZero;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use pullctl::containerd::labels::Labels;
use pullctl::containerd::{Client, Committed, Prepared, Snapshots, ingest_reference};
use pullctl::oci::{Descriptor, Digest, Hasher, MediaType};
use reqwest::Response;
use reqwest::header::{ACCEPT, RANGE};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::daemon::Daemon;
use crate::memory;
use crate::publish::Published;
use crate::support::image::{DOCKER_MANIFEST, OCI_MANIFEST};
use crate::support::{block_on, unique};
use crate::unpacked::Layer;

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Answers that are awaited, and calls of the daemon of one kind, at the same time.
const AT_ONCE: usize = 8;

/// Largest blob that is given to the daemon, in bytes. Of larger ones, there is no more than a file.
const MAX_STORED: u64 = 4 << 20;

/// How long the lease would live that holds what is made here; it is removed at once.
pub(crate) const LIFETIME: Duration = Duration::from_secs(3600);

/// What is to be had of the images.
#[derive(Default)]
struct Wanted {
    /// Manifests, configurations and layers.
    blobs: Vec<Blob>,
    /// Names and manifests of the images.
    names: Vec<(String, Descriptor)>,
    /// Snapshots by how many are below them: name and parent.
    levels: Vec<Vec<(String, Option<String>)>>,
    layers: Vec<Arc<Layer>>,
}

/// Something to be fetched.
struct Blob {
    url: String,
    /// Its size in bytes, if it is [large](MAX_STORED).
    large: Option<u64>,
}

/// Does that once for `images` at `authority`, a large blob over so many `connections`, then has the daemon
/// forget all of it; files are left in `folder`.
pub(crate) fn measure(
    daemon: &Daemon,
    folder: &Path,
    authority: &str,
    images: &[Published],
    connections: u64,
) -> Result<Duration, String> {
    in_namespace(daemon, async |namespace| {
        pull(daemon, namespace, folder, authority, images, connections).await
    })
}

/// How long `work` took by its own account in a namespace of `daemon`, which then forgets all of it.
pub(crate) fn in_namespace(
    daemon: &Daemon,
    work: impl AsyncFnOnce(&str) -> Result<Duration, Error>,
) -> Result<Duration, String> {
    let namespace = unique("bench");
    let elapsed = block_on(work(&namespace));
    let forgotten = daemon.forget(&[&namespace]);
    let elapsed = elapsed.map_err(|error| error.to_string())?;
    forgotten.map(|()| elapsed)
}

async fn pull(
    daemon: &Daemon,
    namespace: &str,
    folder: &Path,
    authority: &str,
    images: &[Published],
    connections: u64,
) -> Result<Duration, Error> {
    let client = Client::connect(&daemon.socket(), namespace).await?;
    client.leases().create(namespace, LIFETIME, &Labels::new()).await?;
    let client = client.with_lease(namespace);
    let snapshots = client.snapshots("overlayfs");
    let rebases = snapshots.can_rebase().await?;
    // The client insists on one even where nothing is encrypted; it may be there from the last pair.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let wanted = look_at(authority, images, folder).await?;
    // By the first blob it is found out how they are stored.
    let first = Bytes::from(unique("first"));
    let blob = descriptor("text/plain", &first);
    client.content().put(&ingest_reference(&blob), &blob, first, Labels::new()).await?;
    let registry = reqwest::Client::new();
    rustix::fs::sync();
    memory::fetch();

    let started = Instant::now();
    tokio::try_join!(
        store(&client, &registry, folder, &wanted.blobs, connections),
        unpack(folder, wanted.layers),
        stack(&snapshots, &wanted.levels, rebases),
        name(&client, &wanted.names),
    )?;
    Ok(started.elapsed())
}

/// Finds out what there is to be had; none of this is measured.
async fn look_at(authority: &str, images: &[Published], folder: &Path) -> Result<Wanted, Error> {
    // Not the client that is measured, which finds no connection open.
    let registry = reqwest::Client::new();
    let mut wanted = Wanted::default();
    let mut known: HashMap<Vec<&str>, String> = HashMap::new();
    for image in images {
        let config = image.blob_url(authority, &image.config);
        let documents = [image.manifest_url(authority), config];
        wanted.blobs.extend(documents.map(|url| Blob { url, large: None }));
        wanted.names.push((image.reference(authority), image.manifest.clone()));

        let digests: Vec<&str> = image.layers.iter().map(|(digest, _)| digest.as_str()).collect();
        let mut parent = None;
        for (position, (digest, size)) in image.layers.iter().enumerate() {
            let chain = digests[..=position].to_vec();
            if !known.contains_key(&chain) {
                let url = image.blob_url(authority, digest);
                let packed = folder.join(format!("packed-{}", known.len()));
                let blob = ask(&registry, &url).await?.bytes().await?;
                fs::write(&packed, &blob)?;
                wanted.layers.push(Arc::new(Layer::inflated(packed, blob.to_vec())?));
                let large = Some(*size).filter(|size| *size > MAX_STORED);
                wanted.blobs.push(Blob { url, large });
                let snapshot = unique("layer");
                wanted.levels.resize_with(wanted.levels.len().max(position + 1), Vec::new);
                wanted.levels[position].push((snapshot.clone(), parent));
                known.insert(chain.clone(), snapshot);
            }
            parent = known.get(&chain).cloned();
        }
    }
    Ok(wanted)
}

pub(crate) async fn ask(registry: &reqwest::Client, url: &str) -> Result<Response, Error> {
    let accepted = format!("{DOCKER_MANIFEST}, {OCI_MANIFEST}");
    let answer = registry.get(url).header(ACCEPT, accepted).send().await?;
    Ok(answer.error_for_status()?)
}

pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor::new(MediaType::new(media_type), Digest::of(bytes), bytes.len() as u64)
}

async fn store(
    client: &Client,
    registry: &reqwest::Client,
    folder: &Path,
    blobs: &[Blob],
    connections: u64,
) -> Result<(), Error> {
    let stored = blobs.iter().enumerate().map(async |(position, Blob { url, large })| {
        let (client, registry, url) = (client.clone(), registry.clone(), url.clone());
        let file = folder.join(format!("blob-{position}"));
        let task = match *large {
            Some(size) => tokio::spawn(async move {
                let file = Arc::new(fs::File::create(file)?);
                let share = size.div_ceil(connections);
                let parts = (0..connections).map(|number| {
                    let part = number * share..size.min((number + 1) * share);
                    tokio::spawn(keep(registry.clone(), url.clone(), part, size, Arc::clone(&file)))
                });
                try_join_all(parts).await?.into_iter().collect()
            }),
            None => tokio::spawn(async move { give(&client, ask(&registry, &url).await?).await }),
        };
        task.await?
    });
    stream::iter(stored).buffer_unordered(AT_ONCE).try_collect().await
}

/// Hashes `part` of a blob of `size` bytes and writes it to `file` while it comes in.
async fn keep(
    registry: reqwest::Client,
    url: String,
    part: Range<u64>,
    size: u64,
    file: Arc<fs::File>,
) -> Result<(), Error> {
    let mut request = registry.get(url);
    if part != (0..size) {
        request = request.header(RANGE, format!("bytes={}-{}", part.start, part.end - 1));
    }
    let mut answer = request.send().await?.error_for_status()?;
    let (mut position, mut hasher) = (part.start, Hasher::new());
    while let Some(chunk) = answer.chunk().await? {
        hasher.update(&chunk);
        file.write_all_at(&chunk, position)?;
        position += chunk.len() as u64;
    }
    black_box(hasher.finish());
    match position == part.end {
        true => Ok(()),
        false => Err(Error::from(format!("bytes up to {position} of {part:?}"))),
    }
}

/// Gives a blob to the daemon.
async fn give(client: &Client, answer: Response) -> Result<(), Error> {
    let bytes = answer.bytes().await?;
    let blob = descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &bytes);
    client.content().put(&ingest_reference(&blob), &blob, bytes, Labels::new()).await?;
    Ok(())
}

/// Makes empty snapshots, one on another. Of a daemon that `rebases` them, all may be begun before any
/// parent is there.
async fn stack(
    snapshots: &Snapshots,
    levels: &[Vec<(String, Option<String>)>],
    rebases: bool,
) -> Result<(), Error> {
    let mut begun = HashMap::new();
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    for (name, _) in levels.iter().flatten().filter(|_| rebases) {
        let (snapshots, permits) = (snapshots.clone(), Arc::clone(&permits));
        let key = active(name);
        let preparing = tokio::spawn(async move {
            let _permit = permits.acquire().await?;
            prepare(&snapshots, &key, None).await
        });
        begun.insert(name, preparing);
    }
    for level in levels {
        let made = level.iter().map(|(name, parent)| {
            let preparing = begun.remove(name);
            async move {
                let (key, parent) = (active(name), parent.as_deref());
                match preparing {
                    Some(preparing) => preparing.await??,
                    None => prepare(snapshots, &key, parent).await?,
                }
                match snapshots.commit(name, &key, parent, &Labels::new()).await? {
                    Committed::Done => Ok(()),
                    Committed::Exists => Err(Error::from(format!("snapshot {name} was there"))),
                }
            }
        });
        stream::iter(made).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    }
    Ok(())
}

/// The key of the snapshot that becomes `name`.
pub(crate) fn active(name: &str) -> String {
    format!("extract-{name}")
}

pub(crate) async fn prepare(
    snapshots: &Snapshots,
    key: &str,
    parent: Option<&str>,
) -> Result<(), Error> {
    match snapshots.prepare(key, parent, &Labels::new()).await? {
        Prepared::Mounts(_) => Ok(()),
        _ => Err(Error::from(format!("snapshot {key} was there"))),
    }
}

async fn name(client: &Client, names: &[(String, Descriptor)]) -> Result<(), Error> {
    let named = names.iter().map(async |(name, target)| {
        Ok(client.images().put(name, target, &Labels::new(), None).await?)
    });
    stream::iter(named).buffer_unordered(AT_ONCE).try_collect().await
}

/// Inflates the layers, hashes them and writes their files, on all processors.
async fn unpack(folder: &Path, layers: Vec<Arc<Layer>>) -> Result<(), Error> {
    let mut shares = vec![Vec::new(); available_parallelism().map_or(1, NonZero::get)];
    let bytes = |share: &Vec<Arc<Layer>>| share.iter().map(|layer| layer.tar.len()).sum::<usize>();
    for layer in layers {
        if let Some(smallest) = shares.iter_mut().min_by_key(|share| bytes(share)) {
            smallest.push(layer);
        }
    }
    let mut work = Vec::new();
    for (number, share) in shares.into_iter().enumerate() {
        let root = folder.join(format!("files-{number}"));
        let (inflated, hashed) = (share.clone(), share.clone());
        work.push(spawn_blocking(move || inflate(&inflated)));
        work.push(spawn_blocking(move || {
            for layer in hashed {
                black_box(Digest::of(&layer.tar));
            }
            Ok(())
        }));
        work.push(spawn_blocking(move || {
            fs::create_dir(&root)?;
            let mut numbered = share.iter().enumerate();
            numbered.try_for_each(|(place, layer)| layer.write(&root.join(place.to_string())))
        }));
    }
    for done in try_join_all(work).await? {
        done?;
    }
    Ok(())
}

fn inflate(layers: &[Arc<Layer>]) -> io::Result<()> {
    // Those of a case are all packed the same way.
    let Some(program) = layers.first().map(|layer| layer.inflater) else { return Ok(()) };
    let mut inflater = Command::new(program);
    inflater.args(["-d", "-q", "-c"]).args(layers.iter().map(|layer| &layer.packed));
    let status = inflater.stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{program}: {status}"))) }
}
