//! `registries.yaml` of k3s and RKE2, for a node on which they have made no `hosts.toml` of it yet: read
//! as what they would make of it.
//!
//! See <https://docs.k3s.io/installation/private-registry>.

use serde_json::{Map, Value};

use std::path::PathBuf;

use super::authority::{DOCKER_HUB_REGISTRY, is_loopback, split_port};
use super::credentials::Credential;
use super::docker::{LoginFile, Members};
use super::environment::Environment;
use super::error::Error;
use super::hosts::{
    Capabilities, ClientCertificate, HostOptions, HostSettings, HostUrl, RegistryHost, Rewrite,
    Source, configure, configure_own, own_registry,
};
use super::rancher;
use super::yaml::{YamlFile, text_of};
use crate::reference::DOCKER_HUB;

/// The distributions.
const DISTRIBUTIONS: [&str; 2] = ["k3s", "rke2"];

/// The setting of the distribution's own by which only what is configured is asked.
const LEAVES_OUT_OWN: &str = "disable-default-registry-endpoint";

/// The key that stands for every registry without a key of its own.
const ANY_REGISTRY: &str = "*";

/// What a mirror may be asked for: nobody pushes to one.
const MIRROR_CAPABILITIES: Capabilities =
    Capabilities { pull: true, resolve: true, push: false, referrers: true };

const EXPECTED: &str = "registries.yaml of k3s, with `mirrors` and `configs`";

/// The file, read.
#[derive(Debug)]
pub(super) struct RegistriesFile {
    file: YamlFile,
    /// Whether a registry with endpoints is asked at these alone.
    leaves_out_own: bool,
}

impl RegistriesFile {
    /// Reads the first that is there and of which nothing has been made.
    ///
    /// # Errors
    /// [`Error`] for one that cannot be read, or has something else than names in its tables.
    pub(super) fn read_first(environment: &Environment) -> Result<Option<Self>, Error> {
        let root = environment.node_root();
        for name in DISTRIBUTIONS {
            if root.join(format!("var/lib/rancher/{name}/agent/etc/containerd/certs.d")).is_dir() {
                continue;
            }
            let path = root.join(format!("etc/rancher/{name}/registries.yaml"));
            let Some(file) = YamlFile::read(&path, EXPECTED)? else { continue };
            if !file.value().is_null() && !file.value().is_object() {
                return Err(file.invalid("", "the file is no table", EXPECTED));
            }
            let settings = rancher::files(&root, name)?;
            let last = settings.iter().rev().find_map(|file| file.get(LEAVES_OUT_OWN));
            let leaves_out_own = last.and_then(text_of).is_some_and(|value| value == "true");
            return Ok(Some(Self { file, leaves_out_own }));
        }
        Ok(None)
    }

    /// The hosts for `domain`, as k3s makes them of the file: its endpoints, then the registry itself
    /// unless the node's configuration leaves it out. What is said of `"*"` counts where nothing is
    /// said of `domain`. `None` where the file says nothing of either.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what cannot be meant.
    pub(super) fn hosts(
        &self,
        domain: &str,
        options: &HostOptions,
    ) -> Result<Option<Vec<RegistryHost>>, Error> {
        match self.named_hosts(domain, options)? {
            Some(hosts) => Ok(Some(hosts)),
            None => self.any_hosts(domain, options),
        }
    }

    /// By what is said of `domain`, where that is more than its name.
    fn named_hosts(
        &self,
        domain: &str,
        options: &HostOptions,
    ) -> Result<Option<Vec<RegistryHost>>, Error> {
        let mirrors = self.table(self.file.value(), "mirrors")?;
        let mirror = mirrors.get(domain).filter(|mirror| !mirror.is_null());
        let is_configured = self.table(self.file.value(), "configs")?.contains_key(domain);
        let leaves_out_own = self.leaves_out_own && !is_configured;
        let mut endpoints = match mirror {
            Some(mirror) => self.endpoints(mirror, domain, options)?,
            None => Vec::new(),
        };
        // The registry itself as its own last endpoint is what comes last in any case: without rewrites.
        let own = own_registry(domain, options);
        let is_own =
            |host: &RegistryHost| (&host.authority, &host.path) == (&own.authority, &own.path);
        let repeated = endpoints.pop_if(|last| !leaves_out_own && is_own(last));
        let config = self.config_of(domain)?;
        let has_auth =
            config.is_some_and(|(_, config)| config.get("auth").is_some_and(|it| !it.is_null()));
        let tls = self.tls(config)?;
        let has_own_settings =
            has_auth || tls.is_some() || repeated.is_some_and(|own| !own.rewrites.is_empty());
        if endpoints.is_empty() && !has_own_settings {
            return Ok(None);
        }
        if !leaves_out_own {
            let own = match tls {
                Some((settings, source)) => configure_own(domain, options, settings, source),
                None => own,
            };
            endpoints.push(own);
        }
        Ok(Some(endpoints))
    }

    /// By what is said of every registry. Endpoints for all take the place of TLS settings for all.
    fn any_hosts(
        &self,
        domain: &str,
        options: &HostOptions,
    ) -> Result<Option<Vec<RegistryHost>>, Error> {
        if let Some(mirror) = self.table(self.file.value(), "mirrors")?.get(ANY_REGISTRY) {
            let mut hosts = self.endpoints(mirror, domain, options)?;
            if hosts.is_empty() {
                return Ok(None);
            }
            if !self.leaves_out_own {
                hosts.push(own_registry(domain, options));
            }
            return Ok(Some(hosts));
        }
        let config = self.table(self.file.value(), "configs")?.get_key_value(ANY_REGISTRY);
        let own = |(settings, source)| configure_own(domain, options, settings, source);
        Ok(self.tls(config)?.map(|found| vec![own(found)]))
    }

    /// The hosts that `mirror` names for `domain`, each once.
    fn endpoints(
        &self,
        mirror: &Value,
        domain: &str,
        options: &HostOptions,
    ) -> Result<Vec<RegistryHost>, Error> {
        let rewrites = self.rewrites(mirror)?;
        let mut hosts: Vec<RegistryHost> = Vec::new();
        for written in self.texts(mirror, "endpoint")? {
            let host = self.endpoint(domain, options, &written, rewrites.clone())?;
            let is_same = |known: &RegistryHost| {
                (&known.scheme, &known.authority, &known.path)
                    == (&host.scheme, &host.authority, &host.path)
            };
            if !hosts.iter().any(is_same) {
                hosts.push(host);
            }
        }
        Ok(hosts)
    }

    /// The logins of `configs`. One for every host is none: it would be sent anywhere.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a login that cannot be decoded.
    pub(super) fn logins(&self) -> Result<LoginFile, Error> {
        let mut logins: Vec<(String, Credential)> = Vec::new();
        for (registry, config) in self.table(self.file.value(), "configs")? {
            if registry == ANY_REGISTRY {
                continue;
            }
            let auth = self.table(config, "auth")?;
            let text = |name: &str| auth.get(name).and_then(Value::as_str).unwrap_or_default();
            let members = Members {
                auth: text("auth"),
                username: text("username"),
                password: text("password"),
                identity_token: text("identity_token"),
                registry_token: "",
            };
            let credential = members.credential().map_err(|error| {
                let problem = format!("the login for {registry} {error}");
                self.file.invalid(registry, problem, "`username` and `password`")
            })?;
            logins.extend(credential.map(|credential| (registry.clone(), credential)));
        }
        Ok(LoginFile::of_logins(self.file.path(), logins))
    }

    /// The entry of `configs` for the host at `authority`, and its name there.
    fn config_of(&self, authority: &str) -> Result<Option<(&String, &Value)>, Error> {
        let configs = self.table(self.file.value(), "configs")?;
        let names = match authority {
            DOCKER_HUB | DOCKER_HUB_REGISTRY => vec![DOCKER_HUB_REGISTRY, DOCKER_HUB],
            authority => vec![authority],
        };
        Ok(names.iter().find_map(|name| configs.get_key_value(*name)))
    }

    fn endpoint(
        &self,
        domain: &str,
        options: &HostOptions,
        written: &str,
        rewrites: Vec<Rewrite>,
    ) -> Result<RegistryHost, Error> {
        let authority = written.split_once('/').map_or(written, |(authority, _)| authority);
        let is_odd = matches!(split_port(authority).1, Some(port) if port != "443");
        let is_plain = !written.contains("://") && is_loopback(authority) && is_odd;
        let with_scheme = if is_plain { format!("http://{written}") } else { written.to_owned() };
        let mut url = HostUrl::parse(&with_scheme).map_err(|error| {
            self.file.invalid(written, format!("an endpoint {error}"), "a URL of a registry")
        })?;
        url.correct_docker_hub();
        let tls = self.tls(self.config_of(&url.authority)?)?;
        let settings = HostSettings {
            capabilities: Some(MIRROR_CAPABILITIES),
            override_path: url.has_own_path(),
            rewrites,
            ..tls.map(|(settings, _)| settings).unwrap_or_default()
        };
        let line = self.file.line_of(written);
        let source = Source::File(self.file.path().to_owned(), line);
        Ok(configure(domain, options, url, settings, source))
    }

    /// The rules in the order in which k3s writes them.
    fn rewrites(&self, mirror: &Value) -> Result<Vec<Rewrite>, Error> {
        let mut rules: Vec<_> = self.table(mirror, "rewrite")?.iter().collect();
        rules.sort_by_key(|(pattern, _)| pattern.as_str());
        let rule = |(pattern, replacement): (&String, &Value)| {
            let replacement = text_of(replacement).unwrap_or_default();
            let mistake = |problem: String| {
                let expected = "a pattern and a replacement in Go's syntax";
                self.file.invalid(pattern, problem, expected)
            };
            let (Some(read), Some(replacement)) = (as_in_toml(pattern), as_in_toml(&replacement))
            else {
                return Err(mistake(format!(
                    "the rule {pattern:?} is no text of TOML, as which k3s hands it on: each \
                     backslash has to be doubled"
                )));
            };
            Rewrite::new(&read, &replacement)
                .map_err(|error| mistake(format!("the pattern {pattern:?} {error}")))
        };
        rules.into_iter().map(rule).collect()
    }

    /// What an entry of `configs` says of TLS, and where; each file it names can be read.
    fn tls(
        &self,
        config: Option<(&String, &Value)>,
    ) -> Result<Option<(HostSettings, Source)>, Error> {
        let Some((name, config)) = config else { return Ok(None) };
        let tls = self.table(config, "tls")?;
        if tls.is_empty() {
            return Ok(None);
        }
        let key = self.readable(tls, "key_file")?;
        let cert = self.readable(tls, "cert_file")?;
        let skip = tls.get("insecure_skip_verify").and_then(Value::as_bool);
        let settings = HostSettings {
            skip_verify: skip.filter(|skip| *skip),
            ca: self.readable(tls, "ca_file")?.into_iter().collect(),
            client: cert.map(|cert| ClientCertificate { cert, key }).into_iter().collect(),
            ..HostSettings::default()
        };
        let source = Source::File(self.file.path().to_owned(), self.file.line_of(name));
        Ok(Some((settings, source)))
    }

    /// The file that `tls` names so, if it does.
    fn readable(
        &self,
        tls: &Map<String, Value>,
        name: &'static str,
    ) -> Result<Option<PathBuf>, Error> {
        let Some(path) = tls.get(name).and_then(text_of).filter(|path| !path.is_empty()) else {
            return Ok(None);
        };
        let path = PathBuf::from(path);
        match std::fs::File::open(&path) {
            Ok(_) => Ok(Some(path)),
            Err(source) => Err(self.file.missing(name, path, source)),
        }
    }

    fn table<'a>(&'a self, value: &'a Value, name: &str) -> Result<&'a Map<String, Value>, Error> {
        static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
        match value.get(name) {
            None | Some(Value::Null) => Ok(&EMPTY),
            Some(Value::Object(table)) => Ok(table),
            Some(_) => Err(self.file.invalid(name, format!("`{name}` is no table"), EXPECTED)),
        }
    }

    fn texts(&self, value: &Value, name: &str) -> Result<Vec<String>, Error> {
        match value.get(name) {
            None | Some(Value::Null) => Some(Vec::new()),
            Some(Value::Array(texts)) => texts.iter().map(text_of).collect::<Option<_>>(),
            Some(text) => text_of(text).map(|text| vec![text]),
        }
        .ok_or_else(|| self.file.invalid(name, format!("`{name}` is no list of texts"), EXPECTED))
    }
}

/// `text` as it is read once it stands between quotes in a file of TOML, where k3s writes it as it is.
fn as_in_toml(text: &str) -> Option<String> {
    let line = format!("it = \"{text}\"");
    let tree = toml::de::DeTable::parse(&line).ok()?;
    match tree.get_ref().iter().collect::<Vec<_>>().as_slice() {
        [(_, value)] => value.get_ref().as_str().map(str::to_owned),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
