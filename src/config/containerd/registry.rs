//! The CRI's `registry` section: `config_path`, and what was there before it.
//!
//! `mirrors`, `configs` and `auths` are deprecated and yet what many nodes have. See
//! <https://github.com/containerd/containerd/blob/release/1.7/docs/cri/registry.md>.

use std::path::{Path, PathBuf};

use crate::config::authority::{RegistryKey, is_loopback};
use crate::config::credentials::Credential;
use crate::config::docker::Members;
use crate::config::document::{Setting, Table};
use crate::config::error::Error;
use crate::config::hosts::{
    Capabilities, ClientCertificate, HostOptions, HostSettings, HostUrl, RegistryHost, Source,
    configure, configure_own, own_registry,
};
use crate::config::named_file::NamedFile;
use crate::config::warning::WarningKind;
use crate::failure::Notice;

use super::headers::Headers;

/// The key of `mirrors` that stands for every registry without a key of its own.
const ANY_REGISTRY: &str = "*";

/// What a mirror may be asked for; the CRI never pushes.
const MIRROR_CAPABILITIES: Capabilities =
    Capabilities { pull: true, resolve: true, push: false, referrers: false };

/// The section, merged from every file and version.
#[derive(Debug, Default)]
pub(super) struct RegistrySection {
    pub(super) config_path: Vec<PathBuf>,
    pub(super) headers: Headers,
    mirrors: Vec<Mirrors>,
    tls: Vec<TlsConfig>,
    logins: Vec<(String, Credential)>,
    /// Where the settings stand that exclude `config_path`.
    exclusive: Vec<Notice>,
}

/// `mirrors."HOST"`.
#[derive(Debug)]
struct Mirrors {
    registry: String,
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone)]
struct Endpoint {
    url: HostUrl,
    source: Source,
}

/// `configs."HOST".tls`. Its files are looked at when a pull contacts the host.
#[derive(Debug)]
struct TlsConfig {
    registry: RegistryKey,
    skip_verify: Option<bool>,
    ca: Option<NamedFile>,
    cert: Option<NamedFile>,
    key: Option<NamedFile>,
    source: Source,
}

impl RegistrySection {
    /// Adds what `section` says; it takes the place of what earlier files said of the same host.
    pub(super) fn absorb(&mut self, section: &Table<'_>, directory: &Path) -> Result<(), Error> {
        if let Some(config_path) = section.text("config_path")? {
            self.config_path = std::env::split_paths(config_path).collect();
        }
        if let Some(headers) = section.get("headers") {
            self.headers.absorb(&headers)?;
        }
        if let Some(mirrors) = section.get("mirrors") {
            for registry in mirrors.table()?.settings() {
                self.absorb_mirrors(&registry)?;
            }
        }
        if let Some(auths) = section.get("auths") {
            for registry in auths.table()?.settings() {
                self.absorb_login(&registry, &registry)?;
            }
        }
        if let Some(configs) = section.get("configs") {
            for registry in configs.table()?.settings() {
                self.absorb_config(&registry, directory)?;
            }
        }
        Ok(())
    }

    fn absorb_mirrors(&mut self, registry: &Setting<'_>) -> Result<(), Error> {
        let endpoints = match registry.table()?.get("endpoint") {
            Some(endpoints) => endpoints.array()?.iter().map(endpoint).collect::<Result<_, _>>()?,
            None => Vec::new(),
        };
        self.excludes_config_path(registry, "mirrors");
        self.mirrors.retain(|mirrors| mirrors.registry != registry.name);
        self.mirrors.push(Mirrors { registry: registry.name.to_owned(), endpoints });
        Ok(())
    }

    fn absorb_config(&mut self, registry: &Setting<'_>, directory: &Path) -> Result<(), Error> {
        let config = registry.table()?;
        if let Some(auth) = config.get("auth") {
            self.absorb_login(registry, &auth)?;
        }
        let Some(tls) = config.get("tls") else { return Ok(()) };
        self.excludes_config_path(&tls, "configs.*.tls");
        let key = RegistryKey::of(registry.name);
        let source = Source::File(tls.path().to_owned(), tls.line());
        let tls = tls.table()?;
        let skip_verify = tls.get("insecure_skip_verify").map(|skip| skip.boolean()).transpose()?;
        let file = |name| named_file(&tls, name, directory);
        let config = TlsConfig {
            registry: key,
            skip_verify: skip_verify.filter(|skip| *skip),
            ca: file("ca_file")?,
            cert: file("cert_file")?,
            key: file("key_file")?,
            source,
        };
        self.tls.retain(|tls| tls.registry != config.registry);
        self.tls.push(config);
        Ok(())
    }

    fn absorb_login(&mut self, registry: &Setting<'_>, auth: &Setting<'_>) -> Result<(), Error> {
        let auth = auth.table()?;
        let text = |name| auth.text(name).map(Option::unwrap_or_default);
        let members = Members {
            auth: text("auth")?,
            username: text("username")?,
            password: text("password")?,
            identity_token: text("identitytoken")?,
            registry_token: "",
        };
        let credential = members.credential().map_err(|error| {
            registry.invalid_name(
                format!("the login for {} {error}", registry.name),
                "`username` and `password`, or `auth` as base64 of user:password",
            )
        })?;
        if let Some(credential) = credential {
            self.logins.retain(|(name, _)| name != registry.name);
            self.logins.push((registry.name.to_owned(), credential));
        }
        Ok(())
    }

    fn excludes_config_path(&mut self, setting: &Setting<'_>, name: &str) {
        let (kind, message) = cri_refuses(&format!("`{name}` and `config_path` are both set"));
        self.exclusive.push(
            setting
                .warning(kind, message)
                .with_hint("move it to a hosts.toml below `config_path`, and restart containerd"),
        );
    }

    /// Every login, by its registry.
    pub(super) fn logins(&self) -> impl Iterator<Item = (String, Credential)> {
        self.logins.iter().cloned()
    }

    /// That the CRI refuses this section, where it does, and what is not obeyed.
    pub(super) fn warnings(&self) -> impl Iterator<Item = Notice> {
        let refused = self.exclusive.first().filter(|_| !self.config_path.is_empty()).cloned();
        refused.into_iter().chain(self.headers.warnings())
    }

    /// A warning if `domain` has mirrors here that `directory` takes the place of.
    pub(super) fn mirrors_not_used(&self, domain: &str, directory: &Path) -> Option<Notice> {
        let first = self.mirrors_of(domain)?.endpoints.first()?;
        let Source::File(path, line) = &first.source else { return None };
        let message = format!("mirrors for {domain} are not used: {} is", directory.display());
        Some(
            Notice::new(WarningKind::MirrorsNotUsed, message).at(path.clone(), *line).with_hint(
                "keep one of the two: with `config_path` set, containerd refuses `mirrors`",
            ),
        )
    }

    fn mirrors_of(&self, domain: &str) -> Option<&Mirrors> {
        let named = |name: &str| self.mirrors.iter().find(|mirrors| mirrors.registry == name);
        named(domain).or_else(|| named(ANY_REGISTRY))
    }

    /// The mirrors of `domain`, and last its own registry unless it is among them. `None` where
    /// the section says nothing of any of these hosts.
    pub(super) fn hosts(
        &self,
        domain: &str,
        options: &HostOptions,
    ) -> Result<Option<Vec<RegistryHost>>, Error> {
        let mirrors = self.mirrors_of(domain);
        let endpoints = mirrors.map_or(&[][..], |mirrors| mirrors.endpoints.as_slice());
        let own = own_registry(domain, options);
        let own_key = RegistryKey::of(&own.authority);
        let own_tls = self.tls_of(&own_key);
        if mirrors.is_none() && own_tls.is_none() {
            return Ok(None);
        }
        let mut hosts = endpoints
            .iter()
            .map(|endpoint| self.mirror(domain, options, endpoint))
            .collect::<Result<Vec<_>, Error>>()?;
        if !hosts.iter().any(|host| RegistryKey::of(&host.authority) == own_key) {
            hosts.push(match own_tls {
                Some(tls) => configure_own(domain, options, tls.settings()?, tls.source.clone()),
                None => own,
            });
        }
        Ok(Some(hosts))
    }

    fn mirror(
        &self,
        domain: &str,
        options: &HostOptions,
        endpoint: &Endpoint,
    ) -> Result<RegistryHost, Error> {
        let Endpoint { url, source } = endpoint.clone();
        let tls = self.tls_of(&RegistryKey::of(&url.authority));
        let settings = HostSettings {
            capabilities: Some(MIRROR_CAPABILITIES),
            // Unlike that of hosts.toml, a path here is the whole path of the API.
            override_path: url.has_own_path(),
            ..tls.map(TlsConfig::settings).transpose()?.unwrap_or_default()
        };
        Ok(configure(domain, options, url, settings, source))
    }

    fn tls_of(&self, registry: &RegistryKey) -> Option<&TlsConfig> {
        self.tls.iter().find(|tls| tls.registry == *registry)
    }
}

impl TlsConfig {
    fn settings(&self) -> Result<HostSettings, Error> {
        let readable = |file: &Option<NamedFile>| file.clone().map(NamedFile::readable).transpose();
        let key = readable(&self.key)?;
        Ok(HostSettings {
            skip_verify: self.skip_verify,
            ca: readable(&self.ca)?.into_iter().collect(),
            client: readable(&self.cert)?
                .map(|cert| ClientCertificate { cert, key })
                .into_iter()
                .collect(),
            ..HostSettings::default()
        })
    }
}

/// An endpoint; without a scheme, loopback is asked over http and others over https.
fn endpoint(written: &Setting<'_>) -> Result<Endpoint, Error> {
    let text = written.string()?;
    let authority = text.split_once('/').map_or(text, |(authority, _)| authority);
    let url = if !text.contains("://") && is_loopback(authority) {
        HostUrl::parse(&format!("http://{text}")).map_err(|error| error.at(written))?
    } else {
        HostUrl::of_value(written)?
    };
    Ok(Endpoint { url, source: Source::File(written.path().to_owned(), written.value_line()) })
}

fn named_file(
    tls: &Table<'_>,
    name: &'static str,
    directory: &Path,
) -> Result<Option<NamedFile>, Error> {
    match tls.text(name)? {
        Some(_) => tls.get(name).map(|file| NamedFile::of(&file, directory, name)).transpose(),
        None => Ok(None),
    }
}

/// A warning's kind and words where the CRI plugin refuses to start.
pub(super) fn cri_refuses(message: &str) -> (WarningKind, String) {
    (WarningKind::CriWillNotStart, format!("{message}: containerd's CRI plugin does not start"))
}
