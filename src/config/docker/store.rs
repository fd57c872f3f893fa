//! Writing logins to docker's `config.json`, or to the helper that it names.
//!
//! The file belongs to docker and its owner: whatever else is in it, its order and its mode stay.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize as _;
use serde_json::{Map, Value, json};

use crate::config::authority::RegistryKey;
use crate::config::error::Error;
use crate::failure::{Diagnose, Failure, is_disk_full};

use super::helper::{Helper, HelperError};
use super::key::{DOCKER_HUB_KEY, LoginKey};
use super::login_file::{HelperQuestion, LoginFile, read_text};
use super::replace::{self, behind_links, directory_of};

/// Members of an entry that hold a secret or belong to one.
const LOGIN_MEMBERS: [&str; 5] = ["auth", "username", "password", "identitytoken", "registrytoken"];

/// Mode of docker's directory where it has to be made.
const DIRECTORY_MODE: u32 = 0o700;

/// Docker's `config.json` as the place where logins are kept.
#[derive(Debug, Clone)]
pub struct LoginStore {
    path: PathBuf,
}

/// Where a login was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// In the file, readable for whoever may read it.
    InFile(PathBuf),
    /// By a program.
    ByHelper(String),
}

/// Why a login could not be stored or forgotten. What was stored before is as it was.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file that is there cannot be read.
    #[error(transparent)]
    Config(#[from] Error),
    /// The helper that the file names does not do it.
    #[error("the credential helper did not do its part")]
    Helper(#[from] HelperError),
    /// The file or its directory cannot be written.
    #[error("cannot write {}", path.display())]
    NotWritten {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// HTTP's Basic scheme and docker's format both end the user name at the first colon.
    #[error("the user name {0:?} holds a colon")]
    ColonInUsername(String),
}

impl Diagnose for StoreError {
    fn failure(&self) -> Failure {
        match self {
            Self::Config(error) => error.failure(),
            Self::Helper(error) => error.failure(),
            Self::NotWritten { source, .. } if is_disk_full(source) => Failure::DiskFull,
            Self::NotWritten { .. } => Failure::Other,
            Self::ColonInUsername(_) => Failure::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Helper(error) => error.hint(),
            Self::NotWritten { .. } => {
                Some("name a directory that can be written with $DOCKER_CONFIG".to_owned())
            }
            Self::ColonInUsername(_) => None,
        }
    }
}

impl LoginStore {
    /// The file at `path`, which need not exist.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Keeps a login for the registry at `authority`, in place of any that there is, however its
    /// key is spelled. Logins for parts of the registry stay.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing has changed.
    pub async fn store(
        &self,
        authority: &str,
        username: &str,
        secret: &SecretString,
    ) -> Result<Kept, StoreError> {
        if username.contains(':') {
            return Err(StoreError::ColonInUsername(username.to_owned()));
        }
        let registry = RegistryKey::of(authority);
        let mut edit = self.begin().await?;
        let key = edit.key_for(&registry);
        let kept = match edit.helper(&registry, &key) {
            Some((helper, server)) => {
                helper.store(&server, username, secret).await?;
                edit.set(&registry, &key, Map::new());
                Kept::ByHelper(helper.program().to_owned())
            }
            None => {
                let login = format!("{username}:{}", secret.expose_secret());
                let auth = Map::from_iter([("auth".to_owned(), json!(STANDARD.encode(login)))]);
                edit.set(&registry, &key, auth);
                Kept::InFile(edit.path.clone())
            }
        };
        edit.commit()?;
        Ok(kept)
    }

    /// Forgets the login for the registry at `authority`, wherever it is kept. Returns whether
    /// there was one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn erase(&self, authority: &str) -> Result<bool, StoreError> {
        let registry = RegistryKey::of(authority);
        let mut edit = self.begin().await?;
        let mut found = false;
        for HelperQuestion { helper, servers } in edit.logins.helpers(&registry, authority) {
            for server in servers {
                if helper.get(&server).await?.is_some() {
                    helper.erase(&server).await?;
                    found = true;
                }
            }
        }
        if edit.remove(&registry) {
            found = true;
            edit.commit()?;
        }
        Ok(found)
    }

    /// Locks the file against other logins, and reads it.
    async fn begin(&self) -> Result<Edit, StoreError> {
        let path = self.path.clone();
        let failed = |source| StoreError::NotWritten { path: self.path.clone(), source };
        // Waiting for the lock blocks, for as long as the other's helper asks a person.
        tokio::task::spawn_blocking(move || Edit::begin(&path))
            .await
            .map_err(|error| failed(io::Error::other(error)))?
    }
}

/// The file, locked and read. Nothing is written before [`commit`](Self::commit).
struct Edit {
    path: PathBuf,
    content: Map<String, Value>,
    logins: LoginFile,
    /// Locked until this is dropped. The directory, because the file itself is replaced.
    _lock: File,
}

impl Edit {
    fn begin(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::NotWritten { path: path.to_owned(), source };
        // A link is followed, so that what it points to is replaced and not the link.
        let path_behind_link = behind_links(path).map_err(failed)?;
        let directory = directory_of(&path_behind_link);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(directory)
            .map_err(failed)?;
        let lock = File::open(directory).map_err(failed)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|error| failed(error.into()))?;
        let text = read_text(&path_behind_link)?.unwrap_or_default();
        let logins = LoginFile::parse(&path_behind_link, &text)?;
        // Empty, or an object: anything else was refused by the line above.
        let content = serde_json::from_str(&text).unwrap_or_default();
        Ok(Self { path: path_behind_link, content, logins, _lock: lock })
    }

    /// The key to write: the one that is there, so that whoever wrote it finds it; Docker Hub's
    /// must be docker's own.
    fn key_for(&self, registry: &RegistryKey) -> String {
        if registry.is_docker_hub() {
            return DOCKER_HUB_KEY.to_owned();
        }
        let existing = self.keys_of(registry).into_iter().next();
        existing.unwrap_or_else(|| registry.to_string())
    }

    /// The helper that keeps the login, and the name by which it knows the registry.
    fn helper(&self, registry: &RegistryKey, key: &str) -> Option<(Helper, String)> {
        let question = self.logins.helpers(registry, key).into_iter().next()?;
        // docker asks for what it would write itself, whatever else the file has.
        let own = question.servers.iter().find(|server| *server == key);
        let server = own.or(question.servers.first())?.clone();
        Some((question.helper.clone(), server))
    }

    /// Every key for all of `registry`.
    fn keys_of(&self, registry: &RegistryKey) -> Vec<String> {
        let is_for_registry = |written: &&String| {
            let key = LoginKey::parse(written);
            key.registry == *registry && key.scope.is_empty()
        };
        self.auths()
            .map(|auths| auths.keys().filter(is_for_registry).cloned().collect())
            .unwrap_or_default()
    }

    fn auths(&self) -> Option<&Map<String, Value>> {
        self.content.get("auths").and_then(Value::as_object)
    }

    /// Writes `login` under `key`, and nothing under the registry's other keys. What else docker
    /// knows about the entry stays.
    fn set(&mut self, registry: &RegistryKey, key: &str, login: Map<String, Value>) {
        let others = self.keys_of(registry).into_iter().filter(|other| other != key);
        let others: Vec<String> = others.collect();
        let auths = self.content.entry("auths").or_insert_with(|| json!({}));
        if auths.is_null() {
            *auths = json!({});
        }
        let Some(auths) = auths.as_object_mut() else { return };
        for other in others {
            auths.shift_remove(&other);
        }
        let entry = auths.entry(key).or_insert_with(|| json!({}));
        let mut members = entry.as_object_mut().map(std::mem::take).unwrap_or_default();
        for member in LOGIN_MEMBERS {
            members.shift_remove(member);
        }
        members.extend(login);
        *entry = Value::Object(members);
    }

    fn remove(&mut self, registry: &RegistryKey) -> bool {
        let keys = self.keys_of(registry);
        if let Some(auths) = self.content.get_mut("auths").and_then(Value::as_object_mut) {
            for key in &keys {
                auths.shift_remove(key);
            }
        }
        !keys.is_empty()
    }

    /// Replaces the file in one step. A reader sees the old one or the new one.
    fn commit(&self) -> Result<(), StoreError> {
        let failed = |source| StoreError::NotWritten { path: self.path.clone(), source };
        let bytes = to_json(&self.content).map_err(failed)?;
        replace::replace(&self.path, &bytes).map_err(failed)
    }
}

/// Indented by tabs, as docker does.
fn to_json(content: &Map<String, Value>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    content.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    const SECRET: &str = "hunter2";

    /// A store in a directory of its own, with `content` in its file if there is some.
    fn store(content: Option<&str>) -> (tempfile::TempDir, LoginStore) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("docker/config.json");
        if let Some(content) = content {
            fs::create_dir(directory.path().join("docker")).unwrap();
            fs::write(&path, content).unwrap();
        }
        (directory, LoginStore::at(path))
    }

    fn content(store: &LoginStore) -> String {
        let text = fs::read_to_string(&store.path).unwrap();
        text.split_whitespace().collect()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_login_takes_the_place_of_what_its_registry_had() {
        let auth = r#"{"auth":"bWU6aHVudGVyMg=="}"#;
        for (before, authority, after) in [
            ("{}", "harbor.example:443", r#"{"auths":{"harbor.example":AUTH}}"#),
            ("{}", "docker.io", r#"{"auths":{"https://index.docker.io/v1/":AUTH}}"#),
            (
                r#"{"auths":{"docker.io":{"auth":"b2xk"},"b":{}}}"#,
                "registry-1.docker.io",
                r#"{"auths":{"b":{},"https://index.docker.io/v1/":AUTH}}"#,
            ),
            (
                r#"{"z":1,"auths":{"b":{},"a:443":{"auth":"b2xk"},"a":{},"c":{}},"d":[1.5]}"#,
                "a",
                r#"{"z":1,"auths":{"b":{},"a:443":AUTH,"c":{}},"d":[1.5]}"#,
            ),
            (
                r#"{"auths":{"https://a/v1/":{"identitytoken":"old"},"a/team":{"auth":"dA=="}}}"#,
                "a",
                r#"{"auths":{"https://a/v1/":AUTH,"a/team":{"auth":"dA=="}}}"#,
            ),
            (r#"{"auths":null}"#, "a:5000", r#"{"auths":{"a:5000":AUTH}}"#),
            ("", "a", r#"{"auths":{"a":AUTH}}"#),
        ] {
            let (_directory, store) = store(Some(before));
            let kept = store.store(authority, "me", &SECRET.into()).await.unwrap();
            assert!(matches!(kept, Kept::InFile(_)), "{before}");
            assert_eq!(content(&store), after.replace("AUTH", auth), "{before}");
        }
    }

    #[tokio::test]
    async fn what_docker_knows_besides_of_an_entry_stays() {
        let (_directory, store) = store(Some(r#"{"auths":{"a":{"email":"e","auth":"b2xk"}}}"#));
        store.store("a", "me", &SECRET.into()).await.unwrap();
        assert_eq!(content(&store), r#"{"auths":{"a":{"email":"e","auth":"bWU6aHVudGVyMg=="}}}"#);
    }

    #[tokio::test]
    async fn a_new_file_is_its_owners_alone_and_an_old_one_keeps_its_mode() {
        let (directory, new) = store(None);
        new.store("a", "me", &SECRET.into()).await.unwrap();
        assert_eq!(mode(&new.path), 0o600);
        assert_eq!(mode(&directory.path().join("docker")), 0o700);
        let (_directory, old) = store(Some("{}"));
        fs::set_permissions(&old.path, fs::Permissions::from_mode(0o640)).unwrap();
        old.store("a", "me", &SECRET.into()).await.unwrap();
        assert_eq!(mode(&old.path), 0o640);
    }

    #[tokio::test]
    async fn a_link_is_written_through() {
        let (directory, store) = store(Some("{}"));
        let link = directory.path().join("link.json");
        symlink(&store.path, &link).unwrap();
        LoginStore::at(link.clone()).store("a", "me", &SECRET.into()).await.unwrap();
        assert!(link.is_symlink());
        assert!(content(&store).contains("bWU6aHVudGVyMg=="));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn logins_at_the_same_time_lose_nothing() {
        let (_directory, store) = store(None);
        let mut logins = tokio::task::JoinSet::new();
        for number in 0..20 {
            let store = store.clone();
            logins.spawn(async move {
                store.store(&format!("host{number}"), "me", &SECRET.into()).await.unwrap();
            });
        }
        logins.join_all().await;
        let value: Value = serde_json::from_str(&content(&store)).unwrap();
        assert_eq!(value["auths"].as_object().unwrap().len(), 20);
    }

    #[tokio::test]
    async fn a_logout_removes_every_spelling_and_nothing_else() {
        let before = r#"{"auths":{"a":{},"b":{},"https://a/v1/":{},"a/team":{}},"c":1}"#;
        let (_directory, store) = store(Some(before));
        assert!(store.erase("a:443").await.unwrap());
        assert_eq!(content(&store), r#"{"auths":{"b":{},"a/team":{}},"c":1}"#);
        assert!(!store.erase("a:443").await.unwrap());
    }

    #[tokio::test]
    async fn a_file_that_is_no_json_is_left_alone() {
        let (_directory, store) = store(Some("{\"auths\": "));
        let error = store.store("a", "me", &SECRET.into()).await.unwrap_err();
        assert!(error.to_string().ends_with("config.json:1:10: the file is no JSON"), "{error}");
        assert_eq!(content(&store), "{\"auths\":");
    }

    #[tokio::test]
    async fn where_a_helper_fails_nothing_is_written() {
        let before = r#"{"credsStore":"no-such-helper","auths":{"a":{"auth":"b2xk"}}}"#;
        let (_directory, store) = store(Some(before));
        let error = store.store("a", "me", &SECRET.into()).await.unwrap_err();
        assert!(matches!(error, StoreError::Helper(HelperError::NotRun { .. })), "{error}");
        assert_eq!(content(&store), before);
    }

    #[tokio::test]
    async fn a_colon_in_a_user_name_is_refused() {
        let (_directory, store) = store(None);
        let error = store.store("a", "me:you", &SECRET.into()).await.unwrap_err();
        assert_eq!(error.failure(), Failure::Usage);
    }
}
