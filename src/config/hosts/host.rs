//! A registry host as configured: where it is, what it may be asked for, and how.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::reference::Reference;

use super::rewrite::Rewrite;

/// What a host may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Manifests by digest, and blobs.
    Pull,
    /// A tag's digest.
    Resolve,
    /// Uploads.
    Push,
    /// What refers to a manifest.
    Referrers,
}

/// The set of [`Capability`]s that a host has.
///
/// | asked for | needs |
/// |---|---|
/// | a tag | pull and resolve |
/// | a manifest by digest, a blob | pull |
/// | an upload | push |
/// | what refers to a manifest | pull and referrers |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// See [`Capability::Pull`].
    pub pull: bool,
    /// See [`Capability::Resolve`].
    pub resolve: bool,
    /// See [`Capability::Push`]; never used by a pull.
    pub push: bool,
    /// See [`Capability::Referrers`]; never used by a pull.
    pub referrers: bool,
}

impl Capabilities {
    /// What a host has whose configuration does not say.
    pub const ALL: Self = Self { pull: true, resolve: true, push: true, referrers: true };

    /// The set of what is in this one or in `other`.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            pull: self.pull || other.pull,
            resolve: self.resolve || other.resolve,
            push: self.push || other.push,
            referrers: self.referrers || other.referrers,
        }
    }

    /// Whether `capability` is in the set.
    pub fn has(self, capability: Capability) -> bool {
        match capability {
            Capability::Pull => self.pull,
            Capability::Resolve => self.resolve,
            Capability::Push => self.push,
            Capability::Referrers => self.referrers,
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
    /// Extra request headers, to this host; [`RegistryHost::sends_headers_to`] says which token
    /// endpoints get them.
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
    /// What a repository is called there, where that is something else; the first that fits counts.
    pub rewrites: Vec<Rewrite>,
    /// Other hosts whose token endpoint gets `headers` as well: `https://auth.example`.
    pub header_realms: Vec<String>,
    /// Where this host was configured.
    pub source: Source,
    /// The directory of the image's registry in which a `hosts.toml` counts, whether it exists or
    /// not; `None` where nobody asked for one.
    pub directory: Option<PathBuf>,
}

impl RegistryHost {
    /// What `path` is followed by for the repository of `reference`: its path there, rewritten where
    /// a rule of the host's fits.
    pub fn path_of(&self, reference: &Reference) -> String {
        let rewritten = self.rewrites.iter().find_map(|rewrite| rewrite.apply(reference.path()));
        rewritten.unwrap_or_else(|| reference.path().to_owned())
    }

    /// The repository of `reference` as this host calls it, in its tokens as well: below the project
    /// that the host's path names (one of Harbor's proxy projects), if it names one.
    pub fn repository(&self, reference: &Reference) -> String {
        match self.path.strip_prefix("/v2/") {
            Some(project) => format!("{project}/{}", self.path_of(reference)),
            None => self.path_of(reference),
        }
    }

    /// Whether `headers` may be sent to a token endpoint at `realm`: to the host itself, in clear only
    /// if it is asked in clear, or to one that the host's table names.
    pub fn sends_headers_to(&self, realm: &Url) -> bool {
        let same_as = |url: &str| Url::parse(url).is_ok_and(|url| url.origin() == realm.origin());
        let own = format!("{}://{}", self.scheme, self.authority);
        let in_clear = self.http_fallback && same_as(&format!("http://{}", self.authority));
        same_as(&own) || in_clear || self.header_realms.iter().any(|url| same_as(url))
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
            .field("rewrites", &self.rewrites)
            .field("header_realms", &self.header_realms)
            .field("source", &self.source)
            .field("directory", &self.directory)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::hosts::{HostOptions, own_registry};

    #[test]
    fn a_repository_is_below_the_project_that_the_path_names() {
        let reference: Reference = "docker.io/library/busybox:1".parse().unwrap();
        for (path, rewrite, path_of, repository) in [
            ("/v2", None, "library/busybox", "library/busybox"),
            ("/v2/proxy", None, "library/busybox", "proxy/library/busybox"),
            ("/v2/a/b", None, "library/busybox", "a/b/library/busybox"),
            ("/v2-mirror", None, "library/busybox", "library/busybox"),
            ("/cache/v2", None, "library/busybox", "library/busybox"),
            ("", None, "library/busybox", "library/busybox"),
            ("/v2", Some(("^library/(.*)", "hub/$1")), "hub/busybox", "hub/busybox"),
            ("/v2/proxy", Some(("^library/", "")), "busybox", "proxy/busybox"),
            ("/v2", Some(("^other/", "x/")), "library/busybox", "library/busybox"),
        ] {
            let rewrites = rewrite.into_iter();
            let host = RegistryHost {
                path: path.to_owned(),
                rewrites: rewrites.map(|(from, to)| Rewrite::new(from, to).unwrap()).collect(),
                ..own_registry("reg.example", &HostOptions::default())
            };
            assert_eq!(host.path_of(&reference), path_of, "{path} {rewrite:?}");
            assert_eq!(host.repository(&reference), repository, "{path} {rewrite:?}");
        }
    }

    #[test]
    fn headers_go_to_no_other_host_unless_its_name_is_written_down() {
        for (host, fallback, realm, goes) in [
            ("https://reg.example", false, "https://reg.example/token", true),
            ("https://reg.example", false, "https://reg.example:443/token", true),
            ("https://reg.example:5000", false, "https://reg.example:5000/token", true),
            ("https://reg.example", false, "https://auth.example/token", false),
            ("https://reg.example", false, "https://reg.example:5001/token", false),
            ("https://reg.example", false, "http://reg.example/token", false),
            ("https://reg.example:80", false, "http://reg.example/token", false),
            ("http://reg.example:5000", false, "http://reg.example:5000/token", true),
            ("https://reg.example:5000", true, "http://reg.example:5000/token", true),
            ("https://reg.example", false, "https://named.example/token", true),
            ("https://reg.example", false, "http://named.example/token", false),
            ("https://[::1]:5000", false, "https://[::1]:5000/token", true),
        ] {
            let (scheme, authority) = host.split_once("://").unwrap();
            let host = RegistryHost {
                scheme: scheme.to_owned(),
                http_fallback: fallback,
                header_realms: vec!["https://named.example".to_owned()],
                ..own_registry(authority, &HostOptions::default())
            };
            let host = RegistryHost { authority: authority.to_owned(), ..host };
            assert_eq!(host.sends_headers_to(&realm.parse().unwrap()), goes, "{host:?} {realm}");
        }
    }
}
