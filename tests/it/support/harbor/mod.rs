//! A Harbor as its users meet it: nginx with a certificate of a private authority, behind it the
//! token service and docker-registry, which trusts the service's key. Only the token service is of
//! the test bed.
//!
//! It is called [`NAME`], which no resolver knows; [`Harbor::resolve`] says where it is.

mod service;
mod signer;

use std::path::PathBuf;

use super::Validity;
use super::faulty::Request;
use super::image::Image;
use super::nginx::{Access, Nginx};
use super::registry::Registry;
use service::TokenService;
pub(crate) use service::{ANN, Account, ROBOT, STRANGER};
use signer::Signer;

/// The host's name, in references and on its certificate.
pub(crate) const NAME: &str = "harbor.example";

/// Of a Harbor that retires a key: where the ranges begin that the registry without that key serves.
/// The pattern is that of ranges which begin beyond the first million bytes.
const LATE_RANGE: &str = "^bytes=[0-9]{7,}-";

/// A running Harbor with the private project `team`.
pub(crate) struct Harbor {
    /// The images, without any guard; where they are pushed to.
    open: Registry,
    /// What nginx leads to.
    _guarded: Vec<Registry>,
    service: TokenService,
    nginx: Nginx,
}

impl Harbor {
    pub(crate) fn start() -> Self {
        let (open, service) = (Registry::start(), TokenService::start(1));
        let guarded = open.beside(&service.trusted_keys(0));
        let registry = Nginx::proxy(guarded.authority(), "");
        Self::behind_nginx(open, vec![guarded], service, &registry)
    }

    /// One whose public project `hub` is a proxy cache of `upstream`.
    pub(crate) fn caching(upstream: &Registry) -> Self {
        let (open, service) = (Registry::start(), TokenService::start(1));
        let cache = Registry::configured(&(upstream.as_upstream() + &service.trusted_keys(0)));
        let hub = format!(
            "location /v2/hub/ {{\n proxy_pass http://{}/v2/;\n \
             proxy_set_header Host $http_host;\n}}\n",
            cache.authority()
        );
        let guarded = open.beside(&service.trusted_keys(0));
        let registry = Nginx::proxy(guarded.authority(), "");
        Self::behind_nginx(open, vec![guarded, cache], service, &(hub + &registry))
    }

    /// One that signs its first token with a key which is trusted for the first million bytes of a
    /// blob alone. So a token grows invalid in the middle of a transfer, whatever the time.
    pub(crate) fn retiring_a_key() -> Self {
        let (open, service) = (Registry::start(), TokenService::start(2));
        let early = open.beside(&service.trusted_keys(0));
        let late = open.beside(&service.trusted_keys(1));
        let choice = format!(
            "set $registry {};\n if ($http_range ~ \"{LATE_RANGE}\") {{ set $registry {}; }}",
            early.authority(),
            late.authority()
        );
        let registry = Nginx::proxy("$registry", &choice);
        Self::behind_nginx(open, vec![early, late], service, &registry)
    }

    fn behind_nginx(
        open: Registry,
        guarded: Vec<Registry>,
        service: TokenService,
        registry: &str,
    ) -> Self {
        let tokens = format!(
            "location = {} {{ proxy_pass http://{}; }}\n",
            service::PATH,
            service.authority()
        );
        let nginx = Nginx::start_tls(&(tokens + registry), NAME, Validity::Now);
        Self { open, _guarded: guarded, service, nginx }
    }

    /// Puts `image` there as `repository:v1` and answers its reference.
    pub(crate) fn push(&self, image: &Image, repository: &str) -> String {
        self.push_as(image, repository, "v1")
    }

    /// The same with another tag.
    pub(crate) fn push_as(&self, image: &Image, repository: &str, tag: &str) -> String {
        self.open.push(image, repository, tag);
        format!("{NAME}/{repository}:{tag}")
    }

    /// Certificate of the private authority.
    pub(crate) fn ca(&self) -> PathBuf {
        self.nginx.ca()
    }

    /// The value of `--resolve` that leads here.
    pub(crate) fn resolve(&self) -> String {
        format!("{NAME}:{}", self.nginx.authority())
    }

    /// All requests to the registries so far.
    pub(crate) fn requests(&self) -> Vec<Access> {
        let mut requests = self.nginx.requests();
        requests.retain(|request| request.path != service::PATH);
        requests
    }

    /// All requests for tokens so far.
    pub(crate) fn token_requests(&self) -> Vec<Request> {
        self.service.requests()
    }

    /// All tokens so far.
    pub(crate) fn tokens(&self) -> Vec<String> {
        self.service.tokens()
    }
}
