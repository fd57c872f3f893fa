//! What proves who we are.

use secrecy::{ExposeSecret as _, SecretString};

/// What proves who we are to one host. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub enum Credential {
    /// User name and password, for Basic or the token endpoint.
    Basic {
        /// User name.
        username: String,
        /// Password or personal access token.
        password: SecretString,
    },
    /// An OAuth2 refresh token for the token endpoint (`identitytoken`).
    IdentityToken(SecretString),
    /// A bearer token that is sent as it is (`registrytoken`).
    RegistryToken(SecretString),
}

impl Credential {
    /// Whether it is the same as `other`.
    pub fn is_same(&self, other: &Self) -> bool {
        let same = |a: &SecretString, b: &SecretString| a.expose_secret() == b.expose_secret();
        match (self, other) {
            (
                Self::Basic { username, password },
                Self::Basic { username: other_name, password: other },
            ) => username == other_name && same(password, other),
            (Self::IdentityToken(token), Self::IdentityToken(other))
            | (Self::RegistryToken(token), Self::RegistryToken(other)) => same(token, other),
            _ => false,
        }
    }

    /// The user name, where there is one: tokens have none.
    pub fn username(&self) -> Option<&str> {
        match self {
            Self::Basic { username, .. } => Some(username),
            Self::IdentityToken(_) | Self::RegistryToken(_) => None,
        }
    }
}

/// A credential, and where it was found.
#[derive(Debug, Clone)]
pub struct Login {
    /// What to show the host.
    pub credential: Credential,
    /// For people: `command line`, a file, or a file and the helper it names.
    pub source: String,
}
