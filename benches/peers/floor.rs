//! What no client gets around that leaves images behind, each by the fastest there is: the registry's
//! answers, the digests of what came, the daemon's calls that store it and make a snapshot of each layer,
//! inflating the layers (large ones, by igzip), their diff IDs, and their files. Less than a pull:
//! owners, modes and times are left alone, nothing is parsed, large blobs are no more than a file. And in
//! no order but the one that there has to be: a manifest comes before its configuration, that before the
//! first snapshot, a snapshot before those on it, and the images' names come last.

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::read::GzDecoder;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use pullctl::containerd::labels::Labels;
use pullctl::containerd::{self, Client, Committed, Prepared, ingest_reference};
use pullctl::oci::{Descriptor, Digest, MediaType};
use reqwest::header::ACCEPT;
use serde_json::Value;
use tar::EntryType;

use crate::daemon::Daemon;
use crate::publish::Published;
use crate::support::image::DOCKER_MANIFEST;
use crate::support::{block_on, unique};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Answers that are awaited, and blobs that are stored, at the same time.
const AT_ONCE: usize = 8;

/// Layers that are inflated, hashed and written at the same time.
const UNPACKED_AT_ONCE: usize = 2;

/// Largest blob that the daemon takes in one message, in bytes. Of larger ones, there is no more than
/// a file.
const MAX_MESSAGE: usize = 4 << 20;

/// Up to what uncompressed size igzip is not started for a layer, in bytes: that takes longer than to
/// inflate it.
const SMALL: usize = 1 << 20;

/// How long the lease would live that holds what is made here; it is removed at once.
const LIFETIME: Duration = Duration::from_secs(3600);

/// What is to be had of the images.
struct Wanted {
    /// Addresses of manifests, configurations and distinct layers, those of the first image first.
    urls: Vec<String>,
    /// Names and manifests of the images.
    names: Vec<(String, Descriptor)>,
    /// Where the parent of each layer is among them, which is before it; `None` for a base.
    parents: Vec<Option<usize>>,
    /// The distinct layers.
    layers: Vec<Arc<Layer>>,
}

/// A layer that was inflated and read before.
struct Layer {
    packed: PathBuf,
    tar: Vec<u8>,
    files: Vec<(PathBuf, Content)>,
}

enum Content {
    Directory,
    Symlink(PathBuf),
    Hardlink(PathBuf),
    File(Range<usize>),
}

/// Does that once for `images` at `authority`, then has the daemon forget all of it.
pub(crate) fn measure(
    daemon: &Daemon,
    authority: &str,
    images: &[Published],
) -> Result<Duration, String> {
    let namespace = unique("bench");
    let folder = daemon.directory().join(unique("floor"));
    fs::create_dir(&folder).map_err(|error| error.to_string())?;
    let elapsed = block_on(async {
        let wanted = look_at(authority, images, &folder).await?;
        pull(daemon, &namespace, &folder, &wanted).await
    });
    daemon.forget(&namespace)?;
    daemon.attic().take(&folder)?;
    fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
    elapsed.map_err(|error: Error| error.to_string())
}

/// Finds out what there is to be had; none of this is measured.
async fn look_at(authority: &str, images: &[Published], folder: &Path) -> Result<Wanted, Error> {
    // The client insists on one even where nothing is encrypted; it may be there from the last pair.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let registry = reqwest::Client::new();
    let mut wanted =
        Wanted { urls: Vec::new(), names: Vec::new(), parents: Vec::new(), layers: Vec::new() };
    let mut places: HashMap<Vec<&str>, usize> = HashMap::new();
    for image in images {
        let base = format!("http://{authority}/v2/{}", image.repository);
        let url = format!("{base}/manifests/{}", image.tag());
        let manifest = fetch(&registry, &url).await?;
        let parsed: Value = serde_json::from_slice(&manifest)?;
        let config = parsed["config"]["digest"].as_str().ok_or("the manifest has no config")?;
        wanted.urls.extend([url, format!("{base}/blobs/{config}")]);
        let target = descriptor(DOCKER_MANIFEST, &manifest);
        wanted.names.push((image.reference(authority), target));

        let digests: Vec<&str> = image.layers.iter().map(|(digest, _)| digest.as_str()).collect();
        let mut parent = None;
        for (position, digest) in digests.iter().enumerate() {
            let chain = digests[..=position].to_vec();
            if let Some(place) = places.get(&chain) {
                parent = Some(*place);
                continue;
            }
            let url = format!("{base}/blobs/{digest}");
            let packed = folder.join(format!("packed-{}", places.len()));
            let layer = Layer::read(packed, &fetch(&registry, &url).await?)?;
            wanted.layers.push(Arc::new(layer));
            wanted.urls.push(url);
            wanted.parents.push(parent);
            parent = Some(places.len());
            places.insert(chain, places.len());
        }
    }
    Ok(wanted)
}

async fn pull(
    daemon: &Daemon,
    namespace: &str,
    folder: &Path,
    wanted: &Wanted,
) -> Result<Duration, Error> {
    let client = Client::connect(&daemon.socket(), namespace).await?;
    client.leases().create(namespace, LIFETIME, &Labels::new()).await?;
    let client = client.with_lease(namespace);
    rustix::fs::sync();
    let started = Instant::now();
    let (client, name) = (&client, unique("layer"));
    let (first, others) = wanted.urls.split_at(2);
    for document in first {
        store(client, folder, std::slice::from_ref(document)).await?;
    }
    let stack = async { stack(client, &name, &wanted.parents).await.map_err(Error::from) };
    tokio::try_join!(store(client, folder, others), unpack(folder, &wanted.layers), stack)?;
    for (name, target) in &wanted.names {
        client.images().put(name, target, &Labels::new(), None).await?;
    }
    Ok(started.elapsed())
}

async fn store(client: &Client, folder: &Path, urls: &[String]) -> Result<(), Error> {
    let registry = &reqwest::Client::new();
    let blobs = urls.iter().enumerate().map(async |(position, url)| {
        let bytes = fetch(registry, url).await?;
        let blob = descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &bytes);
        if bytes.len() > MAX_MESSAGE {
            let file = folder.join(format!("blob-{position}"));
            return Ok(tokio::task::spawn_blocking(|| fs::write(file, bytes)).await??);
        }
        let reference = ingest_reference(&blob);
        client.content().put(&reference, &blob, bytes, Labels::new()).await?;
        Ok(())
    });
    stream::iter(blobs).buffer_unordered(AT_ONCE).try_collect().await
}

async fn fetch(registry: &reqwest::Client, url: &str) -> Result<Bytes, Error> {
    let answer = registry.get(url).header(ACCEPT, DOCKER_MANIFEST).send().await?;
    Ok(answer.error_for_status()?.bytes().await?)
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor::new(MediaType::new(media_type), Digest::of(bytes), bytes.len() as u64)
}

/// Makes empty snapshots, called `name` and their place, one on another.
async fn stack(
    client: &Client,
    name: &str,
    parents: &[Option<usize>],
) -> Result<(), containerd::Error> {
    let snapshots = client.snapshots("overlayfs");
    for (place, parent) in parents.iter().enumerate() {
        let parent = parent.map(|parent| format!("{name}-{parent}"));
        let name = format!("{name}-{place}");
        let key = format!("extract-{name}");
        let prepared = snapshots.prepare(&key, parent.as_deref(), &Labels::new()).await?;
        debug_assert!(matches!(prepared, Prepared::Mounts(_)), "the name is new");
        let committed = snapshots.commit(&name, &key, parent.as_deref(), &Labels::new()).await?;
        debug_assert!(matches!(committed, Committed::Done), "the name is new");
    }
    Ok(())
}

/// Inflates and hashes each layer, and writes its files to a folder of its own.
async fn unpack(folder: &Path, layers: &[Arc<Layer>]) -> Result<(), Error> {
    let unpacked = layers.iter().enumerate().map(async |(place, layer)| {
        let (root, layer) = (folder.join(place.to_string()), Arc::clone(layer));
        Ok(tokio::task::spawn_blocking(move || layer.unpack(&root)).await??)
    });
    stream::iter(unpacked).buffer_unordered(UNPACKED_AT_ONCE).try_collect().await
}

impl Layer {
    fn read(packed: PathBuf, blob: &[u8]) -> io::Result<Self> {
        fs::write(&packed, blob)?;
        let mut tar = Vec::new();
        GzDecoder::new(blob).read_to_end(&mut tar)?;
        let mut files = Vec::new();
        for entry in tar::Archive::new(&tar[..]).entries()? {
            let entry = entry?;
            let target = || entry.link_name().map(|name| name.unwrap_or_default().into_owned());
            let content = match entry.header().entry_type() {
                EntryType::Directory => Content::Directory,
                EntryType::Symlink => Content::Symlink(target()?),
                EntryType::Link => Content::Hardlink(target()?),
                _ => {
                    let start = entry.raw_file_position() as usize;
                    Content::File(start..start + entry.size() as usize)
                }
            };
            files.push((entry.path()?.into_owned(), content));
        }
        Ok(Self { packed, tar, files })
    }

    fn unpack(&self, root: &Path) -> io::Result<()> {
        if self.tar.len() > SMALL {
            let mut igzip = Command::new("igzip");
            igzip.args(["-d", "-c"]).arg(&self.packed).stdout(Stdio::null());
            let status = igzip.status()?;
            if !status.success() {
                return Err(io::Error::other(format!("igzip: {status}")));
            }
        }
        black_box(Digest::of(&self.tar));
        self.write(root)
    }

    fn write(&self, root: &Path) -> io::Result<()> {
        fs::create_dir(root)?;
        for (path, content) in &self.files {
            let path = root.join(path);
            let make = || match content {
                Content::Directory => fs::create_dir(&path),
                Content::Symlink(target) => std::os::unix::fs::symlink(target, &path),
                Content::Hardlink(target) => fs::hard_link(root.join(target), &path),
                Content::File(range) => fs::write(&path, &self.tar[range.clone()]),
            };
            match make() {
                // Directories that are implied, or described after what is in them.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir_all(path.parent().unwrap_or(root))?;
                    make()?;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made?,
            }
        }
        Ok(())
    }
}
