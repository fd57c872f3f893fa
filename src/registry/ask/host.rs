//! The hosts of one repository: who may be asked for what, and under which URL.

use std::sync::Arc;

use crate::config::{Capability, RegistryHost};
use crate::reference::Reference;
use crate::registry::auth::{Access, Action};
use crate::registry::http::endpoint::Endpoint;
use crate::registry::place::SettingsPlace;

/// One host as one repository sees it.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    settings: RegistryHost,
    endpoint: Arc<Endpoint>,
    place: SettingsPlace,
    /// The repository as the host's URLs have it.
    path: String,
    /// The same as its logins and tokens have it.
    repository: String,
}

impl Host {
    /// `settings` may differ from the endpoint's in what concerns the repository only.
    pub(crate) fn new(
        settings: RegistryHost,
        endpoint: Arc<Endpoint>,
        reference: &Reference,
    ) -> Self {
        let repository = settings.repository(reference);
        let path = settings.path_of(reference);
        Self {
            place: SettingsPlace::of(&settings, reference.domain()),
            settings,
            endpoint,
            path,
            repository,
        }
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// What a request wants that does `action`.
    pub(crate) fn access(&self, action: &Action) -> Access {
        Access::to(self.repository.clone(), action)
    }

    /// Where its settings are changed.
    pub(crate) fn place(&self) -> &SettingsPlace {
        &self.place
    }

    /// Path and query of `manifests/<tag or digest>`, `blobs/<digest>` and the like of the repository.
    pub(crate) fn path(&self, document: &str) -> String {
        self.path_with(document, &[])
    }

    /// The same with `parameters` in the query.
    pub(crate) fn path_with(&self, document: &str, parameters: &[(&str, &str)]) -> String {
        let path = format!("{}/{}/{document}", self.settings.path, self.path);
        let namespace = self.settings.ns.as_deref().map(|ns| ("ns", ns));
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters).extend_pairs(namespace);
        match query.finish() {
            query if query.is_empty() => path,
            query => format!("{path}?{query}"),
        }
    }

    /// Whether it stands in for the image's own registry.
    pub(crate) fn is_mirror(&self) -> bool {
        self.settings.ns.is_some()
    }

    /// Its name in logins and tokens.
    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }

    /// Whether it may be asked for what needs `capability`.
    pub(crate) fn may(&self, capability: Capability) -> bool {
        let capabilities = self.settings.capabilities;
        // A tag that resolves where nothing may be pulled is of no use; an upload reads nothing.
        let pulls = capability == Capability::Push || capabilities.has(Capability::Pull);
        pulls && capabilities.has(capability)
    }
}

/// All hosts of one repository, in the order of preference.
#[derive(Debug, Clone)]
pub(crate) struct Hosts(Vec<Host>);

impl Hosts {
    pub(crate) fn new(hosts: Vec<Host>) -> Self {
        Self(hosts)
    }

    /// The hosts that may be asked for what needs `capability`. There is no way to any other.
    pub(crate) fn with(&self, capability: Capability) -> Vec<Host> {
        self.0.iter().filter(|host| host.may(capability)).cloned().collect()
    }
}
