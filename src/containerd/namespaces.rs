//! Namespaces. A daemon answers for any name as for one that is empty, so whether it has a namespace
//! is a question of its own.

use containerd_client::services::v1 as api;
use containerd_client::services::v1::namespaces_client::NamespacesClient;

use super::client::MAX_ANSWER_BYTES;
use super::{Client, Error};

impl Client {
    /// The namespaces that there are, by name.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn namespaces(&self) -> Result<Vec<String>, Error> {
        let mut service =
            NamespacesClient::new(self.service()).max_decoding_message_size(MAX_ANSWER_BYTES);
        let request = api::ListNamespacesRequest { filter: String::new() };
        let answer = self.call("list namespaces", service.list(request)).await?;
        let mut names: Vec<String> =
            answer.namespaces.into_iter().map(|found| found.name).collect();
        names.sort_unstable();
        Ok(names)
    }
}
