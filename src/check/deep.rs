//! What is looked at by reading: every byte of every blob, and every file of every layer that is
//! unpacked, several layers at a time.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::stream::{self, Stream, StreamExt as _};
use tokio::task::spawn_blocking;

use super::checkup::{Checkup, Report, tell};
use super::finding::{Finding, Remedy};
use super::walk::{StoredPart, Walk};
use crate::containerd::{self, ContentStore, Labels};
use crate::oci::{Descriptor, Digest, Hasher};
use crate::progress::{BlobState, Event, Sink};
use crate::transfer::DocumentKind;
use crate::unpack::{self, Differences, Sight};

/// The snapshotter whose layers are directories that can be looked into.
const OVERLAYFS: &str = "overlayfs";

const WRONG_BYTES: &str = "what is made of it is not what its author made, or can't be made at all";
const NOT_STARTED: &str = "no container can be started on it";
const WRONG_FILES: &str = "containers of the image see these files as they are here";

/// A blob to be read, and with what it is compared.
struct Task {
    blob: Descriptor,
    /// The layer, its place from the base, and where its files lie.
    unpacked: Option<(unpack::Layer, usize, PathBuf)>,
}

/// What came of reading a blob.
enum Verdict {
    Right(Option<Result<Differences, String>>),
    /// How it is wrong.
    Wrong(String),
}

impl Checkup {
    /// Reads all that is there of the image.
    pub(super) async fn look_deep(
        &mut self,
        walk: &Walk,
        report: &mut Report,
    ) -> Result<(), containerd::Error> {
        if let Some(part) = &walk.part {
            self.read_part(part, true, report).await?;
        }
        for part in &walk.others {
            self.read_part(part, false, report).await?;
        }
        Ok(())
    }

    async fn read_part(
        &mut self,
        part: &StoredPart,
        is_main: bool,
        report: &mut Report,
    ) -> Result<(), containerd::Error> {
        let directories = match is_main {
            true => self.directories(part, report).await?,
            false => Vec::new(),
        };
        let tasks = self.tasks(part, &directories, report).await?;
        // So that the whole is known before the first of it is read.
        for task in &tasks {
            tell(&*self.progress, &task.blob, BlobState::Waiting);
        }
        let sight = self.sight.get().and_then(|sight| sight.as_ref().ok());
        let content = self.client.content();
        let progress = &self.progress;
        let at_once = self.options.layers_at_once.max(1);
        let reads = tasks.into_iter().map(|task| {
            let content = content.clone();
            async move {
                let verdict = read(&content, &task, sight, progress).await;
                verdict.map(|verdict| (task, verdict))
            }
        });
        let outcomes: Vec<Result<_, containerd::Error>> =
            stream::iter(reads).buffer_unordered(at_once).collect().await;
        let mut found = Vec::new();
        for outcome in outcomes {
            found.push(outcome?);
        }
        // In the order of the layers, whichever was read first.
        found.sort_by_key(|(task, _)| {
            task.unpacked.as_ref().map_or(0, |(_, position, _)| *position)
        });
        for (task, verdict) in found {
            self.judge(part, &task, verdict, report);
        }
        Ok(())
    }

    /// Where the layers' files lie, base first; empty where that is not known.
    async fn directories(
        &self,
        part: &StoredPart,
        report: &mut Report,
    ) -> Result<Vec<PathBuf>, containerd::Error> {
        let Some(top) = part.identities.last() else { return Ok(Vec::new()) };
        let others = self.snapshots.keys().filter(|name| *name != OVERLAYFS);
        for name in others.filter(|name| self.has_snapshot(name, &top.chain_id)) {
            let what = format!("the files that {name} keeps are not compared: it is no overlayfs");
            report.remark("not-compared", what);
        }
        if !self.has_snapshot(OVERLAYFS, &top.chain_id) {
            return Ok(Vec::new());
        }
        // Where the chain is broken, that is the finding.
        let is_broken = report.findings.iter().any(|it| it.code == "snapshot-parent");
        if is_broken {
            return Ok(Vec::new());
        }
        let leased = self.leased().await?;
        let open = async || match Sight::of(leased, OVERLAYFS).await {
            Ok(sight) => Ok(Ok(sight)),
            Err(unpack::Error::Containerd(error)) => Err(error),
            Err(error) => Ok(Err(error.to_string())),
        };
        let found = match self.sight.get_or_try_init(open).await? {
            Ok(sight) => match sight.directories(&top.chain_id).await {
                Err(unpack::Error::Containerd(error)) if error.reply().is_some() => {
                    let (name, why) = (top.chain_id, cause(&error));
                    let what = format!("snapshot {name} can't be used: {why}");
                    let remedy = Remedy::Discard(OVERLAYFS.to_owned(), name);
                    let finding =
                        Finding::new("snapshot-unusable", name, what, NOT_STARTED, remedy);
                    report.findings.push(finding);
                    return Ok(Vec::new());
                }
                found => found.map_err(|error| error.to_string()),
            },
            Err(why) => Err(why.clone()),
        };
        match found {
            Ok(mut directories) if directories.len() == part.identities.len() => {
                directories.reverse();
                Ok(directories)
            }
            Ok(_) => {
                report.remark(
                    "not-compared",
                    "the files of layers are not compared: their directories are not told",
                );
                Ok(Vec::new())
            }
            Err(why) => {
                report
                    .remark("not-compared", format!("the files of layers are not compared: {why}"));
                Ok(Vec::new())
            }
        }
    }

    /// The blobs that are there and were not read yet.
    async fn tasks(
        &self,
        part: &StoredPart,
        directories: &[PathBuf],
        report: &mut Report,
    ) -> Result<Vec<Task>, containerd::Error> {
        let content = self.client.content();
        let mut tasks: Vec<Task> = Vec::new();
        for (position, blob) in part.manifest.layers.iter().enumerate() {
            let identity = part.identities.get(position).copied();
            let unpacked =
                identity.zip(directories.get(position)).and_then(|(identity, directory)| {
                    if self.alike.contains(&(OVERLAYFS.to_owned(), identity.chain_id)) {
                        return None;
                    }
                    let layer =
                        unpack::Layer { descriptor: blob.clone(), identity, labels: Labels::new() };
                    Some((layer, position, directory.clone()))
                });
            if let Some((_, _, directory)) = &unpacked
                && !directory.is_dir()
            {
                let what = format!(
                    "the files of layer {position} are gone: {} is not there",
                    directory.display()
                );
                self.different(part, position, what, &Differences::default(), report);
                continue;
            }
            let is_read = self.right.contains(&blob.digest) && unpacked.is_none();
            if is_read || content.info(&blob.digest).await?.is_none() {
                if unpacked.is_some() {
                    let what = format!(
                        "the files of layer {position} are not compared: its blob is not there"
                    );
                    report.remark("not-compared", what);
                }
                continue;
            }
            // What is known to be damaged is not read again.
            let subject = blob.digest.to_string();
            if !report.findings.iter().any(|finding| finding.subject == subject) {
                tasks.push(Task { blob: blob.clone(), unpacked });
            }
        }
        Ok(tasks)
    }

    fn judge(&mut self, part: &StoredPart, task: &Task, verdict: Verdict, report: &mut Report) {
        let digest = task.blob.digest;
        let compared = match verdict {
            Verdict::Wrong(how) => {
                let what = format!("layer {digest} {how}");
                let remedy = Remedy::Fetch(task.blob.clone(), DocumentKind::Blob);
                let finding = Finding::new("blob-damaged", digest, what, WRONG_BYTES, remedy);
                report.findings.push(finding);
                return;
            }
            Verdict::Right(compared) => compared,
        };
        self.right.insert(digest);
        let Some((layer, position, _)) = &task.unpacked else { return };
        match compared {
            Some(Ok(differences)) if differences.total == 0 => {
                self.alike.insert((OVERLAYFS.to_owned(), layer.identity.chain_id));
            }
            Some(Ok(differences)) => {
                let what = match differences.total {
                    1 => format!(
                        "1 file of layer {position} ({digest}) is not as its archive makes it"
                    ),
                    total => format!(
                        "{total} files of layer {position} ({digest}) are not as its archive makes \
                         them"
                    ),
                };
                self.different(part, *position, what, &differences, report);
            }
            Some(Err(why)) => {
                report.remark(
                    "not-compared",
                    format!("the files of layer {position} are not compared: {why}"),
                );
            }
            None => {}
        }
    }

    fn different(
        &self,
        part: &StoredPart,
        position: usize,
        what: String,
        differences: &Differences,
        report: &mut Report,
    ) {
        let Some(identity) = part.identities.get(position) else { return };
        let remedy = Remedy::Rewrite(self.unpacked(part, OVERLAYFS), position);
        let finding =
            Finding::new("snapshot-different", identity.chain_id, what, WRONG_FILES, remedy);
        report.findings.push(finding.with_files(differences));
    }
}

/// Reads a blob, and compares it with its files, if it has such.
async fn read(
    content: &ContentStore,
    task: &Task,
    sight: Option<&Sight>,
    progress: &Arc<dyn Sink>,
) -> Result<Verdict, containerd::Error> {
    tell(&**progress, &task.blob, BlobState::Reading);
    let outcome = read_told(content, task, sight, progress).await;
    tell(&**progress, &task.blob, BlobState::Done);
    match outcome {
        // The file is gone, or the disk gives its bytes no more.
        Err(error @ (containerd::Error::NotFound { .. } | containerd::Error::Refused { .. })) => {
            Ok(Verdict::Wrong(format!("can't be read: {}", cause(&error))))
        }
        outcome => outcome,
    }
}

fn cause(error: &containerd::Error) -> String {
    error.reply().map_or_else(|| error.to_string(), ToString::to_string)
}

async fn read_told(
    content: &ContentStore,
    task: &Task,
    sight: Option<&Sight>,
    progress: &Arc<dyn Sink>,
) -> Result<Verdict, containerd::Error> {
    let Descriptor { digest, size, .. } = task.blob;
    let mut is_first = true;
    let mut open = async || {
        let told = Arc::clone(progress);
        // Who reads it twice does not get on twice as far.
        let is_told = std::mem::take(&mut is_first);
        let pieces = content.nearest_reader(&digest, 0).await?;
        Ok(pieces.inspect(move |piece| {
            if let Ok(bytes) = piece
                && is_told
            {
                told.event(Event::Received { digest, delta_bytes: bytes.len() as u64 });
            }
        }))
    };
    let (actual, read_bytes, differences) = match (sight, &task.unpacked) {
        (Some(sight), Some((layer, _, directory))) => {
            match sight.compare(layer, directory, &mut open).await {
                Ok(compared) => {
                    let differences = compared.differences.map_err(|error| reason(&error));
                    (compared.digest, compared.size, Some(differences))
                }
                Err(unpack::Error::Containerd(error)) => return Err(error),
                // Without the files, the bytes are left.
                Err(error) => {
                    let pieces = content.nearest_reader(&digest, 0).await?;
                    let (actual, read_bytes) = hash(pieces).await?;
                    (actual, read_bytes, Some(Err(reason(&error))))
                }
            }
        }
        _ => {
            let (actual, read_bytes) = hash(open().await?).await?;
            (actual, read_bytes, None)
        }
    };
    if actual == digest {
        return Ok(Verdict::Right(differences));
    }
    Ok(Verdict::Wrong(match read_bytes == size {
        true => format!("is damaged: its bytes are {actual}"),
        false => format!("has {read_bytes} bytes, and should have {size}"),
    }))
}

fn reason(error: &unpack::Error) -> String {
    crate::failure::Diagnostic::of(error).one_line()
}

async fn hash<S>(mut pieces: S) -> Result<(Digest, u64), containerd::Error>
where
    S: Stream<Item = Result<bytes::Bytes, containerd::Error>> + Unpin,
{
    let (mut hasher, mut size) = (Hasher::new(), 0);
    while let Some(piece) = pieces.next().await {
        let bytes = piece?;
        size += bytes.len() as u64;
        let hashing = spawn_blocking(move || {
            hasher.update(&bytes);
            hasher
        });
        // A thread that only hashes does not stop by itself; without one, the digest is another.
        hasher = hashing.await.unwrap_or_default();
    }
    Ok((hasher.finish(), size))
}
