//! What pulls that ended early have left, of whichever client: leases, blobs that are not complete,
//! snapshots that were being filled, directories that no snapshot has.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::finding::{Finding, Fix};
use super::hosts::shell_word;
use super::node::Node;
use crate::containerd::{Client, Lease, Resource, SnapshotKind, Unfinished};
use crate::images::{Leftover, leftovers};

/// After how long without a byte a blob counts as left: no client waits for so long.
const STALE: Duration = Duration::from_secs(3600);

/// What the keys of snapshots begin with that layers are unpacked into.
const EXTRACTS: &str = "extract-";

/// Most commands that one fix has.
const MAX_COMMANDS: usize = 20;

pub(super) async fn findings(node: &Node) -> Vec<Finding> {
    let Some(client) = node.client() else { return Vec::new() };
    let mut found = Vec::new();
    let (ours, expired) =
        leftovers(client).await.unwrap_or_default().into_iter().partition(is_of_use);
    let clean = node.pullctl("doctor --clean");
    found.extend(of_use(ours, &clean));
    found.extend(expired_leases(client, expired, clean).await);
    let held = held(client).await.unwrap_or_default();
    found.extend(blobs(client, &held).await);
    let Some(snapshotter) = node.cri.as_ref().and_then(|cri| cri.snapshotter.clone()) else {
        return found;
    };
    found.extend(snapshots(client, &snapshotter, &held).await);
    if let Some(root) = node.root() {
        let below = format!("io.containerd.snapshotter.v1.{snapshotter}/snapshots");
        found.extend(directories(client, &snapshotter, &root.join(below)).await);
    }
    found
}

/// Whether a later pull may go on with it: the daemon drops what has expired when it next collects.
fn is_of_use(left: &Leftover) -> bool {
    left.expires.is_none_or(|expires| expires > Timestamp::now())
}

fn of_use(held: Vec<Leftover>, clean: &str) -> Option<Finding> {
    let first = held.first()?;
    let what = format!(
        "pulls of pullctl that ended early hold {} bytes: {} of them, the first of {}",
        sum_of(&held),
        held.len(),
        first.images.first().map_or("images without a name", String::as_str)
    );
    let why = "the next pull of the same image goes on with them; without one they go within a day";
    let fix = Fix::command(clean);
    Some(Finding::note("leftovers", what, why).fixed_by(fix))
}

fn sum_of(held: &[Leftover]) -> u64 {
    held.iter().fold(0, |sum, held| sum.saturating_add(held.size_bytes))
}

/// Leases whose time is over and that are still there, ours and others'.
async fn expired_leases(client: &Client, ours: Vec<Leftover>, clean: String) -> Option<Finding> {
    let all = client.leases().list().await.unwrap_or_default();
    let others: Vec<&Lease> =
        all.iter().filter(|lease| lease.images().is_none() && lease.has_expired()).collect();
    let count = ours.len() + others.len();
    if count == 0 {
        return None;
    }
    let what = match ours.len() {
        0 => format!("{count} leases of other programs have expired and are still there"),
        own => format!(
            "{count} leases have expired and are still there, {own} of them pullctl's, with {} bytes",
            sum_of(&ours)
        ),
    };
    let why = "containerd drops them, and what they alone hold, when it next removes something: on a \
               quiet node that may be never";
    // Either has the daemon collect, and drop all of them.
    let command = match (ours.first(), others.first()) {
        (None, Some(other)) => {
            let id = shell_word(&other.id);
            format!("ctr -n {} leases delete --sync {id}", client.namespace())
        }
        _ => clean,
    };
    let fix = Fix::command(command);
    Some(Finding::note("expired-leases", what, why).fixed_by(fix))
}

/// Everything that a lease holds.
async fn held(client: &Client) -> Option<BTreeSet<Resource>> {
    let leases = client.leases();
    let mut held = BTreeSet::new();
    for lease in leases.list().await.ok()? {
        held.extend(leases.resources(&lease.id).await.unwrap_or_default());
    }
    Some(held)
}

async fn blobs(client: &Client, held: &BTreeSet<Resource>) -> Option<Finding> {
    let unfinished = client.content().unfinished().await.ok()?;
    let now = SystemTime::now();
    let is_left = |blob: &&Unfinished| {
        !held.contains(&Resource::new(Resource::INGESTS, &blob.reference)) && is_stale(blob, now)
    };
    let left: Vec<&Unfinished> = unfinished.iter().filter(is_left).collect();
    told(&left)
}

fn told(left: &[&Unfinished]) -> Option<Finding> {
    let bytes = left.iter().fold(0_u64, |sum, blob| sum.saturating_add(blob.offset));
    let first = &left.first()?.reference;
    let what = format!("{} blobs were never completed, and hold {bytes} bytes", left.len());
    let why = "nobody goes on with them but a pull of the same image by the same client";
    // No command of ctr's ends one.
    let fix = format!(
        "pull the image again, with the client that began it; otherwise containerd drops them a day \
         after they were begun, when it next removes something. The first is {first}"
    );
    Some(Finding::note("unfinished-blobs", what, why).fixed_by(Fix::text(fix)))
}

fn is_stale(blob: &Unfinished, now: SystemTime) -> bool {
    let age = blob.updated.and_then(|updated| now.duration_since(updated).ok());
    age.is_some_and(|age| age >= STALE)
}

async fn snapshots(
    client: &Client,
    snapshotter: &str,
    held: &BTreeSet<Resource>,
) -> Option<Finding> {
    let kind = format!("{}{snapshotter}", Resource::SNAPSHOTS);
    let all = client.snapshots(snapshotter).list().await.ok()?;
    let mut left = all.iter().filter(|snapshot| {
        snapshot.kind == SnapshotKind::Active
            && snapshot.name.starts_with(EXTRACTS)
            && !held.contains(&Resource::new(&kind, &snapshot.name))
    });
    let first = left.next()?;
    let count = 1 + left.clone().count();
    let what = format!("{count} snapshots were being filled with layers, and nobody holds them");
    let why = "a pull that was killed leaves them, and they keep the layers below them";
    let commands = std::iter::once(first).chain(left).take(MAX_COMMANDS).map(|snapshot| {
        let key = shell_word(&snapshot.name);
        format!("ctr -n {} snapshots --snapshotter {snapshotter} rm {key}", client.namespace())
    });
    let fix =
        Fix { commands: commands.collect(), ..Fix::text("while nothing is pulled, remove them") };
    Some(Finding::note("unfinished-snapshots", what, why).fixed_by(fix))
}

/// Directories beside those of the snapshots that the daemon knows, in all namespaces.
async fn directories(client: &Client, snapshotter: &str, place: &Path) -> Option<Finding> {
    let is_number = |entry: &fs::DirEntry| {
        entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let count = || Some(fs::read_dir(place).ok()?.flatten().filter(is_number).count());
    let before = count()?;
    let mut known = 0;
    for namespace in client.namespaces().await.ok()? {
        let other = Client::connect(client.address(), &namespace).await.ok()?;
        known += other.snapshots(snapshotter).list().await.ok()?.len();
    }
    // What comes or goes meanwhile is no leftover.
    let unknown = before.min(count()?).checked_sub(known).filter(|unknown| *unknown > 0)?;
    let what = format!("{unknown} directories in {} belong to no snapshot", place.display());
    let why = "a daemon that was killed while it removed snapshots leaves them: they take room, and \
               nothing removes them";
    let fix = "the daemon takes them away when it next removes a snapshot: let it, by removing an image \
               that nobody uses";
    Some(Finding::note("unknown-snapshot-directories", what, why).fixed_by(Fix::text(fix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_left_once_nothing_of_it_came_for_an_hour() {
        let now = SystemTime::UNIX_EPOCH + 100 * STALE;
        for (updated, is_left) in [
            (Some(now), false),
            (Some(now - STALE + Duration::from_secs(1)), false),
            (Some(now - STALE), true),
            (Some(now + STALE), false),
            (None, false),
        ] {
            let blob = Unfinished { reference: "layer-x".to_owned(), offset: 1, updated };
            assert_eq!(is_stale(&blob, now), is_left, "{updated:?}");
            let finding = told(&[&blob]).map(|finding| finding.code);
            assert_eq!(finding, Some("unfinished-blobs"));
        }
    }
}
