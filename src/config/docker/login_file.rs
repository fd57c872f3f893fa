//! One file of logins, read.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};

use crate::config::authority::RegistryKey;
use crate::config::credentials::Credential;
use crate::config::error::{Error, Location};
use crate::config::warning::WarningKind;
use crate::failure::Notice;

use super::decode::Members;
use super::helper::Helper;
use super::key::{DOCKER_HUB_KEY, LoginKey};
use super::secret;
use super::wildcard::WildcardKey;

/// The logins of one file, and the programs it says keep others.
#[derive(Debug, Default)]
pub struct LoginFile {
    path: PathBuf,
    entries: Vec<Entry>,
    wildcards: Vec<WildcardEntry>,
    /// `credHelpers`: programs that keep the logins of one registry.
    helpers: Vec<RegistryHelper>,
    /// `credsStore`: the program that keeps all others.
    store: Option<Helper>,
    warnings: Vec<Notice>,
}

#[derive(Debug)]
struct Entry {
    key: LoginKey,
    written: String,
    /// `None` where a helper keeps it.
    credential: Option<Credential>,
}

/// A login for several registries.
#[derive(Debug)]
struct WildcardEntry {
    key: WildcardKey,
    credential: Credential,
}

#[derive(Debug)]
struct RegistryHelper {
    registry: RegistryKey,
    /// The registry as written, by which the helper knows it.
    server: String,
    helper: Helper,
}

/// A program to ask, and the names under which it may know the registry, the likeliest first.
#[derive(Debug)]
pub(in crate::config) struct HelperQuestion<'a> {
    pub(in crate::config) helper: &'a Helper,
    pub(in crate::config) servers: Vec<String>,
}

impl LoginFile {
    /// Reads docker's `config.json` or podman's `auth.json`; `None` where there is no such file.
    ///
    /// # Errors
    /// [`Error::Unreadable`], or [`Error::Invalid`] if it is not of the format as a whole. One bad
    /// entry is a warning, so that it does not take the others with it.
    pub fn read(path: &Path) -> Result<Option<Self>, Error> {
        read_text(path)?.map(|content| Self::parse(path, &content)).transpose()
    }

    /// Reads `content`, that of docker's or podman's file at `path`: a JSON object, or nothing at all.
    ///
    /// # Errors
    /// [`Error::Invalid`], as for [`read`](Self::read).
    pub(super) fn parse(path: &Path, content: &str) -> Result<Self, Error> {
        if content.trim().is_empty() {
            return Ok(Self { path: path.to_owned(), ..Self::default() });
        }
        let value = serde_json::from_str(content).map_err(|error| Error::Invalid {
            location: Box::new(Location::unquoted(path, error.line(), error.column())),
            problem: "the file is no JSON".to_owned(),
            expected: "docker's config.json: {\"auths\": {\"host\": {\"auth\": …}}}".to_owned(),
        })?;
        Self::of(path, content, &[value])
    }

    /// Reads what `--auth-file` names: a file as [`read`](Self::read) takes it, or a Kubernetes
    /// Secret of type `kubernetes.io/dockerconfigjson`, as JSON or YAML.
    ///
    /// # Errors
    /// As for [`read`](Self::read); that there is no such file is one too.
    pub fn read_any(path: &Path) -> Result<Self, Error> {
        let content = read_text(path)?.ok_or_else(|| Error::not_found(path))?;
        let configurations = secret::docker_configurations(path, &content)?;
        Self::of(path, &content, &configurations)
    }

    /// Reads `content`, docker's configuration out of a Secret that stands at `line` of `path`.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn of_secret(path: &Path, line: usize, content: &SecretString) -> Result<Self, Error> {
        let at = |location: Location| Location::unquoted(&location.path, line, 1);
        let mut file = Self::parse(path, content.expose_secret()).map_err(|error| match error {
            Error::Invalid { location, problem, expected } => {
                Error::Invalid { location: Box::new(at(*location)), problem, expected }
            }
            other => other,
        })?;
        for warning in &mut file.warnings {
            warning.line = Some(line);
        }
        Ok(file)
    }

    /// Logins found elsewhere, in the order of preference. Their keys hold no wildcards.
    pub(in crate::config) fn of_logins(
        path: &Path,
        logins: impl IntoIterator<Item = (String, Credential)>,
    ) -> Self {
        let entry = |(written, credential): (String, Credential)| Entry {
            key: LoginKey::parse(&written),
            written,
            credential: Some(credential),
        };
        Self {
            path: path.to_owned(),
            entries: logins.into_iter().map(entry).collect(),
            ..Self::default()
        }
    }

    fn of(path: &Path, content: &str, configurations: &[Value]) -> Result<Self, Error> {
        let mut reader =
            Reader { content, file: Self { path: path.to_owned(), ..Self::default() } };
        for configuration in configurations {
            reader.add(configuration)?;
        }
        Ok(reader.file)
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What in it could not be used.
    pub fn warnings(&self) -> &[Notice] {
        &self.warnings
    }

    /// The registries that it has logins for, itself or by the helper that it names for one.
    pub fn registries(&self) -> impl Iterator<Item = RegistryKey> {
        let own = self.entries.iter().map(|entry| entry.key.registry.clone());
        own.chain(self.helpers.iter().map(|helper| helper.registry.clone()))
    }

    /// The login for `repository` at `registry` that the file holds itself. A login for a part of
    /// the registry comes before one for all of it, a key spelled as docker spells it before
    /// others, and the registry's name before a key with wildcards.
    pub(in crate::config) fn login(
        &self,
        registry: &RegistryKey,
        authority: &str,
        repository: &str,
    ) -> Option<&Credential> {
        self.named_login(registry, authority, repository)
            .or_else(|| self.wildcard_login(registry, repository))
    }

    fn named_login(
        &self,
        registry: &RegistryKey,
        authority: &str,
        repository: &str,
    ) -> Option<&Credential> {
        let spelling = canonical_key(registry, authority);
        self.entries
            .iter()
            .filter(|entry| entry.key.matches(registry, repository))
            .filter_map(|entry| entry.credential.as_ref().map(|credential| (entry, credential)))
            .min_by_key(|(entry, _)| {
                (usize::MAX - entry.key.scope.len(), entry.written != spelling)
            })
            .map(|(_, credential)| credential)
    }

    fn wildcard_login(&self, registry: &RegistryKey, repository: &str) -> Option<&Credential> {
        self.wildcards
            .iter()
            .filter(|entry| entry.key.matches(registry, repository))
            .max_by(|a, b| a.key.specificity().cmp(&b.key.specificity()))
            .map(|entry| &entry.credential)
    }

    /// The helpers to ask for `registry`: the one named for it, then the one for all.
    pub(in crate::config) fn helpers(
        &self,
        registry: &RegistryKey,
        authority: &str,
    ) -> Vec<HelperQuestion<'_>> {
        let own = self.helpers.iter().find(|helper| helper.registry == *registry);
        let own = own.map(|own| HelperQuestion {
            helper: &own.helper,
            servers: unique([own.server.clone(), canonical_key(registry, authority)]),
        });
        let store = self
            .store
            .as_ref()
            .map(|helper| HelperQuestion { helper, servers: self.spellings(registry, authority) });
        own.into_iter().chain(store).collect()
    }

    /// Under which names a store may keep the login for `registry`. Docker leaves an empty entry
    /// for each, so those of the file go first.
    fn spellings(&self, registry: &RegistryKey, authority: &str) -> Vec<String> {
        let marked = self
            .entries
            .iter()
            .filter(|entry| entry.key.registry == *registry && entry.key.scope.is_empty())
            .map(|entry| entry.written.clone());
        unique(marked.chain([canonical_key(registry, authority), registry.to_string()]))
    }
}

/// The key under which docker keeps the login for a registry that is contacted at `authority`.
pub(super) fn canonical_key(registry: &RegistryKey, authority: &str) -> String {
    if registry.is_docker_hub() { DOCKER_HUB_KEY.to_owned() } else { authority.to_owned() }
}

fn unique(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut unique = Vec::new();
    for name in names {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    unique
}

/// What is in the file; `None` if it does not exist.
pub(super) fn read_text(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Unreadable { path: path.to_owned(), source }),
    }
}

/// A [`LoginFile`] in the making.
struct Reader<'a> {
    content: &'a str,
    file: LoginFile,
}

impl Reader<'_> {
    fn add(&mut self, configuration: &Value) -> Result<(), Error> {
        let Value::Object(configuration) = configuration else {
            return Err(self.invalid("", "the file", "an object with `auths`"));
        };
        for (written, entry) in self.members(configuration, "auths")? {
            self.add_entry(written, entry);
        }
        for (server, name) in self.members(configuration, "credHelpers")? {
            if let Some(helper) = self.helper(server, name) {
                let registry = LoginKey::parse(server).registry;
                self.file.helpers.push(RegistryHelper { registry, server: server.clone(), helper });
            }
        }
        match configuration.get("credsStore") {
            None | Some(Value::Null) => {}
            Some(Value::String(name)) if name.is_empty() => {}
            Some(name) => self.file.store = self.helper("credsStore", name),
        }
        Ok(())
    }

    /// The members of the object called `name`; none where it is missing.
    fn members<'v>(
        &self,
        configuration: &'v Map<String, Value>,
        name: &str,
    ) -> Result<impl Iterator<Item = (&'v String, &'v Value)> + use<'v>, Error> {
        let object = match configuration.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::Object(object)) => Some(object),
            Some(_) => return Err(self.invalid(name, format!("`{name}`"), "an object")),
        };
        Ok(object.into_iter().flatten())
    }

    fn add_entry(&mut self, written: &str, entry: &Value) {
        let credential = Members::of(entry).and_then(|members| members.credential());
        match (WildcardKey::parse(written), credential) {
            (None, Ok(credential)) => self.file.entries.push(Entry {
                key: LoginKey::parse(written),
                written: written.to_owned(),
                credential,
            }),
            (Some(Ok(key)), Ok(credential)) => self
                .file
                .wildcards
                .extend(credential.map(|credential| WildcardEntry { key, credential })),
            (Some(Err(error)), _) => self.warn_of_login(
                written,
                error,
                "write a key for each, or one in which `*` stands for what is between two dots"
                    .to_owned(),
            ),
            (None, Err(error)) => self.warn_of_login(
                written,
                error,
                format!("log in anew: pullctl login {}", LoginKey::parse(written).registry),
            ),
            (Some(Ok(_)), Err(error)) => self.warn_of_login(
                written,
                error,
                "write `auth` as base64 of user:password".to_owned(),
            ),
        }
    }

    fn warn_of_login(&mut self, written: &str, error: impl fmt::Display, hint: String) {
        let message = format!("the login for {written} {error} and is not used");
        self.warn(written, message, hint);
    }

    fn helper(&mut self, key: &str, name: &Value) -> Option<Helper> {
        let helper = name.as_str().and_then(Helper::named);
        if helper.is_none() {
            self.warn(
                key,
                format!("the credential helper for {key} is not used: its name is none"),
                "name it as in docker-credential-NAME, without a slash".to_owned(),
            );
        }
        helper
    }

    fn warn(&mut self, key: &str, message: String, hint: String) {
        let location = self.locate(key);
        self.file.warnings.push(
            Notice::new(WarningKind::UnusableLogin, message)
                .at(location.path, location.line)
                .with_hint(hint),
        );
    }

    fn invalid(&self, key: &str, subject: impl fmt::Display, expected: &str) -> Error {
        Error::Invalid {
            location: Box::new(self.locate(key)),
            problem: format!("{subject} is not what it should be"),
            expected: expected.to_owned(),
        }
    }

    fn locate(&self, key: &str) -> Location {
        let quoted = if key.is_empty() { String::new() } else { format!("\"{key}\"") };
        Location::unquoted_of(&self.file.path, self.content, &quoted)
    }
}
