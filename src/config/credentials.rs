//! Who to be towards a registry host.

use secrecy::SecretString;

use super::hosts::RegistryHost;

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

/// Every login that this run knows, looked up by the host that is contacted.
#[derive(Debug, Default)]
pub struct Keychain {
    /// `-u`: for the image's own registry only.
    command_line: Option<(String, Credential)>,
}

impl Keychain {
    /// A keychain that knows only the login from the command line, valid for the registry
    /// `authority` (`host[:port]` as contacted).
    pub fn from_command_line(authority: String, credential: Credential) -> Self {
        Self { command_line: Some((authority, credential)) }
    }

    /// The credential for `repository` (for keys scoped to a path) at `host`.
    pub async fn lookup(&self, host: &RegistryHost, _repository: &str) -> Option<Credential> {
        self.command_line
            .as_ref()
            .filter(|(authority, _)| *authority == host.authority)
            .map(|(_, credential)| credential.clone())
    }
}
