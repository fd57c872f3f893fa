//! Unpacking by us: a layer's files are written while its blob streams in, and the snapshot is there
//! when the last byte is.
//!
//! Layers are extracted in any order. One whose parent is not committed yet is extracted apart, into
//! an active snapshot without parent that belongs to the pull's lease, so that nothing of it outlives
//! a crash; when the parent is there, that snapshot is committed on top of it, or, where the daemon
//! can't do that, its files move over by rename. All others are extracted where they stay.

use std::io::BufRead;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Mutex, OnceCell};
use tracing::debug;

use super::active::{ActiveSnapshot, ActiveSnapshots};
use super::blocking::run_blocking;
use super::extract::{self, ExtractOptions, Extractor, Halt, ImpliedDirectory, Roots, Whiteouts};
use super::extraction::{Extraction, Files, Filled};
use super::ground::{self, Ground};
use super::inflating::Inflating;
use super::known::{Layers, Unpacked};
use super::remarks::Remarks;
use super::room::Allowance;
use super::unsound::Unsound;
use super::{Error, Layer};
use crate::containerd::Committed;
use crate::oci::Descriptor;

/// Chunks that wait for the extractor's thread. A chunk is 128 KiB at most of what comes from a registry,
/// so that eight layers at once hold 8 MiB of them.
const QUEUED_CHUNKS: usize = 8;

/// Unpacks layers into the overlayfs snapshotter of a daemon on this machine.
#[derive(Debug)]
pub(super) struct DirectUnpacker {
    active: ActiveSnapshots,
    layers: Arc<Layers>,
    remarks: Remarks,
    allowance: Allowance,
    inflating: Inflating,
    /// Whether the page cache is to be left as it is.
    is_sparing: bool,
    /// A snapshot without parent that nobody has filled.
    ready: Mutex<Option<ActiveSnapshot>>,
    /// Whether the daemon and we were seen to mean the same directories.
    proven: OnceCell<()>,
    /// Whether what was extracted apart can be put on its parent when it is committed.
    can_rebase: OnceCell<bool>,
    roots: Arc<Roots>,
}

impl DirectUnpacker {
    /// An unpacker that fills `active` snapshots of the snapshotter called `snapshotter`, with as much
    /// as `allowance` has.
    ///
    /// # Errors
    /// [`Unsound`] when this process can't do what the daemon does.
    pub(super) fn new(
        snapshotter: &str,
        active: ActiveSnapshots,
        layers: Arc<Layers>,
        remarks: Remarks,
        allowance: Allowance,
        is_sparing: bool,
    ) -> Result<Self, Unsound> {
        ground::check_process(snapshotter)?;
        Ok(Self {
            active,
            layers,
            remarks,
            allowance,
            inflating: Inflating::exactly(1),
            is_sparing,
            ready: Mutex::default(),
            proven: OnceCell::new(),
            can_rebase: OnceCell::new(),
            roots: Arc::default(),
        })
    }

    /// The same, which inflates layers with as many threads as `inflating` says.
    pub(super) fn inflated_by(self, inflating: Inflating) -> Self {
        Self { inflating, ..self }
    }

    /// Begins to extract `layer`; `None` when its snapshot is there already. With `parent_is_ready`,
    /// the layer below is committed.
    ///
    /// # Errors
    /// [`Error::Unsound`] when the snapshot is not ours to write to; otherwise the daemon's.
    pub(super) async fn begin(
        &self,
        layer: &Layer,
        parent_is_ready: bool,
    ) -> Result<Option<Extraction>, Error> {
        let Some((active, is_apart)) = self.prepare(layer, parent_is_ready).await? else {
            return Ok(None);
        };
        match self.start(layer, &active).await {
            Ok((ground, extractor)) => {
                Ok(Some(Extraction { layer: layer.clone(), active, ground, extractor, is_apart }))
            }
            Err(error) => {
                active.remove().await;
                Err(error)
            }
        }
    }

    /// Prepares a snapshot for a layer that lies on no other, whose `blob` is on its way and whose chain ID
    /// is not known yet: it gets that when it is committed.
    pub(super) async fn make_ready(&self, blob: &Descriptor) {
        // Who needs one waits for this.
        let mut ready = self.ready.lock().await;
        if ready.is_some() {
            return;
        }
        let prepare = async {
            let active = self.active.scratch(&blob.digest.to_string(), None).await?;
            if let Some(active) = &active {
                self.ground(active).await?;
            }
            Ok::<_, Error>(active)
        };
        // What was not made ready is prepared when it is needed, by whom it matters to.
        *ready = prepare.await.unwrap_or_else(|error| {
            debug!(%error, "no snapshot is ready before its layer");
            None
        });
    }

    /// A snapshot to be filled, and whether it is apart; `None` when the layer's own is there already.
    async fn prepare(
        &self,
        layer: &Layer,
        parent_is_ready: bool,
    ) -> Result<Option<(ActiveSnapshot, bool)>, Error> {
        if !parent_is_ready && layer.identity.parent.is_some() {
            return Ok(Some((self.active.apart(layer).await?, true)));
        }
        if layer.identity.parent.is_none()
            && let Some(ready) = self.ready.lock().await.take()
        {
            return Ok(Some((ready, false)));
        }
        Ok(self.active.on_parent(layer).await?.map(|active| (active, false)))
    }

    /// Fills the snapshot of `layer` with the files of `twin`, where the same layer lies unpacked;
    /// `None` when its snapshot is there already. With `parent_is_ready`, the layer below is committed.
    ///
    /// # Errors
    /// As [`Self::begin`], or [`Error::Extract`] when the files can't be copied.
    pub(super) async fn copy(
        &self,
        layer: &Layer,
        parent_is_ready: bool,
        twin: PathBuf,
    ) -> Result<Option<Filled>, Error> {
        let Some((active, is_apart)) = self.prepare(layer, parent_is_ready).await? else {
            return Ok(None);
        };
        match self.copy_files(&active, twin).await {
            Ok((ground, bytes)) => {
                let files = Files { bytes, ..Files::default() };
                Ok(Some(Filled { layer: layer.clone(), active, ground, files, is_apart }))
            }
            Err(error) => {
                active.remove().await;
                Err(error)
            }
        }
    }

    async fn copy_files(
        &self,
        active: &ActiveSnapshot,
        twin: PathBuf,
    ) -> Result<(Ground, u64), Error> {
        let ground = self.ground(active).await?;
        let allowance = self.allowance.clone();
        let unwanted = HaltOnDrop::default();
        let halt = unwanted.0.clone();
        run_blocking(move || {
            let from = ground::open_directory(&twin)?;
            let to = ground::open_directory(&ground.upper)?;
            let bytes = extract::copy_tree(from, to, allowance, halt)?;
            Ok((ground, bytes))
        })
        .await
    }

    async fn start(
        &self,
        layer: &Layer,
        active: &ActiveSnapshot,
    ) -> Result<(Ground, Extractor), Error> {
        let ground = self.ground(active).await?;
        let root = ground::open_directory(&ground.upper)?;
        let extractor = Extractor::spawn(root, self.options(layer)?, QUEUED_CHUNKS)?;
        Ok((ground, extractor))
    }

    fn options(&self, layer: &Layer) -> Result<ExtractOptions, Error> {
        let whiteouts = match layer.identity.parent {
            Some(_) => Whiteouts::Overlay,
            None => Whiteouts::Remove,
        };
        let (allowance, is_sparing) = (self.allowance.clone(), self.is_sparing);
        let compression = layer.compression()?;
        let threads = self.inflating.threads_for(layer.descriptor.size);
        Ok(ExtractOptions { compression, threads, whiteouts, allowance, is_sparing })
    }

    /// The directories of `active`, which are known to be the daemon's too.
    async fn ground(&self, active: &ActiveSnapshot) -> Result<Ground, Error> {
        let ground = Ground::of(&active.mounts)?;
        self.proven.get_or_try_init(|| ground.prove(active)).await?;
        Ok(ground)
    }

    /// Makes the snapshot of `layer` from its whole `blob`. The parent must be committed.
    ///
    /// # Errors
    /// As [`Self::begin`], [`Extraction::finish`] and [`Self::commit`].
    pub(super) async fn unpack(
        &self,
        layer: &Layer,
        blob: impl BufRead + Send + 'static,
    ) -> Result<Unpacked, Error> {
        let Some(active) = self.active.on_parent(layer).await? else {
            return Ok(Unpacked::default());
        };
        match self.fill(layer, &active, blob).await {
            Ok((ground, bytes)) => commit(layer, active, ground, bytes).await,
            Err(error) => {
                active.remove().await;
                Err(error)
            }
        }
    }

    async fn fill(
        &self,
        layer: &Layer,
        active: &ActiveSnapshot,
        blob: impl BufRead + Send + 'static,
    ) -> Result<(Ground, u64), Error> {
        let ground = self.ground(active).await?;
        let options = self.options(layer)?;
        let roots = Arc::clone(&self.roots);
        let extracting = run_blocking(move || {
            let root = ground::open_directory(&ground.upper)?;
            let extracted = extract::extract(blob, root, options)?;
            inherit(&extracted.implied, &ground, &roots)?;
            Ok((extracted, ground))
        });
        let (extracted, ground) = extracting.await?;
        layer.check(extracted.diff_id)?;
        let files = Files::from(extracted);
        self.remarks.extracted(layer, &files);
        Ok((ground, files.bytes))
    }

    /// Commits the layer under its chain ID. The parent must be committed.
    ///
    /// # Errors
    /// The daemon's, or [`Error::Extract`] when the files can't be moved into place. Nothing is left
    /// of the attempt then.
    pub(super) async fn commit(&self, filled: Filled) -> Result<Unpacked, Error> {
        self.remarks.extracted(&filled.layer, &filled.files);
        if !filled.is_apart {
            return self.commit_completed(filled).await;
        }
        match self.lowers(&filled).await {
            Some(lowers) => {
                let ground = Ground { lowers, ..filled.ground };
                self.commit_completed(Filled { ground, ..filled }).await
            }
            None => {
                let outcome = self.place(&filled).await;
                filled.active.remove().await;
                outcome
            }
        }
    }

    /// The layers below one that was extracted apart and can stay where it is; `None` when it can't.
    async fn lowers(&self, filled: &Filled) -> Option<Vec<PathBuf>> {
        if !self.can_rebase().await {
            return None;
        }
        let parent = filled.layer.identity.parent?;
        let lowers = self.layers.directories_down_from(parent);
        // Who looks for nothing there need not know them.
        lowers.or_else(|| filled.files.implied.is_empty().then(Vec::new))
    }

    /// Whether the daemon puts a snapshot on its parent when it is committed, asked once.
    pub(super) async fn can_rebase(&self) -> bool {
        let ask = async || {
            self.active.can_rebase().await.unwrap_or_else(|error| {
                debug!(%error, "what the snapshotter can do is unknown");
                false
            })
        };
        *self.can_rebase.get_or_init(ask).await
    }

    /// Moves files that were extracted apart into a snapshot on the parent, and commits that.
    async fn place(&self, filled: &Filled) -> Result<Unpacked, Error> {
        let layer = &filled.layer;
        let Some(active) = self.active.on_parent(layer).await? else {
            return Ok(Unpacked::default());
        };
        let moved = match Ground::of(&active.mounts) {
            Ok(ground) => {
                let from = filled.ground.upper.clone();
                let implied = filled.files.implied.clone();
                let roots = Arc::clone(&self.roots);
                run_blocking(move || {
                    extract::move_tree(
                        ground::open_directory(&from)?,
                        ground::open_directory(&ground.upper)?,
                    )?;
                    inherit(&implied, &ground, &roots)?;
                    Ok(ground)
                })
                .await
            }
            Err(unsound) => Err(unsound.into()),
        };
        match moved {
            Ok(ground) => commit(layer, active, ground, filled.files.bytes).await,
            Err(error) => {
                active.remove().await;
                Err(error)
            }
        }
    }

    /// Commits the snapshot that the layer was extracted to.
    async fn commit_completed(&self, filled: Filled) -> Result<Unpacked, Error> {
        let Filled { layer, active, ground, files, .. } = filled;
        let (bytes, roots) = (files.bytes, Arc::clone(&self.roots));
        let inherit = move || inherit(&files.implied, &ground, &roots).map(|()| ground);
        let inherited = run_blocking(inherit).await;
        match inherited {
            Ok(ground) => commit(&layer, active, ground, bytes).await,
            Err(error) => {
                active.remove().await;
                Err(error)
            }
        }
    }
}

/// Ends a copy that nobody waits for any more.
#[derive(Default)]
struct HaltOnDrop(Halt);

impl Drop for HaltOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// Commits `active`, into whose `ground` so many bytes of files were written.
async fn commit(
    layer: &Layer,
    active: ActiveSnapshot,
    ground: Ground,
    bytes: u64,
) -> Result<Unpacked, Error> {
    Ok(match active.commit(layer).await? {
        Committed::Done => Unpacked { ground: Some(ground), bytes: Some(bytes) },
        Committed::Exists => Unpacked::default(),
    })
}

/// Completes directories that the layer does not describe from the layers below.
fn inherit(implied: &[ImpliedDirectory], ground: &Ground, roots: &Roots) -> Result<(), Error> {
    if implied.is_empty() || ground.lowers.is_empty() {
        return Ok(());
    }
    Ok(extract::inherit(implied, ground::open_directory(&ground.upper)?, &ground.lowers, roots)?)
}
