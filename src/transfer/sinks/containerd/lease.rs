//! The lease that holds what a run has written and not yet named.
//!
//! Each run has one of its own: two pulls of one image that shared a lease would pull it from under
//! each other. When a run ends, what it has named needs no lease any more. What it leaves unfinished
//! of an image is held by a lease for that image alone, which takes the place of those that earlier
//! runs have left for it: one an image, for a day from the last try. A run that is killed leaves its
//! lease as it is; the next one for the same images removes it.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio::try_join;

use super::belongings;
use crate::containerd::{Client, Error, Lease, Leases, Resource};
use crate::failure::Failure;
use crate::sync::lock;
use crate::transfer::sink::Outcome;

/// How long what a failed run leaves can be resumed (24 h, the lifetime of containerd's own leases).
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Resources that are added to a lease at the same time. Each is a transaction of the daemon's, which
/// makes one after the other anyway.
const HOLDS_AT_ONCE: usize = 4;

/// The lease of a run, taken when it is first needed.
#[derive(Debug)]
pub(super) struct RunLease {
    client: Client,
    own: Lease,
    taken: OnceCell<()>,
    /// Who takes it before it is needed.
    taking: Mutex<Option<JoinHandle<()>>>,
    /// What it was told to hold.
    held: Mutex<HashSet<Resource>>,
}

impl RunLease {
    /// A lease for the images with these names.
    pub(super) fn new(client: &Client, images: impl IntoIterator<Item = String>) -> Self {
        let own = Lease::ours(images);
        let client = client.with_lease(&own.id);
        let (taken, taking, held) = (OnceCell::new(), Mutex::default(), Mutex::default());
        Self { client, own, taken, taking, held }
    }

    /// Begins to take it, which is a transaction of the daemon's, while nobody waits for it.
    pub(super) fn take_early(self: &Arc<Self>) {
        let lease = Arc::clone(self);
        *lock(&self.taking) = Some(tokio::spawn(async move {
            // Whoever needs it tries again, and tells.
            if let Err(error) = lease.client().await {
                tracing::debug!(%error, "the lease is taken later");
            }
        }));
    }

    /// The client under the lease, which exists from now on.
    pub(super) async fn client(&self) -> Result<&Client, Error> {
        let Lease { id, labels } = &self.own;
        let leases = self.client.leases();
        self.taken.get_or_try_init(|| leases.create(id, LIFETIME, labels)).await?;
        Ok(&self.client)
    }

    /// Keeps something that exists already for as long as the lease.
    pub(super) async fn hold(&self, resource: Resource) -> Result<(), Error> {
        if self.held().contains(&resource) {
            return Ok(());
        }
        self.client().await?.leases().hold(&self.own.id, &resource).await?;
        self.held().insert(resource);
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, HashSet<Resource>> {
        // Nothing that could panic happens under this lock.
        lock(&self.held)
    }

    /// Ends the lease, and those that ended runs left behind for the same images. What is unfinished
    /// of an image is held on, unless there was no room for the rest of it: then what this run wrote
    /// is given back, for it may be all that is left on the disk.
    pub(super) async fn end(&self, outcomes: &[Outcome]) -> Result<(), Error> {
        let taking = lock(&self.taking).take();
        if let Some(taking) = taking {
            // It has nothing to tell.
            let _ = taking.await;
        }
        if self.taken.get().is_none() {
            return Ok(());
        }
        let leases = self.client.leases();
        let (unfinished, done): (Vec<_>, Vec<_>) =
            outcomes.iter().partition(|outcome| outcome.failure.is_some());
        let mut settled: BTreeSet<String> = done.into_iter().map(name).collect();
        if unfinished.is_empty() {
            let (left, ()) = try_join!(leases.list(), leases.delete(&self.own.id, false))?;
            return remove_left_behind(&leases, &left, &settled).await;
        }
        let left = leases.list().await?;
        let held = leases.resources(&self.own.id).await?;
        let mut is_short_of_room = false;
        for outcome in unfinished {
            if outcome.failure == Some(Failure::DiskFull) {
                is_short_of_room = true;
                self.give_back(outcome, &held).await?;
            } else if !outcome.images.is_empty() {
                renew(&leases, outcome, &held, &left).await?;
                settled.insert(name(outcome));
            }
        }
        // The room has to be there when we say that it is.
        leases.delete(&self.own.id, is_short_of_room).await?;
        remove_left_behind(&leases, &left, &settled).await
    }

    /// Deletes what there is of unfinished blobs of the image. What is complete goes with the lease.
    async fn give_back(&self, outcome: &Outcome, held: &[Resource]) -> Result<(), Error> {
        let belongings = belongings::of(outcome);
        for ingest in held.iter().filter(|resource| belongings.contains(resource)) {
            if ingest.kind == Resource::INGESTS {
                self.client.content().abort(&ingest.name).await?;
            }
        }
        Ok(())
    }
}

/// Puts what is `held` of an unfinished image, by this run or by those that have `left` it, under a
/// lease of its own.
async fn renew(
    leases: &Leases,
    outcome: &Outcome,
    held: &[Resource],
    left: &[Lease],
) -> Result<(), Error> {
    let name = name(outcome);
    let mut resources: BTreeSet<Resource> = held.iter().cloned().collect();
    for lease in left.iter().filter(|lease| is_left_behind_for(lease, &name)) {
        match leases.resources(&lease.id).await {
            Ok(more) => resources.extend(more),
            // It expired, or another run was quicker.
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let belongings = belongings::of(outcome);
    resources.retain(|resource| belongings.contains(resource));
    if resources.is_empty() {
        return Ok(());
    }
    let Lease { id, labels } = Lease::ours([name]);
    leases.create(&id, LIFETIME, &labels).await?;
    let mut calls = Vec::with_capacity(resources.len());
    for resource in &resources {
        calls.push(leases.hold(&id, resource));
    }
    stream::iter(calls).buffer_unordered(HOLDS_AT_ONCE).try_collect().await
}

fn name(outcome: &Outcome) -> String {
    outcome.names.reference.to_string()
}

fn is_left_behind_for(lease: &Lease, image: &str) -> bool {
    lease.is_left_behind() && lease.images().is_some_and(|images| images.contains(&image))
}

/// Removes those of the leases `left` by ended runs that were for none but the images `settled`.
async fn remove_left_behind(
    leases: &Leases,
    left: &[Lease],
    settled: &BTreeSet<String>,
) -> Result<(), Error> {
    for lease in left {
        let is_settled = |images: Vec<&str>| images.into_iter().all(|name| settled.contains(name));
        if lease.is_left_behind() && lease.images().is_some_and(is_settled) {
            leases.delete(&lease.id, false).await?;
        }
    }
    Ok(())
}
