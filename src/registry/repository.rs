//! The way in: a [`Registry`] for the run, a [`Repository`] for each image.

use std::slice;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use url::Url;

use crate::config::{
    Capabilities, Capability, Keychain, LoginFile, RegistryHost, Source as ConfigSource,
};
use crate::oci::{Descriptor, Digest, MediaKind};
use crate::progress::Sink;
use crate::reference::Reference;
use crate::registry::api::resolver::{self, Resolved};
use crate::registry::api::upload::destination::Destination;
use crate::registry::api::{manifest, referrers, tags};
use crate::registry::ask::host::{Host, Hosts};
use crate::registry::blob::location::Location;
use crate::registry::blob::source::Source;
use crate::registry::blob::stream::BlobStream;
use crate::registry::context::Context;
use crate::registry::error::{Error, SetupError};
use crate::registry::http::authority::authority;
use crate::registry::http::endpoint::Endpoint;
use crate::registry::policy::Policy;
use crate::sync::lock;

/// Most URLs of a foreign layer that are tried.
const MAX_FOREIGN_URLS: usize = 8;

/// All registries of one run: connections, tokens, and what was learnt about the hosts. Cloning it
/// is cheap and shares everything.
#[derive(Debug, Clone)]
pub struct Registry {
    context: Arc<Context>,
    endpoints: Arc<Mutex<Vec<Arc<Endpoint>>>>,
}

impl Registry {
    /// Starts the run's clock: `policy.timeout` counts from here.
    ///
    /// # Errors
    /// [`Error::Environment`] when a proxy variable can't be used.
    pub fn new(
        policy: Policy,
        keychain: Arc<Keychain>,
        sink: Arc<dyn Sink>,
    ) -> Result<Self, Error> {
        let context = Context::new(policy, keychain, sink).map_err(Error::Environment)?;
        let context = Arc::new(context);
        Ok(Self { context, endpoints: Arc::default() })
    }

    /// The same registries, asked with the logins of `files` before others. Nothing that was learnt by
    /// one login is used with another; limits and the run's clock are shared.
    #[must_use]
    pub fn with_logins(&self, files: Vec<LoginFile>) -> Self {
        let keychain = Keychain::over(Arc::clone(&self.context.keychain), files);
        let context = Arc::new(self.context.with_keychain(keychain));
        Self { context, endpoints: Arc::default() }
    }

    /// The repository of `reference` at `hosts`, which are asked in this order. Nothing is sent.
    pub fn repository(&self, hosts: Vec<RegistryHost>, reference: &Reference) -> Repository {
        let hosts = hosts
            .into_iter()
            .map(|settings| {
                let endpoint = self.endpoint(&settings)?;
                Ok(Host::new(settings, endpoint, reference))
            })
            .collect::<Result<Vec<_>, Error>>()
            .map(Hosts::new);
        Repository { registry: self.clone(), hosts, reference: reference.clone() }
    }

    /// The endpoint for `settings`, shared with every repository that reaches the host in the same
    /// way.
    pub(super) fn endpoint(&self, settings: &RegistryHost) -> Result<Arc<Endpoint>, Error> {
        let mut endpoints = lock(&self.endpoints);
        let known = endpoints.iter().find(|known| connects_alike(known.settings(), settings));
        if let Some(known) = known {
            return Ok(Arc::clone(known));
        }
        let endpoint = Endpoint::new(settings.clone(), Arc::clone(&self.context))
            .map_err(|source| setup_error(settings, source))?;
        let endpoint = Arc::new(endpoint);
        endpoints.push(Arc::clone(&endpoint));
        Ok(endpoint)
    }
}

fn setup_error(settings: &RegistryHost, source: SetupError) -> Error {
    let (host, settings) = (settings.authority.clone(), settings.source.clone());
    Error::Setup { host, settings, source }
}

/// Whether two hosts can share connections and logins: their paths, `ns` and capabilities may differ.
fn connects_alike(a: &RegistryHost, b: &RegistryHost) -> bool {
    a.scheme == b.scheme
        && a.authority == b.authority
        && a.ca == b.ca
        && a.client == b.client
        && a.skip_verify == b.skip_verify
        && a.headers == b.headers
        && a.common_headers == b.common_headers
        && a.header_realms == b.header_realms
        && a.dial_timeout == b.dial_timeout
        && a.http_fallback == b.http_fallback
}

/// One repository at the hosts that have it.
#[derive(Debug, Clone)]
pub struct Repository {
    registry: Registry,
    hosts: Result<Hosts, Error>,
    reference: Reference,
}

impl Repository {
    /// Checks that the settings of all its hosts can be used: certificates, keys, headers. Nothing is
    /// sent.
    ///
    /// # Errors
    /// [`Error::Setup`], with which every request would end.
    pub fn check(&self) -> Result<(), Error> {
        self.hosts().map(|_| ())
    }

    /// Finds out what the reference points to.
    ///
    /// # Errors
    /// [`Error::NoHost`] if no host may resolve; otherwise [`Error::AllHostsFailed`], with one
    /// attempt a host.
    pub async fn resolve(&self) -> Result<Resolved, Error> {
        resolver::resolve(&self.registry.context, self.hosts()?, &self.reference, true).await
    }

    /// As [`Repository::resolve`], for whoever will read the document in any case: it is asked for at
    /// once, unless another host would be asked for it, as where a mirror serves what it may not
    /// resolve.
    ///
    /// # Errors
    /// As [`Repository::resolve`].
    pub async fn resolve_and_read(&self) -> Result<Resolved, Error> {
        let hosts = self.hosts()?;
        let first = |capability| {
            let host = hosts.with(capability).into_iter().next();
            host.map(|host| host.endpoint().name().to_owned())
        };
        let heads = first(resolver::needed(&self.reference)) != first(Capability::Pull);
        resolver::resolve(&self.registry.context, hosts, &self.reference, heads).await
    }

    /// Reads a manifest or an index, of at most [`crate::oci::MAX_MANIFEST_BYTES`], its size and
    /// digest checked.
    ///
    /// # Errors
    /// As [`Repository::resolve`].
    pub async fn manifest(&self, descriptor: &Descriptor) -> Result<Bytes, Error> {
        let context = &self.registry.context;
        manifest::manifest(context, self.hosts()?, &self.reference, descriptor).await
    }

    /// The tags of the repository, sorted.
    ///
    /// # Errors
    /// As [`Repository::resolve`].
    pub async fn tags(&self) -> Result<Vec<String>, Error> {
        tags::tags(&self.registry.context, self.hosts()?, &self.reference).await
    }

    /// What refers to the manifest `subject`: signatures, attestations and the like, each described
    /// by its registry and not yet verified.
    ///
    /// # Errors
    /// As [`Repository::resolve`].
    pub async fn referrers(&self, subject: Digest) -> Result<Vec<Descriptor>, Error> {
        let context = &self.registry.context;
        referrers::referrers(context, self.hosts()?, &self.reference, subject).await
    }

    /// Where images of the repository are pushed to. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::NoPushHost`], [`Error::Setup`].
    pub fn destination(&self) -> Result<Destination, Error> {
        Destination::new(&self.registry.context, self.hosts()?, &self.reference)
    }

    /// Opens a blob at byte `offset`, trying pull-capable hosts in order; a foreign layer's own
    /// URLs come first.
    ///
    /// The stream is unverified: whoever stores it checks the digest.
    ///
    /// # Errors
    /// As [`Repository::resolve`].
    pub async fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        BlobStream::open(self.source(descriptor)?, offset).await
    }

    pub(crate) fn source(&self, descriptor: &Descriptor) -> Result<Source, Error> {
        let mut locations = self.foreign_locations(descriptor);
        let hosts = self.hosts()?.with(Capability::Pull);
        locations.extend(hosts.iter().map(|host| Location::at(host, descriptor)));
        let what = format!("read blob {} of {}", descriptor.digest, self.reference.name());
        let context = Arc::clone(&self.registry.context);
        Ok(Source::new(context, descriptor, locations, what))
    }

    /// Leaves `hosts` out for the rest of the run, since bytes from them failed verification, and
    /// tells whether another host may be asked for blobs. The last one is never left out: one bad
    /// blob must not cost a run all the images of its only registry.
    pub fn distrust(&self, hosts: &[String]) -> bool {
        self.leave_out(hosts, Capability::Pull)
    }

    /// As [`Repository::distrust`] for the one `host` whose bytes were found to be the wrong ones: the
    /// user is told.
    pub fn convict(&self, host: &str) -> bool {
        let another_left = self.distrust(slice::from_ref(&host.to_owned()));
        if another_left {
            self.registry.context.found_wrong(host);
        }
        another_left
    }

    /// Takes back [`Repository::distrust`] of `hosts`: it was another host whose bytes were wrong.
    pub fn trust(&self, hosts: &[String]) {
        self.registry.context.trust(hosts);
    }

    /// Whether `host` is left out.
    pub fn distrusts(&self, host: &str) -> bool {
        self.registry.context.is_distrusted(host)
    }

    /// Takes note that what the host that `resolved` the reference said of the document is wrong, and
    /// tells whether the reference may be resolved again. What was said in answer to HEAD may be right
    /// in answer to GET; otherwise the host is left out, unless it is the last one, as with
    /// [`Repository::distrust`].
    pub fn distrust_resolver(&self, resolved: &Resolved) -> bool {
        let hosts = self.hosts().map(|hosts| hosts.with(resolver::needed(&self.reference)));
        let resolver = hosts.iter().flatten().find(|host| host.endpoint().name() == resolved.host);
        if resolver.is_some_and(|host| host.endpoint().health().distrust_head()) {
            return true;
        }
        self.leave_out(slice::from_ref(&resolved.host), resolver::needed(&self.reference))
    }

    fn leave_out(&self, hosts: &[String], needed: Capability) -> bool {
        let context = &self.registry.context;
        let another_left = self.hosts().is_ok_and(|known| {
            known.with(needed).iter().any(|host| {
                let name = host.endpoint().name();
                !context.is_distrusted(name) && hosts.iter().all(|wrong| wrong != name)
            })
        });
        if another_left {
            context.distrust(hosts);
        }
        another_left
    }

    /// What its hosts are asked for.
    pub(super) fn reference(&self) -> &Reference {
        &self.reference
    }

    pub(super) fn hosts(&self) -> Result<&Hosts, Error> {
        self.hosts.as_ref().map_err(Clone::clone)
    }

    /// Where a foreign layer's own `urls` lead. A URL that can't be used is passed over: the registry
    /// may have the layer as well.
    fn foreign_locations(&self, descriptor: &Descriptor) -> Vec<Location> {
        if !matches!(descriptor.kind(), MediaKind::Layer { foreign: true, .. }) {
            return Vec::new();
        }
        let urls = descriptor.urls.iter().take(MAX_FOREIGN_URLS);
        urls.filter_map(|text| self.foreign_location(text)).collect()
    }

    fn foreign_location(&self, text: &str) -> Option<Location> {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        let endpoint = self.registry.endpoint(&anonymous(&url)?).ok()?;
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        Some(Location::anonymous(endpoint, format!("{}{query}", url.path())))
    }
}

/// A host that nothing is configured for.
fn anonymous(url: &Url) -> Option<RegistryHost> {
    Some(RegistryHost {
        scheme: url.scheme().to_owned(),
        authority: url.has_host().then(|| authority(url))?,
        path: String::new(),
        capabilities: Capabilities::ALL,
        ca: Vec::new(),
        client: Vec::new(),
        skip_verify: false,
        headers: Vec::new(),
        common_headers: Vec::new(),
        override_path: true,
        dial_timeout: None,
        http_fallback: false,
        ns: None,
        rewrites: Vec::new(),
        header_realms: Vec::new(),
        source: ConfigSource::Default,
        directory: None,
    })
}
