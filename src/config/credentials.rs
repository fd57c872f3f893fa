//! Who to be towards a registry host.

use secrecy::SecretString;

use super::authority::RegistryKey;
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
    command_line: Option<(RegistryKey, Credential)>,
}

impl Keychain {
    /// A keychain that knows only the login from the command line, valid for the registry
    /// `authority`: the domain of a reference, or `host[:port]` as contacted.
    pub fn from_command_line(authority: String, credential: Credential) -> Self {
        Self { command_line: Some((RegistryKey::of(&authority), credential)) }
    }

    /// The credential for `repository` (for keys scoped to a path) at `host`.
    pub async fn lookup(&self, host: &RegistryHost, _repository: &str) -> Option<Credential> {
        let contacted = RegistryKey::of(&host.authority);
        self.command_line
            .as_ref()
            .filter(|(registry, _)| *registry == contacted)
            .map(|(_, credential)| credential.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::hosts::{HostOptions, own_registry};

    #[tokio::test]
    async fn the_command_line_login_goes_to_the_images_own_registry_alone() {
        for (domain, contacted, expected) in [
            ("docker.io", "docker.io", true),
            ("docker.io", "registry-1.docker.io", true),
            ("harbor.example", "harbor.example:443", true),
            ("harbor.example:443", "harbor.example", true),
            ("harbor.example", "harbor.example:8443", false),
            ("docker.io", "mirror.example", false),
        ] {
            let credential = Credential::RegistryToken("secret".to_owned().into());
            let keychain = Keychain::from_command_line(domain.to_owned(), credential);
            let host = own_registry(contacted, &HostOptions::default());
            let found = keychain.lookup(&host, "library/busybox").await;
            assert_eq!(found.is_some(), expected, "{domain} at {contacted}");
        }
    }

    #[test]
    fn a_credential_does_not_print_its_secret() {
        let password = "hunter2".to_owned().into();
        let credential = Credential::Basic { username: "admin".to_owned(), password };
        let keychain = Keychain::from_command_line("harbor.example".to_owned(), credential);
        assert!(!format!("{keychain:?}").contains("hunter2"));
    }
}
