//! Leases: what a pull has written but not yet named is held by one, until it expires; and the labels
//! by which ours are told from others'.

use std::time::Duration;

use containerd_client::services::v1 as api;
use containerd_client::services::v1::leases_client::LeasesClient;
use jiff::Timestamp;

use super::client::Service;
use super::labels::{EXPIRE, Labels};
use super::owner::Owner;
use super::{Client, Error};
use crate::oci::Digest;

/// Label of our leases: the process that holds it.
const OWNER: &str = "pullctl.io/owner";

/// Labels of our leases: this, and a part of the name's digest, stands for each image that something
/// is held for. A label holds 4 KiB, so fifty names need as many labels.
const IMAGE_PREFIX: &str = "pullctl.io/image.";

/// A lease, by whomever it was taken.
#[derive(Debug, Clone)]
pub struct Lease {
    /// Its name.
    pub id: String,
    /// Its labels.
    pub labels: Labels,
}

/// Something that a lease holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    /// `content`, `ingests` or `snapshots/<snapshotter>`.
    pub kind: String,
    /// Its name there: a digest, an ingest's reference, a snapshot's key.
    pub name: String,
}

impl Resource {
    /// The kind of a blob.
    pub const CONTENT: &'static str = "content";

    /// The kind of a blob that is being written.
    pub const INGESTS: &'static str = "ingests";

    /// What the kind of a snapshot begins with; its snapshotter's name follows.
    pub const SNAPSHOTS: &'static str = "snapshots/";

    /// The resource of that kind and name.
    pub fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: kind.into(), name: name.into() }
    }
}

impl Lease {
    /// A name for a lease that no other has, and the labels that say that this process holds it for
    /// the `images` of those names.
    pub fn ours(images: impl IntoIterator<Item = String>) -> Self {
        let id = format!("pullctl-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let mut labels: Labels =
            images.into_iter().map(|name| (image_label(&name), name)).collect();
        labels.insert(OWNER.to_owned(), Owner::current().to_string());
        Self { id, labels }
    }

    /// The images that it is held for, by their references; `None` for a lease that is not ours.
    pub fn images(&self) -> Option<Vec<&str>> {
        self.labels.get(OWNER)?;
        let images = self.labels.iter().filter(|(key, _)| key.starts_with(IMAGE_PREFIX));
        Some(images.map(|(_, name)| name.as_str()).collect())
    }

    /// Whether it is ours and the process that took it is surely no more, or it has expired and no
    /// process is seen that took it, as from outside of its container: what it holds is left over.
    pub fn is_left_behind(&self) -> bool {
        self.labels.get(OWNER).is_some_and(|owner| {
            Owner::has_ended(owner) || self.has_expired() && !Owner::is_alive(owner)
        })
    }

    /// Whether the next garbage collection drops it.
    pub fn has_expired(&self) -> bool {
        self.expires().is_some_and(|expires| expires <= Timestamp::now())
    }

    /// When the garbage collector drops it.
    pub fn expires(&self) -> Option<Timestamp> {
        self.labels.get(EXPIRE)?.parse().ok()
    }
}

fn image_label(name: &str) -> String {
    format!("{IMAGE_PREFIX}{}", Digest::of(name.as_bytes()).short())
}

/// The leases of a namespace.
#[derive(Debug, Clone)]
pub struct Leases {
    client: Client,
}

impl Leases {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    fn service(&self) -> LeasesClient<Service> {
        LeasesClient::new(self.client.service())
            .max_decoding_message_size(super::client::MAX_ANSWER_BYTES)
    }

    /// Creates the lease `id`, which the garbage collector drops after `lifetime`.
    ///
    /// # Errors
    /// When the daemon refuses, for instance because it exists.
    pub async fn create(&self, id: &str, lifetime: Duration, labels: &Labels) -> Result<(), Error> {
        let mut labels = labels.clone();
        labels.insert(EXPIRE.to_owned(), expiry(lifetime).to_string());
        let request =
            api::CreateRequest { id: id.to_owned(), labels: labels.into_iter().collect() };
        let operation = format!("create lease {id}");
        self.client.call(operation, self.service().create(request)).await.map(drop)
    }

    /// All leases of the namespace.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn list(&self) -> Result<Vec<Lease>, Error> {
        let request = api::ListRequest { filters: Vec::new() };
        let leases = self.client.call("list leases", self.service().list(request)).await?.leases;
        let lease =
            |lease: api::Lease| Lease { id: lease.id, labels: lease.labels.into_iter().collect() };
        Ok(leases.into_iter().map(lease).collect())
    }

    /// What the lease `id` holds.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such a lease; when the daemon refuses.
    pub async fn resources(&self, id: &str) -> Result<Vec<Resource>, Error> {
        let request = api::ListResourcesRequest { id: id.to_owned() };
        let operation = format!("list what lease {id} holds");
        let resources = self.client.call(operation, self.service().list_resources(request)).await?;
        let resource = |found: api::Resource| Resource { kind: found.r#type, name: found.id };
        Ok(resources.resources.into_iter().map(resource).collect())
    }

    /// Lets the lease `id` hold a resource. The daemon does not look whether it exists.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such a lease; when the daemon refuses.
    pub async fn hold(&self, id: &str, resource: &Resource) -> Result<(), Error> {
        let Resource { kind, name } = resource;
        let operation = format!("add {kind} {name} to lease {id}");
        let resource = api::Resource { id: name.clone(), r#type: kind.clone() };
        let request = api::AddResourceRequest { id: id.to_owned(), resource: Some(resource) };
        self.client.call(operation, self.service().add_resource(request)).await
    }

    /// Drops the lease `id`; one that does not exist is fine. With `sync` the garbage collector
    /// runs before this returns.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn delete(&self, id: &str, sync: bool) -> Result<(), Error> {
        let request = api::DeleteRequest { id: id.to_owned(), sync };
        let operation = format!("delete lease {id}");
        match self.client.call(operation, self.service().delete(request)).await {
            Err(Error::NotFound { .. }) => Ok(()),
            other => other,
        }
    }
}

/// The moment `after` now, whole seconds as RFC 3339 has them at the least.
fn expiry(after: Duration) -> Timestamp {
    let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
    let end = Timestamp::now().as_second().saturating_add(seconds);
    Timestamp::from_second(end).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_of_ours_says_for_which_images_it_is_held_and_is_in_use_while_we_live() {
        let mut lease = Lease::ours(["a:1".to_owned(), "b:1".to_owned()]);
        let mut images = lease.images().unwrap();
        images.sort_unstable();
        assert_eq!(images, ["a:1", "b:1"]);
        assert!(!lease.is_left_behind());
        let mut ended = lease.clone();
        ended.labels.insert(OWNER.to_owned(), "another-boot/1/1/1".to_owned());
        assert!(ended.is_left_behind());
        let other = Lease { id: "x".to_owned(), labels: Labels::new() };
        assert_eq!((other.images(), other.is_left_behind()), (None, false));
        // Of a process in another namespace only the lease's own end is known.
        let mut unseen = Lease::ours([]);
        let owner = Owner::current().to_string();
        let elsewhere: Vec<&str> = owner.split('/').collect();
        let elsewhere = format!("{}/1/{}/{}", elsewhere[0], elsewhere[2], elsewhere[3]);
        unseen.labels.insert(OWNER.to_owned(), elsewhere);
        assert!(!unseen.is_left_behind());
        for lease in [&mut unseen, &mut lease] {
            lease.labels.insert(EXPIRE.to_owned(), "2026-01-02T03:04:05Z".to_owned());
        }
        assert!(unseen.is_left_behind());
        assert!(!lease.is_left_behind(), "we live");
    }

    #[test]
    fn a_lease_says_when_it_expires() {
        let mut lease = Lease::ours([]);
        assert_eq!(lease.expires(), None);
        lease.labels.insert(EXPIRE.to_owned(), "2026-01-02T03:04:05Z".to_owned());
        assert_eq!(lease.expires(), Some("2026-01-02T03:04:05Z".parse().unwrap()));
    }
}
