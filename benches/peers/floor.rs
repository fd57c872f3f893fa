//! What no client gets around that leaves images behind, each by the fastest there is: the registry's
//! answers, the digests of what came, the daemon's calls that store it and make a snapshot of each layer,
//! inflating the layers (by igzip or zstd), their diff IDs, their files with the times that they have, and
//! a name for each image. Less than a pull: owners and modes are left alone, nothing is parsed, large blobs
//! are no more than a file, and all of it begins at once. Nothing waits for anything but a snapshot for its
//! parent, where the daemon can put it there later no sooner than when it is committed.

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::io::{self, Cursor, Read as _, Write as _};
use std::num::NonZero;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use pullctl::containerd::labels::Labels;
use pullctl::containerd::{Client, Committed, Prepared, Snapshots, ingest_reference};
use pullctl::oci::{Compression, Descriptor, Digest, Hasher, MediaType};
use pullctl::unpack::inflate::{Decoder, Format};
use reqwest::Response;
use reqwest::header::ACCEPT;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, futimens, utimensat};
use tar::EntryType;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::daemon::Daemon;
use crate::memory;
use crate::publish::Published;
use crate::support::image::{DOCKER_MANIFEST, OCI_MANIFEST};
use crate::support::{block_on, unique};

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
    /// Addresses of manifests, configurations and layers, and whether they are [large](MAX_STORED).
    blobs: Vec<(String, bool)>,
    /// Names and manifests of the images.
    names: Vec<(String, Descriptor)>,
    /// Snapshots by how many are below them: name and parent.
    levels: Vec<Vec<(String, Option<String>)>>,
    layers: Vec<Arc<Layer>>,
}

/// A layer that was inflated and read before.
pub(crate) struct Layer {
    packed: PathBuf,
    /// The fastest program that inflates it.
    inflater: &'static str,
    pub(crate) tar: Vec<u8>,
    entries: Vec<Entry>,
}

struct Entry {
    path: PathBuf,
    content: Content,
    times: Timestamps,
}

enum Content {
    Directory,
    Symlink(PathBuf),
    Hardlink(PathBuf),
    File(Range<usize>),
}

/// Does that once for `images` at `authority`, then has the daemon forget all of it; files are left in
/// `folder`.
pub(crate) fn measure(
    daemon: &Daemon,
    folder: &Path,
    authority: &str,
    images: &[Published],
) -> Result<Duration, String> {
    in_namespace(daemon, async |namespace| pull(daemon, namespace, folder, authority, images).await)
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
        store(&client, &registry, folder, &wanted.blobs),
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
        wanted.blobs.extend([(image.manifest_url(authority), false), (config, false)]);
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
                wanted.blobs.push((url, *size > MAX_STORED));
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
    blobs: &[(String, bool)],
) -> Result<(), Error> {
    let stored = blobs.iter().enumerate().map(async |(position, (url, is_large))| {
        let (client, registry, url) = (client.clone(), registry.clone(), url.clone());
        let file = folder.join(format!("blob-{position}"));
        let task = match *is_large {
            true => tokio::spawn(async move { keep(ask(&registry, &url).await?, &file).await }),
            false => tokio::spawn(async move { give(&client, ask(&registry, &url).await?).await }),
        };
        task.await?
    });
    stream::iter(stored).buffer_unordered(AT_ONCE).try_collect().await
}

/// Hashes a blob and writes it to a file while it comes in.
async fn keep(mut answer: Response, file: &Path) -> Result<(), Error> {
    let (mut file, mut hasher) = (fs::File::create(file)?, Hasher::new());
    while let Some(chunk) = answer.chunk().await? {
        hasher.update(&chunk);
        file.write_all(&chunk)?;
    }
    black_box(hasher.finish());
    Ok(())
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

impl Layer {
    /// A layer whose `blob` is to be found in `packed`.
    pub(crate) fn inflated(packed: PathBuf, blob: Vec<u8>) -> io::Result<Self> {
        let mut decoder = Decoder::new(Cursor::new(blob), Compression::Gzip)?;
        let inflater = if decoder.format() == Format::Zstd { "zstd" } else { "igzip" };
        let mut tar = Vec::new();
        decoder.read_to_end(&mut tar)?;
        let mut entries = Vec::new();
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
            let time = Timespec { tv_sec: entry.header().mtime()? as i64, tv_nsec: 0 };
            let times = Timestamps { last_access: time, last_modification: time };
            entries.push(Entry { path: entry.path()?.into_owned(), content, times });
        }
        Ok(Self { packed, inflater, tar, entries })
    }

    /// Writes its files into `root`, which is made.
    pub(crate) fn write(&self, root: &Path) -> io::Result<()> {
        fs::create_dir(root)?;
        for Entry { path, content, times } in &self.entries {
            let path = root.join(path);
            let make = || match content {
                Content::Directory => fs::create_dir(&path),
                Content::Symlink(target) => {
                    std::os::unix::fs::symlink(target, &path)?;
                    Ok(utimensat(CWD, &path, times, AtFlags::SYMLINK_NOFOLLOW)?)
                }
                Content::Hardlink(target) => fs::hard_link(root.join(target), &path),
                Content::File(range) => {
                    let mut file = fs::File::create(&path)?;
                    file.write_all(&self.tar[range.clone()])?;
                    Ok(futimens(&file, times)?)
                }
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
        // Last, since what is put into a directory changes its time.
        let directories = |entry: &&Entry| matches!(entry.content, Content::Directory);
        for Entry { path, times, .. } in self.entries.iter().filter(directories) {
            utimensat(CWD, root.join(path), times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }
}
