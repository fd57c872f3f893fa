//! Mending: what is missing or wrong is fetched, and nothing else; labels and names are written anew; a
//! wrong snapshot gives way to a right one where nobody lives on it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::checkup::{Checkup, Report, tell};
use super::error::Error;
use super::finding::{Remedy, Unpacked};
use crate::containerd::{
    self, Client, ContentStore, Labels, Opened, SnapshotInfo, ingest_reference, labels,
};
use crate::oci::{ChainId, Descriptor, Digest};
use crate::progress::BlobState;
use crate::reference::Reference;
use crate::transfer::{self, DocumentKind, Source};
use crate::unpack::{self, Allowance, Unpacker, Way};

/// How often a blob that arrives damaged is asked for again, where another host may give it.
const FETCH_TRIES: usize = 3;

/// A registry's image, by its digest, and the name that leads there.
pub struct Origin {
    /// The name.
    pub reference: Reference,
    /// Where its content is.
    pub source: Arc<dyn Source>,
}

impl Checkup {
    /// Mends what `report` says, in the order in which things build on each other. What is fetched
    /// comes from the first of `origins` that has it. Returns why something could not be mended.
    pub async fn mend(&mut self, report: &Report, origins: &[Origin]) -> Vec<Error> {
        let mut failures = Vec::new();
        let findings = || report.findings.iter().map(|finding| &finding.remedy);
        for remedy in findings() {
            let mended = match remedy {
                Remedy::Fetch(blob, kind) => self.fetch(blob, *kind, origins).await,
                Remedy::Label(digest, labels) => self.label(digest, labels).await,
                Remedy::Name(name, target, labels) => self.name(name, target, labels).await,
                Remedy::Unpack(_) | Remedy::Rewrite(..) | Remedy::Discard(..) => Ok(()),
            };
            failures.extend(mended.err());
        }
        if !failures.is_empty() {
            return failures;
        }
        for remedy in findings() {
            let mended = match remedy {
                Remedy::Discard(snapshotter, chain) => self.discard(snapshotter, chain).await,
                Remedy::Rewrite(unpacked, position) => {
                    self.rewrite(unpacked, *position, origins).await
                }
                _ => Ok(()),
            };
            failures.extend(mended.err());
        }
        if !failures.is_empty() {
            return failures;
        }
        for remedy in findings() {
            if let Remedy::Unpack(unpacked) = remedy {
                failures.extend(self.unpack(unpacked, origins).await.err());
            }
        }
        failures
    }

    /// Snapshots that were removed to be made anew: other images may have had them too.
    pub fn discarded(&self) -> &BTreeSet<String> {
        &self.discarded
    }

    async fn label(&self, digest: &Digest, labels: &Labels) -> Result<(), Error> {
        Ok(self.client.content().add_labels(digest, labels).await?)
    }

    /// Stores the name, also where it is there: by that the CRI plugin hears of it.
    async fn name(&self, name: &str, target: &Descriptor, labels: &Labels) -> Result<(), Error> {
        Ok(self.client.images().put(name, target, labels, None).await?)
    }

    /// Brings the right bytes of a blob, from the first origin that has them.
    async fn fetch(
        &mut self,
        blob: &Descriptor,
        kind: DocumentKind,
        origins: &[Origin],
    ) -> Result<(), Error> {
        let leased = self.leased().await?.clone();
        let mut tried = Vec::new();
        for origin in origins {
            match self.fetch_from(&leased, blob, kind, origin).await {
                Ok(()) => return Ok(()),
                Err(error @ (Error::Containerd(_) | Error::OutOfReach(_))) => return Err(error),
                Err(error) => tried.push((origin.reference.name(), error)),
            }
        }
        let digest = blob.digest;
        Err(match tried.len() {
            0 => Error::NoSource(digest),
            1 => tried.remove(0).1,
            _ => Error::Nowhere { digest, tried },
        })
    }

    async fn fetch_from(
        &self,
        leased: &Client,
        blob: &Descriptor,
        kind: DocumentKind,
        origin: &Origin,
    ) -> Result<(), Error> {
        let known = self.client.content().info(&blob.digest).await?;
        let known = known.map(|info| info.labels).unwrap_or_default();
        let source = labels::distribution_source(&origin.reference, &known);
        let labels: Labels = source.into_iter().collect();
        let content = leased.content();
        if kind == DocumentKind::Manifest {
            let bytes = origin.source.document(blob, kind).await?;
            return store(&content, blob, &labels, Some(bytes), None).await;
        }
        tell(&*self.progress, blob, BlobState::Downloading);
        let mut tries = 1;
        loop {
            let mut stream = origin.source.blob(blob, 0).await?;
            let stored = store(&content, blob, &labels, None, Some(&mut *stream)).await;
            match stored {
                Ok(()) => {
                    stream.right();
                    tell(&*self.progress, blob, BlobState::Done);
                    return Ok(());
                }
                Err(Error::Containerd(
                    containerd::Error::BadAnswer { .. }
                    | containerd::Error::Size { .. }
                    | containerd::Error::Mismatch { .. },
                )) => {
                    let another = stream.wrong();
                    if !another || tries == FETCH_TRIES {
                        return Err(stream.damaged(blob.digest).into());
                    }
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes a snapshot and all that lie on it.
    async fn discard(&mut self, snapshotter: &str, chain: &ChainId) -> Result<(), Error> {
        let name = chain.to_string();
        let users = self.users(snapshotter, &name);
        if !users.is_empty() {
            return Err(Error::InUse { snapshot: name, users });
        }
        let all = self.snapshots.get(snapshotter).cloned().unwrap_or_default();
        // What it lies on is held by nothing else, perhaps.
        if let Some(parent) = all.get(&name).and_then(|info| info.parent.as_ref()) {
            self.hold(snapshotter, parent).await?;
        }
        let mut doomed = vec![name];
        let mut next = 0;
        while let Some(parent) = doomed.get(next).cloned() {
            let children = all.values().filter(|info| info.parent.as_ref() == Some(&parent));
            doomed.extend(children.map(|info: &SnapshotInfo| info.name.clone()));
            next += 1;
        }
        let snapshots = self.client.snapshots(snapshotter);
        // Those on top first.
        for name in doomed.into_iter().rev() {
            snapshots.remove(&name).await?;
            self.alike.retain(|(_, chain_id)| chain_id.to_string() != name);
            self.discarded.insert(name);
        }
        Ok(())
    }

    /// Makes the snapshots that are missing.
    async fn unpack(&mut self, unpacked: &Unpacked, origins: &[Origin]) -> Result<(), Error> {
        let Unpacked { snapshotter, config, layers } = unpacked;
        let leased = self.leased().await?.clone();
        let snapshots = leased.snapshots(snapshotter);
        let progress = Arc::clone(&self.progress);
        let allowance = Allowance::new(None);
        let unpacker = Unpacker::new(&leased, snapshotter, Way::Auto, allowance, progress)?;
        let unpacker = Arc::new(unpacker);
        for (descriptor, identity) in layers {
            let name = identity.chain_id.to_string();
            self.hold(snapshotter, &name).await?;
            if snapshots.stat(&name).await?.is_some() {
                unpacker.know(identity.chain_id);
                continue;
            }
            self.fetch_if_missing(descriptor, origins).await?;
            let (descriptor, identity) = (descriptor.clone(), *identity);
            let layer = unpack::Layer { descriptor, identity, labels: Labels::new() };
            let handle = unpack::Handle::new(Arc::clone(&unpacker), layer);
            let made = match handle.stage().await {
                Ok(()) => handle.unpack().await,
                failed => failed,
            };
            if let Err(error) = made {
                unpacker.close().await;
                return Err(error.into());
            }
        }
        unpacker.close().await;
        if let Some((_, top)) = layers.last() {
            let kept = [labels::gc_snapshot(snapshotter, &top.chain_id)].into();
            self.client.content().add_labels(config, &kept).await?;
        }
        Ok(())
    }

    /// Puts the right files of one layer in the place of the wrong ones.
    async fn rewrite(
        &mut self,
        unpacked: &Unpacked,
        position: usize,
        origins: &[Origin],
    ) -> Result<(), Error> {
        let (Some((descriptor, identity)), Some((_, top))) =
            (unpacked.layers.get(position), unpacked.layers.last())
        else {
            return Ok(());
        };
        let name = identity.chain_id.to_string();
        let users = self.users(&unpacked.snapshotter, &name);
        if !users.is_empty() {
            return Err(Error::InUse { snapshot: name, users });
        }
        self.fetch_if_missing(descriptor, origins).await?;
        let sight = match self.sight.get() {
            Some(Ok(sight)) => sight,
            Some(Err(why)) => return Err(Error::OutOfSight(why.clone())),
            None => return Err(Error::OutOfSight("nobody looked for them".to_owned())),
        };
        let mut directories = sight.directories(&top.chain_id).await?;
        directories.reverse();
        let Some(directory) = directories.get(position) else { return Ok(()) };
        let lowers = directories.get(..position).unwrap_or_default();
        let lowers: Vec<_> = lowers.iter().rev().cloned().collect();
        let layer = unpack::Layer {
            descriptor: descriptor.clone(),
            identity: *identity,
            labels: Labels::new(),
        };
        let blob = self.client.content().nearest_reader(&descriptor.digest, 0).await?;
        Ok(sight.replace(&layer, directory, &lowers, blob).await?)
    }

    async fn fetch_if_missing(
        &mut self,
        blob: &Descriptor,
        origins: &[Origin],
    ) -> Result<(), Error> {
        match self.client.content().info(&blob.digest).await? {
            Some(_) => Ok(()),
            None => self.fetch(blob, DocumentKind::Blob, origins).await,
        }
    }
}

/// Puts the blob, out of `bytes` or of `stream`, where the daemon keeps it.
async fn store(
    content: &ContentStore,
    blob: &Descriptor,
    labels: &Labels,
    bytes: Option<Bytes>,
    stream: Option<&mut dyn transfer::BlobStream>,
) -> Result<(), Error> {
    if let Some(mut replacement) = content.replacement(blob).await? {
        if let Some(bytes) = bytes {
            replacement = replacement.write(bytes).await?;
        }
        if let Some(stream) = stream {
            while let Some(piece) = stream.next().await {
                replacement = replacement.write(piece?).await?;
            }
        }
        return Ok(replacement.commit(labels).await?);
    }
    // What the daemon has, it takes from nobody.
    if content.info(&blob.digest).await?.is_some() {
        return Err(Error::OutOfReach(blob.digest));
    }
    let mut ingest = match content.ingest(&ingest_reference(blob), blob).await? {
        Opened::Exists => return Err(Error::OutOfReach(blob.digest)),
        Opened::Ingest(ingest) => ingest,
    };
    if ingest.offset() > 0 {
        ingest.restart().await?;
    }
    if let Some(bytes) = bytes {
        ingest.write(bytes).await?;
    }
    if let Some(stream) = stream {
        while let Some(piece) = stream.next().await {
            ingest.write(piece?).await?;
        }
    }
    Ok(ingest.commit(labels.clone()).await?)
}
