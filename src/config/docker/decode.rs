//! One entry of `auths`, decoded.

use docker_credential::DockerCredential;
use serde_json::{Map, Value, json};

use crate::config::credentials::Credential;

/// Why an entry cannot be used. Says nothing of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::config) enum EntryError {
    #[error("is no object")]
    NoObject,
    #[error("has a value of `{0}` that is no string")]
    NoString(&'static str),
    #[error("has an `auth` that is not base64 of user:password")]
    BadAuth,
}

/// The members of an entry that are read; empty where they are missing.
#[derive(Default)]
pub(in crate::config) struct Members<'a> {
    pub(in crate::config) auth: &'a str,
    pub(in crate::config) username: &'a str,
    pub(in crate::config) password: &'a str,
    pub(in crate::config) identity_token: &'a str,
    pub(in crate::config) registry_token: &'a str,
}

impl<'a> Members<'a> {
    /// The members of `entry`; `null` is as good as nothing.
    pub(super) fn of(entry: &'a Value) -> Result<Self, EntryError> {
        let object = match entry {
            Value::Object(object) => object,
            Value::Null => return Ok(Self::default()),
            _ => return Err(EntryError::NoObject),
        };
        Ok(Self {
            auth: text(object, "auth")?,
            username: text(object, "username")?,
            password: text(object, "password")?,
            identity_token: text(object, "identitytoken")?,
            registry_token: text(object, "registrytoken")?,
        })
    }

    /// The credential: a token rather than a password. `None` where there is neither, as docker
    /// leaves an entry whose login a helper keeps.
    pub(in crate::config) fn credential(&self) -> Result<Option<Credential>, EntryError> {
        if !self.registry_token.is_empty() {
            return Ok(Some(Credential::RegistryToken(self.registry_token.to_owned().into())));
        }
        if !self.identity_token.is_empty() {
            return Ok(Some(Credential::IdentityToken(self.identity_token.to_owned().into())));
        }
        if !self.auth.is_empty() {
            return decode_auth(self.auth).map(Some);
        }
        let written = !self.username.is_empty() && !self.password.is_empty();
        Ok(written.then(|| basic(self.username, self.password)))
    }
}

fn text<'a>(entry: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, EntryError> {
    match entry.get(name) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(EntryError::NoString(name)),
    }
}

/// Has `docker_credential` decode `auth` as the one entry of a configuration. It is asked for no
/// more than that: it takes an empty token for a token, and waits for helpers without end.
fn decode_auth(auth: &str) -> Result<Credential, EntryError> {
    const SERVER: &str = "server";
    // `base64` without `-w0` breaks its lines, and some editors end them as Windows does.
    let auth: String = auth.split_whitespace().collect();
    let config = json!({ "auths": { SERVER: { "auth": auth } } }).to_string();
    match docker_credential::get_credential_from_reader(config.as_bytes(), SERVER) {
        Ok(DockerCredential::UsernamePassword(username, password)) if !username.is_empty() => {
            // Docker pads what it encodes with zero bytes in some versions, and strips them.
            Ok(basic(&username, password.trim_matches('\0')))
        }
        Ok(DockerCredential::IdentityToken(token)) => Ok(Credential::IdentityToken(token.into())),
        Ok(DockerCredential::UsernamePassword(..)) | Err(_) => Err(EntryError::BadAuth),
    }
}

fn basic(username: &str, password: &str) -> Credential {
    Credential::Basic { username: username.to_owned(), password: password.to_owned().into() }
}
