//! Leases: what a pull has written but not yet named is held by one, until it expires.

use std::time::Duration;

use containerd_client::services::v1 as api;
use containerd_client::services::v1::leases_client::LeasesClient;
use jiff::Timestamp;

use super::client::Service;
use super::labels::{EXPIRE, Labels};
use super::{Client, Error};

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

    /// Makes sure that the lease `id` exists and lives for at least half of `expire`. One that an
    /// earlier run left is taken over with everything that it holds, so that downloads go on.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn take(&self, id: &str, expire: Duration, labels: &Labels) -> Result<(), Error> {
        match self.create(id, expire, labels).await {
            Err(error) if error.is_already_exists() => self.keep_alive(id, expire, labels).await,
            other => other,
        }
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

    async fn create(&self, id: &str, expire: Duration, labels: &Labels) -> Result<(), Error> {
        let mut labels = labels.clone();
        labels.insert(EXPIRE.to_owned(), expiry(expire).to_string());
        let request =
            api::CreateRequest { id: id.to_owned(), labels: labels.into_iter().collect() };
        let operation = format!("create lease {id}");
        self.client.call(operation, self.service().create(request)).await.map(drop)
    }

    async fn keep_alive(&self, id: &str, expire: Duration, labels: &Labels) -> Result<(), Error> {
        if self.expires_after(id, expiry(expire / 2)).await? {
            return Ok(());
        }
        self.renew(id, expire, labels).await
    }

    async fn expires_after(&self, id: &str, moment: Timestamp) -> Result<bool, Error> {
        let request = api::ListRequest { filters: vec![format!("id=={id:?}")] };
        let operation = format!("look up lease {id}");
        let leases = self.client.call(operation, self.service().list(request)).await?.leases;
        let lease = leases.iter().find(|lease| lease.id == id);
        // A lease without an expiry, or with one that is none, is never collected.
        Ok(lease.is_some_and(|lease| {
            let end = lease.labels.get(EXPIRE).and_then(|text| text.parse::<Timestamp>().ok());
            end.is_none_or(|end| end > moment)
        }))
    }

    /// A lease's labels cannot be changed, so it is replaced, and a second one holds its resources
    /// meanwhile: without that, a garbage collection in between would take the partial downloads.
    async fn renew(&self, id: &str, expire: Duration, labels: &Labels) -> Result<(), Error> {
        let bridge = format!("{id}-renewal");
        let held = self.resources(id).await?;
        self.delete(&bridge, false).await?;
        self.create(&bridge, expire, labels).await?;
        self.hold(&bridge, &held).await?;
        self.delete(id, false).await?;
        self.create(id, expire, labels).await?;
        self.hold(id, &held).await?;
        self.delete(&bridge, false).await
    }

    async fn resources(&self, id: &str) -> Result<Vec<api::Resource>, Error> {
        let request = api::ListResourcesRequest { id: id.to_owned() };
        let operation = format!("list what lease {id} holds");
        match self.client.call(operation, self.service().list_resources(request)).await {
            Ok(answer) => Ok(answer.resources),
            // The garbage collector was quicker.
            Err(Error::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn hold(&self, id: &str, resources: &[api::Resource]) -> Result<(), Error> {
        for resource in resources {
            let request =
                api::AddResourceRequest { id: id.to_owned(), resource: Some(resource.clone()) };
            let operation = format!("add {} to lease {id}", resource.id);
            match self.client.call(operation, self.service().add_resource(request)).await {
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The moment `after` now, whole seconds as RFC 3339 has them at the least.
fn expiry(after: Duration) -> Timestamp {
    let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
    let end = Timestamp::now().as_second().saturating_add(seconds);
    Timestamp::from_second(end).unwrap_or(Timestamp::MAX)
}
