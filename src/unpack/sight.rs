//! The files of layers that are unpacked already: where they lie, whether they are right, and putting
//! right ones in their place. For whoever may write into snapshots by himself, where that is sound.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _};
use rustix::fs::{CWD, RenameFlags};
use tokio::task::spawn_blocking;

use super::active::{ActiveSnapshot, ActiveSnapshots, extraction_key};
use super::blocking::run_blocking;
use super::compare::compare;
use super::difference::Differences;
use super::extract::{
    self, ChunkSender, ExtractError, ExtractOptions, Roots, Whiteouts, queue, rehearse,
};
use super::ground::{self, Ground};
use super::room::Allowance;
use super::stage::Stage;
use super::unsound::Unsound;
use super::{Error, Layer};
use crate::containerd::{self, Client, Labels, Mount, Snapshots};
use crate::gzip::Threads;
use crate::oci::{ChainId, Digest, Hasher};

/// Chunks that wait for the thread that compares.
const QUEUED_CHUNKS: usize = 4;

/// The snapshots of a daemon on this machine, seen from inside.
#[derive(Debug)]
pub struct Sight {
    snapshots: Snapshots,
    active: ActiveSnapshots,
    /// What all their directories lie in.
    root: PathBuf,
}

/// What came of comparing a layer.
#[derive(Debug)]
pub struct Compared {
    /// What the bytes of its blob hash to.
    pub digest: Digest,
    /// How many there are.
    pub size: u64,
    /// What is different, where the blob could be unpacked.
    pub differences: Result<Differences, Error>,
}

impl Sight {
    /// Finds the snapshots of the overlayfs `snapshotter`, and sees that the daemon means the same
    /// directories. What is needed for looking is held by the lease of `client`.
    ///
    /// # Errors
    /// [`Error::Unsound`] where they are out of sight; the daemon's.
    pub async fn of(client: &Client, snapshotter: &str) -> Result<Self, Error> {
        ground::check_process(snapshotter)?;
        let snapshots = client.snapshots(snapshotter);
        let active = ActiveSnapshots::new(snapshots.clone());
        let scratch = scratch(&active, "sight", None).await?;
        let proven = prove(&scratch).await;
        scratch.remove().await;
        Ok(Self { snapshots, active, root: proven? })
    }

    /// Where the files of the layer `top`, and of all below it, lie: topmost first.
    ///
    /// # Errors
    /// [`Error::Unsound`] where they are elsewhere than the others; the daemon's.
    pub async fn directories(&self, top: &ChainId) -> Result<Vec<PathBuf>, Error> {
        let top = top.to_string();
        let key = extraction_key(&top);
        let mounts = self.snapshots.view(&key, &top, &Labels::new()).await?;
        self.snapshots.remove(&key).await?;
        let directories = Ground::layers_of(&mounts)?;
        match directories.iter().find(|directory| !self.is_within(directory)) {
            Some(elsewhere) => Err(Unsound::Elsewhere(elsewhere.clone()).into()),
            None => Ok(directories),
        }
    }

    fn is_within(&self, directory: &Path) -> bool {
        container_of(directory).is_some_and(|root| root == self.root)
    }

    /// Compares what lies in `directory` with what extraction makes of `layer`, whose blob is hashed on
    /// the way; `open` begins to read it.
    ///
    /// # Errors
    /// When the blob can't be read; the daemon's.
    pub async fn compare<S>(
        &self,
        layer: &Layer,
        directory: &Path,
        mut open: impl AsyncFnMut() -> Result<S, containerd::Error>,
    ) -> Result<Compared, Error>
    where
        S: Stream<Item = Result<Bytes, containerd::Error>> + Unpin,
    {
        if let Some(stage) = Stage::in_memory() {
            let made =
                move || stage.root().map_err(ExtractError::file("open", b"/")).map_err(Error::from);
            let compared = rehearsed(made, layer, directory, open().await?).await?;
            if compared.is_settled(layer) {
                return Ok(compared);
            }
            // File systems are not alike in what they take; the daemon's own has the last word.
        }
        let scratch = scratch(&self.active, &layer.identity.chain_id.to_string(), None).await?;
        let upper = Ground::of(&scratch.mounts)?.upper;
        let made = move || Ok(ground::open_directory(&upper)?);
        let compared = rehearsed(made, layer, directory, open().await?).await;
        // Its files are written by nobody any more.
        scratch.remove().await;
        compared
    }

    /// Puts what extraction makes of `layer` in the place of what lies in `directory`; `lowers` are the
    /// directories below, topmost first. Nobody may use them meanwhile.
    ///
    /// # Errors
    /// As for unpacking; nothing is changed then.
    pub async fn replace<S>(
        &self,
        layer: &Layer,
        directory: &Path,
        lowers: &[PathBuf],
        blob: S,
    ) -> Result<(), Error>
    where
        S: Stream<Item = Result<Bytes, containerd::Error>> + Unpin,
    {
        let chain = layer.identity.chain_id.to_string();
        let parent = layer.identity.parent.map(|parent| parent.to_string());
        let scratch = scratch(&self.active, &chain, parent.as_deref()).await?;
        let (chunks, reader) = queue(QUEUED_CHUNKS);
        let (upper, place) = (Ground::of(&scratch.mounts)?.upper, directory.to_owned());
        let (options, layer, lowers) = (options(layer)?, layer.clone(), lowers.to_vec());
        let filling = tokio::spawn(run_blocking(move || {
            let extracted = extract::extract(reader, ground::open_directory(&upper)?, options)?;
            layer.check(extracted.diff_id)?;
            if !extracted.implied.is_empty() && !lowers.is_empty() {
                let root = ground::open_directory(&upper)?;
                extract::inherit(&extracted.implied, root, &lowers, &Roots::default())?;
            }
            exchange(&upper, &place)
        }));
        let poured = pour(blob, chunks).await;
        let filled = filling.await.unwrap_or_else(|stopped| Err(Error::Stopped(stopped)));
        scratch.remove().await;
        poured?;
        filled
    }

    /// Removes what is of no use any more.
    pub async fn close(&self) {
        self.active.remove_left().await;
    }
}

impl Compared {
    /// Whether another file system could not have said anything else.
    fn is_settled(&self, layer: &Layer) -> bool {
        let is_alike = self.differences.as_ref().is_ok_and(|differences| differences.total == 0);
        is_alike || self.digest != layer.descriptor.digest
    }
}

/// Rehearses `layer` in the directory that `made` opens, and compares that with what lies in `directory`.
async fn rehearsed<S>(
    made: impl Fn() -> Result<OwnedFd, Error> + Send + 'static,
    layer: &Layer,
    directory: &Path,
    blob: S,
) -> Result<Compared, Error>
where
    S: Stream<Item = Result<Bytes, containerd::Error>> + Unpin,
{
    let (chunks, reader) = queue(QUEUED_CHUNKS);
    let (real, comparing, layer) = (directory.to_owned(), options(layer)?, layer.clone());
    let comparing = tokio::spawn(run_blocking(move || {
        let real = || ground::open_directory(&real);
        let (extracted, rehearsed) = rehearse(reader, made()?, real()?, comparing)?;
        layer.check(extracted.diff_id)?;
        let is_base = layer.identity.parent.is_none();
        Ok(compare(made()?, real()?, &rehearsed, &extracted.implied, is_base)?)
    }));
    let poured = pour(blob, chunks).await;
    let differences = comparing.await.unwrap_or_else(|stopped| Err(Error::Stopped(stopped)));
    let (digest, size) = poured?;
    Ok(Compared { digest, size, differences })
}

/// Hands all of `blob` on, and hashes it on the way. Where it can't be read, `chunks` have no end.
async fn pour<S>(mut blob: S, chunks: ChunkSender) -> Result<(Digest, u64), Error>
where
    S: Stream<Item = Result<Bytes, containerd::Error>> + Unpin,
{
    let (mut hasher, mut size) = (Hasher::new(), 0);
    while let Some(piece) = blob.next().await {
        let bytes = piece?;
        size += bytes.len() as u64;
        let hashed = bytes.clone();
        let hashing = spawn_blocking(move || {
            hasher.update(&hashed);
            hasher
        });
        // Who takes them says itself why it wants no more.
        let _ = chunks.send(bytes).await;
        hasher = hashing.await.map_err(Error::Stopped)?;
    }
    let _ = chunks.finish().await;
    Ok((hasher.finish(), size))
}

fn options(layer: &Layer) -> Result<ExtractOptions, Error> {
    let whiteouts = match layer.identity.parent {
        Some(_) => Whiteouts::Overlay,
        None => Whiteouts::Remove,
    };
    let (compression, allowance) = (layer.compression()?, Allowance::new(None));
    Ok(ExtractOptions {
        compression,
        whiteouts,
        allowance,
        threads: Threads::new(1),
        is_sparing: false,
    })
}

async fn scratch(
    active: &ActiveSnapshots,
    chain: &str,
    parent: Option<&str>,
) -> Result<ActiveSnapshot, Error> {
    match active.scratch(chain, parent).await? {
        Some(scratch) => Ok(scratch),
        // The name is new each time.
        None => Err(Unsound::Mounts(format!("a new snapshot for {chain} exists")).into()),
    }
}

/// The directory that all snapshots' directories lie in, once the daemon was seen to mean the same.
async fn prove(scratch: &ActiveSnapshot) -> Result<PathBuf, Error> {
    let ground = Ground::of(&scratch.mounts)?;
    ground.prove(scratch).await?;
    container_of(&ground.upper)
        .map(Path::to_owned)
        .ok_or_else(|| unfamiliar(&scratch.mounts).into())
}

fn unfamiliar(mounts: &[Mount]) -> Unsound {
    Unsound::Mounts(format!("{mounts:?}"))
}

/// `ROOT/snapshots` of `ROOT/snapshots/7/fs`.
fn container_of(directory: &Path) -> Option<&Path> {
    directory.ancestors().nth(2)
}

/// Puts the directory `new` in the place of `old`, and that, if there is one, in the place of `new`.
fn exchange(new: &Path, old: &Path) -> Result<(), Error> {
    let failed = |source: io::Error| Unsound::Io { path: old.to_owned(), source };
    // What takes the place of what a loss of power has spoilt must survive the next one.
    rustix::fs::syncfs(ground::open_directory(new)?).map_err(|errno| failed(errno.into()))?;
    match rustix::fs::renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        Err(rustix::io::Errno::NOENT) => {
            let above = old.parent().unwrap_or(old);
            fs::create_dir_all(above).map_err(failed)?;
            fs::rename(new, old).map_err(failed)?;
            // The daemon looks for it when it removes the snapshot.
            fs::create_dir(new).map_err(failed)?;
        }
        Err(errno) => return Err(failed(errno.into()).into()),
    }
    for directory in [new, old].into_iter().filter_map(Path::parent) {
        let opened = ground::open_directory(directory)?;
        rustix::fs::fsync(&opened)
            .map_err(ExtractError::file("store", directory.as_os_str().as_bytes()))?;
    }
    Ok(())
}
