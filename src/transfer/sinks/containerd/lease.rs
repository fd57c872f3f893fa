//! The lease that holds what a run has written and not yet named.
//!
//! Each run has one of its own: two pulls of one image that shared a lease would pull it from under
//! each other. A run that fails or is killed leaves its lease to expire, which keeps the partial
//! downloads for the next run; a later run that completes the same images removes it.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::containerd::labels::Labels;
use crate::containerd::{Client, Error, Lease};
use crate::oci::Digest;
use crate::sync::lock;
use crate::transfer::sink::Outcome;

/// How long what a failed run leaves can be resumed (24 h, the lifetime of containerd's own leases).
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Label of a lease: the process that holds it.
const OWNER: &str = "pullctl.io/owner";
/// Labels of a lease: this, and a part of the name's digest, stands for each image it is for. A
/// label holds 4 KiB, so fifty names need as many labels.
const IMAGE_PREFIX: &str = "pullctl.io/image.";

/// The lease of a run, taken when it is first needed.
#[derive(Debug)]
pub(super) struct RunLease {
    client: Client,
    id: String,
    labels: Labels,
    taken: OnceCell<()>,
    /// What it was told to hold: kinds and names.
    held: Mutex<HashSet<(String, String)>>,
}

impl RunLease {
    /// A lease for the images with these names.
    pub(super) fn new(client: &Client, images: impl IntoIterator<Item = String>) -> Self {
        let id = format!("pullctl-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let mut labels: Labels =
            images.into_iter().map(|name| (image_label(&name), name)).collect();
        labels.insert(OWNER.to_owned(), Owner::current().to_string());
        Self {
            client: client.with_lease(&id),
            id,
            labels,
            taken: OnceCell::new(),
            held: Mutex::default(),
        }
    }

    /// The client under the lease, which exists from now on.
    pub(super) async fn client(&self) -> Result<&Client, Error> {
        let leases = self.client.leases();
        self.taken.get_or_try_init(|| leases.create(&self.id, LIFETIME, &self.labels)).await?;
        Ok(&self.client)
    }

    /// Keeps something that exists already for as long as the lease, `content` or
    /// `snapshots/overlayfs`.
    pub(super) async fn hold(&self, kind: &str, id: &str) -> Result<(), Error> {
        let resource = (kind.to_owned(), id.to_owned());
        if self.held().contains(&resource) {
            return Ok(());
        }
        self.client().await?.leases().hold(&self.id, kind, id).await?;
        self.held().insert(resource);
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, HashSet<(String, String)>> {
        // Nothing that could panic happens under this lock.
        lock(&self.held)
    }

    /// Drops the lease of this run, and those that ended runs left behind for the same images.
    pub(super) async fn release(&self, outcomes: &[Outcome]) -> Result<(), Error> {
        if self.taken.get().is_none() {
            return Ok(());
        }
        let leases = self.client.leases();
        leases.delete(&self.id, false).await?;
        let done: BTreeSet<_> =
            outcomes.iter().map(|done| image_label(&done.names.reference.to_string())).collect();
        for lease in leases.list().await? {
            if is_left_behind(&lease, &done) {
                leases.delete(&lease.id, false).await?;
            }
        }
        Ok(())
    }
}

fn image_label(name: &str) -> String {
    format!("{IMAGE_PREFIX}{}", Digest::of(name.as_bytes()).short())
}

fn is_left_behind(lease: &Lease, done: &BTreeSet<String>) -> bool {
    let Some(owner) = lease.labels.get(OWNER) else { return false };
    let mut images = lease.labels.keys().filter(|key| key.starts_with(IMAGE_PREFIX));
    images.all(|image| done.contains(image)) && Owner::has_ended(owner)
}

/// A process that no other is mistaken for: process IDs come again, after a reboot at the latest.
struct Owner {
    boot: String,
    /// In which process IDs are what they are: a container has its own.
    namespace: String,
    process: u32,
    started: String,
}

impl Owner {
    fn current() -> Self {
        Self::of(std::process::id())
    }

    fn of(process: u32) -> Self {
        let read = |path: String| fs::read_to_string(path).unwrap_or_default();
        let boot = read("/proc/sys/kernel/random/boot_id".into()).trim().to_owned();
        let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let is_digit = |character: &char| character.is_ascii_digit();
        let namespace = namespace.to_string_lossy().chars().filter(is_digit).collect();
        let stat = read(format!("/proc/{process}/stat"));
        // The start time is the 22nd field; the second, the command, may hold anything.
        let after_command = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let started = after_command.split_whitespace().nth(19).unwrap_or("0").to_owned();
        Self { boot, namespace, process, started }
    }

    /// Whether `owner`, as [`Display`](std::fmt::Display) wrote it, is surely no more.
    fn has_ended(owner: &str) -> bool {
        let mut parts = owner.split('/');
        let (Some(boot), Some(namespace)) = (parts.next(), parts.next()) else { return false };
        let Some(process) = parts.next().and_then(|process| process.parse().ok()) else {
            return false;
        };
        let here = Self::of(process);
        // Of another namespace's processes nothing is known until the next boot.
        here.boot != boot || here.namespace == namespace && here.to_string() != owner
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}/{}", self.boot, self.namespace, self.process, self.started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(owner: &str, images: &[&str]) -> Lease {
        let mut labels: Labels =
            images.iter().map(|name| (image_label(name), (*name).to_owned())).collect();
        labels.insert(OWNER.to_owned(), owner.to_owned());
        Lease { id: "x".to_owned(), labels }
    }

    #[test]
    fn only_leases_of_ended_runs_for_the_same_images_are_left_behind() {
        let done = BTreeSet::from([image_label("a:1"), image_label("b:1")]);
        let alive = Owner::current().to_string();
        let ended = "another-boot/1/1/1";
        let Owner { boot, process, started, .. } = Owner::current();
        let elsewhere = format!("{boot}/1/{process}/{started}");
        assert!(!is_left_behind(&lease(&elsewhere, &["a:1"]), &done), "in another namespace");
        assert!(is_left_behind(&lease(ended, &["a:1"]), &done));
        assert!(!is_left_behind(&lease(ended, &["a:1", "c:1"]), &done));
        assert!(!is_left_behind(&lease(&alive, &["a:1"]), &done));
        assert!(!is_left_behind(&Lease { id: "x".into(), labels: Labels::new() }, &done));
    }
}
