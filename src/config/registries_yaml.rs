//! `registries.yaml` of k3s and RKE2, for a node on which they have made no `hosts.toml` of it yet.
//!
//! See <https://docs.k3s.io/installation/private-registry>.

use serde_json::{Map, Value};

use std::path::{Path, PathBuf};

use super::authority::{RegistryKey, is_loopback};
use super::credentials::Credential;
use super::docker::{LoginFile, Members};
use super::environment::Environment;
use super::error::Error;
use super::hosts::{
    Capabilities, ClientCertificate, HostOptions, HostSettings, HostUrl, RegistryHost, Rewrite,
    Source, configure, configure_own, own_registry,
};
use super::yaml::{YamlFile, text_of};

/// The file of each distribution, and the directory that it makes of it when it starts.
const PLACES: [(&str, &str); 2] = [
    ("/etc/rancher/k3s/registries.yaml", "/var/lib/rancher/k3s/agent/etc/containerd/certs.d"),
    ("/etc/rancher/rke2/registries.yaml", "/var/lib/rancher/rke2/agent/etc/containerd/certs.d"),
];

/// The key that stands for every registry without a key of its own.
const ANY_REGISTRY: &str = "*";

/// What a mirror may be asked for: nobody pushes to one.
const MIRROR_CAPABILITIES: Capabilities =
    Capabilities { pull: true, resolve: true, push: false, referrers: false };

const EXPECTED: &str = "registries.yaml of k3s, with `mirrors` and `configs`";

/// The file, read.
#[derive(Debug)]
pub(super) struct RegistriesFile {
    file: YamlFile,
}

impl RegistriesFile {
    /// Reads the first that is there and of which nothing has been made.
    ///
    /// # Errors
    /// [`Error`] for one that cannot be read, or has something else than names in its tables.
    pub(super) fn read_first(environment: &Environment) -> Result<Option<Self>, Error> {
        let root = environment.node_root();
        let in_node = |path: &str| root.join(path.trim_start_matches('/'));
        for (path, made) in PLACES {
            if in_node(made).is_dir() {
                continue;
            }
            if let Some(found) = Self::read(&in_node(path))? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn read(path: &Path) -> Result<Option<Self>, Error> {
        let Some(file) = YamlFile::read(path, EXPECTED)? else { return Ok(None) };
        if !file.value().is_null() && !file.value().is_object() {
            return Err(file.invalid("", "the file is no table", EXPECTED));
        }
        Ok(Some(Self { file }))
    }

    /// The hosts for `domain`: its endpoints, then the registry itself unless it is among them. `None`
    /// where the file says nothing of any of these.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what cannot be meant.
    pub(super) fn hosts(
        &self,
        domain: &str,
        options: &HostOptions,
    ) -> Result<Option<Vec<RegistryHost>>, Error> {
        let mirror = self.mirror(domain)?;
        let own = own_registry(domain, options);
        let own_key = RegistryKey::of(&own.authority);
        let own_tls = self.tls(&own_key)?;
        if mirror.is_none() && own_tls.is_none() {
            return Ok(None);
        }
        let mut hosts = Vec::new();
        if let Some(mirror) = mirror {
            let rewrites = self.rewrites(mirror)?;
            for endpoint in self.texts(mirror, "endpoint")? {
                hosts.push(self.endpoint(domain, options, &endpoint, rewrites.clone())?);
            }
        }
        if !hosts.iter().any(|host| RegistryKey::of(&host.authority) == own_key) {
            hosts.push(match own_tls {
                Some((settings, source)) => configure_own(domain, options, settings, source),
                None => own,
            });
        }
        Ok(Some(hosts))
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

    /// The entry of `mirrors` for `domain`.
    fn mirror(&self, domain: &str) -> Result<Option<&Value>, Error> {
        let mirrors = self.table(self.file.value(), "mirrors")?;
        let key = RegistryKey::of(domain);
        let named = mirrors.iter().find(|(name, _)| RegistryKey::of(name) == key);
        let found = named.map(|(_, mirror)| mirror).or_else(|| mirrors.get(ANY_REGISTRY));
        Ok(found.filter(|mirror| !mirror.is_null()))
    }

    fn endpoint(
        &self,
        domain: &str,
        options: &HostOptions,
        written: &str,
        rewrites: Vec<Rewrite>,
    ) -> Result<RegistryHost, Error> {
        let authority = written.split_once('/').map_or(written, |(authority, _)| authority);
        let is_plain = !written.contains("://") && is_loopback(authority);
        let with_scheme = if is_plain { format!("http://{written}") } else { written.to_owned() };
        let mut url = HostUrl::parse(&with_scheme).map_err(|error| {
            self.file.invalid(written, format!("an endpoint {error}"), "a URL of a registry")
        })?;
        url.correct_docker_hub();
        let tls = self.tls(&RegistryKey::of(&url.authority))?;
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

    fn rewrites(&self, mirror: &Value) -> Result<Vec<Rewrite>, Error> {
        let rules = self.table(mirror, "rewrite")?.iter();
        rules
            .map(|(pattern, replacement)| {
                let replacement = text_of(replacement).unwrap_or_default();
                Rewrite::new(pattern, &replacement).map_err(|error| {
                    let problem = format!("the pattern {pattern:?} {error}");
                    self.file.invalid(
                        pattern,
                        problem,
                        "a pattern and a replacement in Go's syntax",
                    )
                })
            })
            .collect()
    }

    /// What `configs` says of TLS with `registry`, and where; each file it names can be read.
    fn tls(&self, registry: &RegistryKey) -> Result<Option<(HostSettings, Source)>, Error> {
        let configs = self.table(self.file.value(), "configs")?;
        let named = configs.iter().find(|(name, _)| RegistryKey::of(name) == *registry);
        let any = || configs.iter().find(|(name, _)| *name == ANY_REGISTRY);
        let Some((name, config)) = named.or_else(any) else { return Ok(None) };
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The file with this content, on a node without anything else.
    fn read(content: &str) -> Result<(tempfile::TempDir, RegistriesFile), Error> {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("etc/rancher/k3s/registries.yaml");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        let node_root = Some(root.path().to_owned());
        let environment = Environment { node_root, ..Environment::default() };
        Ok((root, RegistriesFile::read_first(&environment)?.unwrap()))
    }

    fn hosts(content: &str, domain: &str) -> Option<Vec<String>> {
        let (_root, file) = read(content).unwrap();
        let reference = format!("{domain}/team/app").parse().unwrap();
        let describe = |host: &RegistryHost| {
            let verified = if host.skip_verify { " unverified" } else { "" };
            let path = host.path_of(&reference);
            format!("{}://{}{} {path}{verified}", host.scheme, host.authority, host.path)
        };
        let hosts = file.hosts(domain, &HostOptions::default()).unwrap()?;
        Some(hosts.iter().map(describe).collect())
    }

    const FILE: &str = r#"
mirrors:
  reg.example:
    endpoint:
      - "https://a.example:5000"
      - https://b.example/v2/proxy
      - localhost:5001
    rewrite:
      "^team/(.*)": "mirrored/$1"
  own.example:
    endpoint: [https://own.example]
  docker.io:
  "*":
    endpoint: https://any.example
configs:
  "a.example:5000":
    auth: {username: ann, password: hunter2}
    tls: {insecure_skip_verify: true}
  "*":
    auth: {username: nobody, password: hunter2}
"#;

    #[test]
    fn endpoints_come_first_and_the_registry_last_unless_it_is_among_them() {
        for (domain, expected) in [
            (
                "reg.example",
                Some(
                    &[
                        "https://a.example:5000/v2 mirrored/app unverified",
                        "https://b.example/v2/proxy mirrored/app",
                        "http://localhost:5001/v2 mirrored/app",
                        "https://reg.example/v2 team/app",
                    ][..],
                ),
            ),
            ("own.example", Some(&["https://own.example/v2 team/app"])),
            ("docker.io", None),
            (
                "quay.example",
                Some(&["https://any.example/v2 team/app", "https://quay.example/v2 team/app"]),
            ),
        ] {
            let found = hosts(FILE, domain);
            let found: Option<Vec<&str>> =
                found.as_ref().map(|hosts| hosts.iter().map(String::as_str).collect());
            assert_eq!(found.as_deref(), expected, "{domain}");
        }
    }

    #[tokio::test]
    async fn logins_are_those_of_named_hosts() {
        let (_root, file) = read(FILE).unwrap();
        let logins = file.logins().unwrap();
        let keychain = crate::config::Keychain::default().with_files([logins]);
        for (authority, expected) in [("a.example:5000", Some("ann")), ("b.example", None)] {
            let host = own_registry(authority, &HostOptions::default());
            let login = keychain.lookup(&host, "team/app").await;
            let found = login.as_ref().and_then(Credential::username);
            assert_eq!(found, expected, "{authority}");
        }
    }

    #[test]
    fn a_file_of_which_something_was_made_is_not_read() {
        let (root, _) = read(FILE).unwrap();
        let made = root.path().join("var/lib/rancher/k3s/agent/etc/containerd/certs.d");
        std::fs::create_dir_all(made).unwrap();
        let node_root = Some(root.path().to_owned());
        let environment = Environment { node_root, ..Environment::default() };
        assert!(RegistriesFile::read_first(&environment).unwrap().is_none());
    }

    #[test]
    fn a_mistake_is_an_error_with_its_line() {
        for (content, line, problem) in [
            ("- a\n", 1, "no table"),
            ("mirrors: [a]\n", 1, "`mirrors` is no table"),
            ("mirrors:\n  reg.example:\n    endpoint: {a: b}\n", 3, "`endpoint` is no list"),
            ("mirrors:\n  reg.example:\n    endpoint: [ftp://a]\n", 3, "scheme"),
            ("mirrors:\n  reg.example:\n    rewrite: {'(': x}\n", 3, "no regular expression"),
            ("configs:\n  reg.example:\n    tls: {ca_file: /none}\n", 3, "/none"),
            ("mirrors: [", 1, "YAML"),
        ] {
            let error = match read(content) {
                Ok((_root, file)) => {
                    file.hosts("reg.example", &HostOptions::default()).unwrap_err()
                }
                Err(error) => error,
            };
            assert!(error.to_string().contains(problem), "{content}: {error}");
            assert_eq!(error.location().unwrap().line, line, "{content}: {error}");
        }
        let (_root, file) = read("configs: {a: {auth: {auth: '%'}}}\n").unwrap();
        assert!(file.logins().unwrap_err().to_string().contains("the login for a"));
    }
}
