//! Who to be towards a registry host.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::authority::RegistryKey;
use super::credentials::{Credential, Login};
use super::docker::{Helper, LoginFile};
use super::hosts::RegistryHost;
use super::providers::Providers;

/// Most logins that are tried at a host (8): each costs it some requests, and some hosts lock out who
/// fails often.
pub const MAX_LOGINS: usize = 8;

/// Every login that this run knows, looked up by the host that is contacted.
///
/// | asked first to last | for |
/// |---|---|
/// | the command line | the image's own registry only |
/// | logins that came with the image's pod | any host |
/// | each file in turn: `credHelpers`, `credsStore`, `auths` | any host |
/// | the kubelet's credential provider plugins | any host |
#[derive(Debug, Default)]
pub struct Keychain {
    command_line: Option<(RegistryKey, Credential)>,
    files: Vec<LoginFile>,
    /// Asked after the files. What its command line says comes before them.
    general: Option<Arc<Keychain>>,
    providers: Providers,
    /// What helpers answered: asking one starts a program, which may ask a person.
    answers: Mutex<HashMap<(Helper, String), Option<Credential>>>,
}

impl Keychain {
    /// A keychain that knows only the login from the command line, valid for the registry
    /// `authority`: the domain of a reference, or `host[:port]` as contacted.
    pub fn from_command_line(authority: String, credential: Credential) -> Self {
        Self { command_line: Some((RegistryKey::of(&authority), credential)), ..Self::default() }
    }

    /// The same keychain with the logins of `files`, the first to be asked first.
    pub fn with_files(mut self, files: impl IntoIterator<Item = LoginFile>) -> Self {
        self.files.extend(files);
        self
    }

    /// What `general` knows, and before it, but for its command line, the logins of `files`.
    pub fn over(general: Arc<Self>, files: Vec<LoginFile>) -> Self {
        let command_line = general.command_line.clone();
        Self { command_line, files, general: Some(general), ..Self::default() }
    }

    /// The same keychain with the kubelet's plugins, which are asked when nothing else is known: each
    /// starts a program, which may ask its cloud.
    pub fn with_providers(mut self, providers: Providers) -> Self {
        self.providers = providers;
        self
    }

    /// The credential at `host` for `repository` as it is called there, the project in the host's
    /// path included: keys may be scoped to a path.
    pub async fn lookup(&self, host: &RegistryHost, repository: &str) -> Option<Credential> {
        self.find(host, repository).await.map(|login| login.credential)
    }

    /// As [`lookup`](Self::lookup), and where it was found.
    ///
    /// A helper that fails is logged and passed over: a public image needs none.
    pub async fn find(&self, host: &RegistryHost, repository: &str) -> Option<Login> {
        let contacted = RegistryKey::of(&host.authority);
        if let Some((registry, credential)) = &self.command_line
            && *registry == contacted
        {
            let source = "command line".to_owned();
            return Some(Login { credential: credential.clone(), source });
        }
        for file in &self.files {
            let found = self.find_in(file, &contacted, &host.authority, repository).await;
            if found.is_some() {
                return found;
            }
        }
        if let Some(general) = &self.general {
            return Box::pin(general.find(host, repository)).await;
        }
        self.providers.all(&format!("{contacted}/{repository}")).await.into_iter().next()
    }

    /// The logins to try, one after the other, when `refused`, which [`lookup`](Self::lookup) told, was
    /// refused: those of the kubelet's plugins, as the kubelet does. A login that was typed is the one
    /// that is meant.
    pub async fn others(
        &self,
        host: &RegistryHost,
        repository: &str,
        refused: &Credential,
    ) -> Vec<Login> {
        let contacted = RegistryKey::of(&host.authority);
        if self.command_line.as_ref().is_some_and(|(registry, _)| *registry == contacted) {
            return Vec::new();
        }
        let mut found: Vec<Login> = Vec::new();
        let mut add = |login: Login| {
            let is_same = |known: &Credential| known.is_same(&login.credential);
            if !is_same(refused) && !found.iter().any(|login| is_same(&login.credential)) {
                found.push(login);
            }
        };
        let providers = match &self.general {
            Some(general) => {
                general.find(host, repository).await.into_iter().for_each(&mut add);
                &general.providers
            }
            None => &self.providers,
        };
        let kubelets = providers.all(&format!("{contacted}/{repository}")).await;
        kubelets.into_iter().for_each(add);
        found.truncate(MAX_LOGINS - 1);
        found
    }

    /// All logins that are tried at `host`, one after the other: the one of [`find`](Self::find), then
    /// those of [`others`](Self::others).
    pub async fn all(&self, host: &RegistryHost, repository: &str) -> Vec<Login> {
        let Some(first) = self.find(host, repository).await else { return Vec::new() };
        let others = self.others(host, repository, &first.credential).await;
        std::iter::once(first).chain(others).collect()
    }

    async fn find_in(
        &self,
        file: &LoginFile,
        registry: &RegistryKey,
        authority: &str,
        repository: &str,
    ) -> Option<Login> {
        let path = file.path().display();
        for question in file.helpers(registry, authority) {
            for server in question.servers {
                if let Some(credential) = self.ask(question.helper, server).await {
                    let source = format!("{path} ({})", question.helper.program());
                    return Some(Login { credential, source });
                }
            }
        }
        let credential = file.login(registry, authority, repository)?.clone();
        Some(Login { credential, source: path.to_string() })
    }

    /// What `helper` keeps for `server`. The lock is held while it runs, so that requests that
    /// come at once start it once.
    async fn ask(&self, helper: &Helper, server: String) -> Option<Credential> {
        let mut answers = self.answers.lock().await;
        let question = (helper.clone(), server);
        if let Some(answer) = answers.get(&question) {
            return answer.clone();
        }
        let answer = helper.get(&question.1).await.unwrap_or_else(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(server = question.1, cause, "{error}");
            None
        });
        answers.insert(question, answer.clone());
        answer
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
