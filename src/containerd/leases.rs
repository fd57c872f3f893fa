//! Leases: what a pull has written but not yet named is held by one, until it expires.

use std::time::Duration;

use containerd_client::services::v1 as api;
use containerd_client::services::v1::leases_client::LeasesClient;
use jiff::Timestamp;

use super::client::Service;
use super::labels::{EXPIRE, Labels};
use super::{Client, Error};

/// A lease, by whomever it was taken.
#[derive(Debug, Clone)]
pub struct Lease {
    /// Its name.
    pub id: String,
    /// Its labels.
    pub labels: Labels,
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

    /// Lets the lease `id` hold a resource: of the `kind` `content` or
    /// `snapshots/<snapshotter>`, called `name` there. The daemon does not look whether it exists.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such a lease; when the daemon refuses.
    pub async fn hold(&self, id: &str, kind: &str, name: &str) -> Result<(), Error> {
        let resource = api::Resource { id: name.to_owned(), r#type: kind.to_owned() };
        let request = api::AddResourceRequest { id: id.to_owned(), resource: Some(resource) };
        let operation = format!("add {kind} {name} to lease {id}");
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
