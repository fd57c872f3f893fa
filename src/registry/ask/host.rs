//! The hosts of one repository: who may be asked for what, and under which URL.

use std::sync::Arc;

use crate::config::{Capability, RegistryHost};
use crate::reference::Reference;
use crate::registry::auth::Access;
use crate::registry::hint::SettingsPlace;
use crate::registry::http::endpoint::Endpoint;

/// One host as one repository sees it.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    settings: RegistryHost,
    endpoint: Arc<Endpoint>,
    access: Arc<Access>,
    place: SettingsPlace,
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
        let scope = format!("repository:{repository}:pull");
        Self {
            place: SettingsPlace::of(&settings, reference.domain()),
            settings,
            endpoint,
            access: Arc::new(Access { repository, scope }),
            repository: path,
        }
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    pub(crate) fn access(&self) -> &Arc<Access> {
        &self.access
    }

    /// Where its settings are changed.
    pub(crate) fn place(&self) -> &SettingsPlace {
        &self.place
    }

    /// Path and query of `manifests/<tag or digest>` or `blobs/<digest>` of the repository.
    pub(crate) fn path(&self, document: &str) -> String {
        let query = match &self.settings.ns {
            None => String::new(),
            Some(ns) => {
                let mut query = url::form_urlencoded::Serializer::new(String::new());
                format!("?{}", query.append_pair("ns", ns).finish())
            }
        };
        format!("{}/{}/{document}{query}", self.settings.path, self.repository)
    }

    /// Whether it stands in for the image's own registry.
    pub(crate) fn is_mirror(&self) -> bool {
        self.settings.ns.is_some()
    }

    fn may(&self, capability: Capability) -> bool {
        let capabilities = self.settings.capabilities;
        // A tag that resolves where nothing may be pulled is of no use.
        capabilities.has(Capability::Pull) && capabilities.has(capability)
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
