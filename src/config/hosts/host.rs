//! A registry host as configured: where it is, what it may be asked for, and how.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::reference::Reference;

/// What a host may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Manifests by digest, and blobs.
    Pull,
    /// A tag's digest.
    Resolve,
}

/// The set of [`Capability`]s that a host has.
///
/// | asked for | needs |
/// |---|---|
/// | a tag | pull and resolve |
/// | a manifest by digest, a blob | pull |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// See [`Capability::Pull`].
    pub pull: bool,
    /// See [`Capability::Resolve`].
    pub resolve: bool,
    /// Uploads; never used by a pull, kept for `explain`.
    pub push: bool,
    /// The referrers API; never used by a pull, kept for `explain`.
    pub referrers: bool,
}

impl Capabilities {
    /// What a host has whose configuration does not say.
    pub const ALL: Self = Self { pull: true, resolve: true, push: true, referrers: true };

    /// Whether `capability` is in the set.
    pub fn has(self, capability: Capability) -> bool {
        match capability {
            Capability::Pull => self.pull,
            Capability::Resolve => self.resolve,
        }
    }
}

/// Where a setting was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file and a line, counted from 1.
    File(PathBuf, usize),
    /// No file says anything about this host.
    Default,
}

/// A client certificate; without `key` the certificate file holds both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// PEM file of the certificate chain.
    pub cert: PathBuf,
    /// PEM file of the private key.
    pub key: Option<PathBuf>,
}

/// A request header's name and its values.
pub type Header = (String, Vec<String>);

/// One host that a pull may ask, and how. `Debug` shows no header's value, as those may be secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistryHost {
    /// `https` or `http`.
    pub scheme: String,
    /// `host[:port]` contacted, IPv6 in brackets: `registry-1.docker.io`, `[::1]:5000`.
    pub authority: String,
    /// What `/<repository>/manifests/…` is appended to: `/v2`, or what `override_path` says. Begins
    /// with a slash or is empty, and does not end in one.
    pub path: String,
    /// What it may be asked for.
    pub capabilities: Capabilities,
    /// Extra certificate authorities, PEM files, added to the system's.
    pub ca: Vec<PathBuf>,
    /// Client certificates.
    pub client: Vec<ClientCertificate>,
    /// Do not verify the server's certificate.
    pub skip_verify: bool,
    /// Extra request headers, to this host and the token endpoint that it names.
    pub headers: Vec<Header>,
    /// Extra request headers that every registry host gets, and no token endpoint.
    pub common_headers: Vec<Header>,
    /// Whether `path` was given as it is, without `/v2`.
    pub override_path: bool,
    /// Longest wait for a connection; `None` is the default of 30 s.
    pub dial_timeout: Option<Duration>,
    /// Try https, then plain http when the answer is no TLS.
    pub http_fallback: bool,
    /// Value of the `ns=` query parameter: the image's own registry, when this host is another.
    pub ns: Option<String>,
    /// Where this host was configured.
    pub source: Source,
}

impl RegistryHost {
    /// The repository of `reference` as this host calls it: below the project that the host's path
    /// names, if it names one.
    pub fn repository(&self, reference: &Reference) -> String {
        match self.path.strip_prefix("/v2/") {
            Some(project) => format!("{project}/{}", reference.path()),
            None => reference.path().to_owned(),
        }
    }
}

impl fmt::Debug for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers = self.common_headers.iter().chain(&self.headers);
        let headers: Vec<&str> = headers.map(|(name, _)| name.as_str()).collect();
        f.debug_struct("RegistryHost")
            .field("url", &format_args!("{}://{}{}", self.scheme, self.authority, self.path))
            .field("capabilities", &self.capabilities)
            .field("ca", &self.ca)
            .field("client", &self.client)
            .field("skip_verify", &self.skip_verify)
            .field("headers", &headers)
            .field("override_path", &self.override_path)
            .field("dial_timeout", &self.dial_timeout)
            .field("http_fallback", &self.http_fallback)
            .field("ns", &self.ns)
            .field("source", &self.source)
            .finish()
    }
}
