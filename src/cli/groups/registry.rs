//! How registries are reached, and who to be towards them.

use std::collections::HashSet;
use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;
use tokio::task::{JoinHandle, spawn_blocking};

use super::HostsArgs;
use crate::cli::values::Login;
use crate::cli::{Error, prompt};
use crate::config::{
    self, Credential, Environment, Generation, HostOptions, Keychain, Kubelet, Locations,
    NodeConfig, ProviderPlace, RegistryHost,
};
use crate::containerd::Client;
use crate::failure::Notice;
use crate::reference::Reference;
use crate::transfer;

/// How registries are reached.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registry")]
pub struct RegistryArgs {
    /// Login for the images' own registry, never for a mirror; without a password it is asked for
    #[arg(short, long, value_name = "USER[:PASSWORD]")]
    pub user: Option<Login>,

    /// Talk plain HTTP to the images' registry
    #[arg(long)]
    pub plain_http: bool,

    /// Do not verify certificates, unless a host's own file says so
    #[arg(long, visible_alias = "insecure-registry")]
    pub skip_verify: bool,

    /// Logins to use before all others: docker's config.json, or a Kubernetes Secret of type
    /// kubernetes.io/dockerconfigjson as JSON or YAML
    #[arg(long, value_name = "FILE")]
    pub auth_file: Option<PathBuf>,

    /// The kubelet's CredentialProviderConfig, or a directory of several: its plugins are asked when no
    /// other login is known [default: what a running kubelet is told, else where EKS, GKE, AKS, k3s and
    /// RKE2 have it]
    #[arg(long, value_name = "FILE", requires = "image_credential_provider_bin_dir")]
    pub image_credential_provider_config: Option<PathBuf>,

    /// Directory of those plugins' programs
    #[arg(long, value_name = "DIR", requires = "image_credential_provider_config")]
    pub image_credential_provider_bin_dir: Option<PathBuf>,

    /// Where hosts are configured.
    #[command(flatten)]
    pub hosts: HostsArgs,
}

/// A kubelet that is being looked for.
pub(in crate::cli) type Sighting = JoinHandle<Result<Option<Kubelet>, config::Error>>;

/// Looks for the node's kubelet, which may be any of its processes, on a thread of its own.
pub(in crate::cli) fn look_for_kubelet() -> Sighting {
    spawn_blocking(|| Kubelet::find(&Environment::of_process()))
}

/// An image, and the hosts to ask for it.
#[derive(Debug)]
pub(in crate::cli) struct Located {
    /// The image.
    pub(in crate::cli) reference: Reference,
    /// In the order of preference.
    pub(in crate::cli) hosts: Vec<RegistryHost>,
}

impl RegistryArgs {
    /// What this node has configured about registries, as far as it is to be read, and as `daemon`
    /// reads it where there is one.
    ///
    /// # Errors
    /// A file that cannot be read or obeyed.
    pub(in crate::cli) fn node(
        &self,
        daemon: Option<&Client>,
    ) -> Result<NodeConfig, config::Error> {
        NodeConfig::read(&self.locations(daemon), &Environment::of_process())
    }

    /// The same, around a kubelet that was [looked for](look_for_kubelet) before.
    ///
    /// # Errors
    /// As [`Self::node`].
    pub(in crate::cli) async fn node_around(
        &self,
        kubelet: Sighting,
        daemon: Option<&Client>,
    ) -> Result<NodeConfig, Error> {
        let kubelet = kubelet.await.map_err(transfer::Error::Task)?;
        let locations = self.locations(daemon);
        Ok(NodeConfig::read_around(kubelet, &locations, &Environment::of_process())?)
    }

    fn locations(&self, daemon: Option<&Client>) -> Locations {
        let mut locations = self.hosts.locations(self.auth_file.as_ref());
        let programs = self.image_credential_provider_bin_dir.clone();
        locations.providers = self
            .image_credential_provider_config
            .clone()
            .zip(programs)
            .map(|(config, programs)| ProviderPlace { config, programs });
        locations.generation = match daemon.and_then(Client::major_version) {
            None => Generation::Unknown,
            Some(..=1) => Generation::One,
            Some(_) => Generation::Two,
        };
        locations
    }

    /// What the flags say about hosts.
    pub(in crate::cli) fn host_options(&self) -> HostOptions {
        HostOptions { plain_http: self.plain_http, skip_verify: self.skip_verify }
    }

    /// The hosts of each image, and what should be known of their configuration and of these flags.
    ///
    /// # Errors
    /// A file that cannot be obeyed: no image is pulled from elsewhere than its owner wants.
    pub(in crate::cli) fn locate(
        &self,
        references: Vec<Reference>,
        node: &NodeConfig,
    ) -> Result<(Vec<Located>, Vec<Notice>), config::Error> {
        let options = self.host_options();
        let mut notices = node.warnings();
        let mut images = Vec::new();
        for reference in references {
            let found = node.hosts(&reference, &options)?;
            notices.extend(found.warnings);
            images.push(Located { reference, hosts: found.hosts });
        }
        // Images of one registry have its warnings in common.
        let mut seen = HashSet::new();
        notices.retain(|notice| seen.insert(notice.to_string()));
        notices.extend(self.visible_password());
        Ok((images, notices))
    }

    /// A warning when the password was typed.
    fn visible_password(&self) -> Option<Notice> {
        let message = "other users of this machine can see a password in -u";
        let notice = Notice::new("visible-password", message);
        self.has_typed_password().then(|| notice.with_hint("use -u USER --password-stdin"))
    }

    pub(in crate::cli) fn has_typed_password(&self) -> bool {
        self.user.as_ref().is_some_and(|login| login.password.is_some())
    }

    /// Who to be towards registries: `-u` counts for the images' own registry, which must be one; the
    /// node's logins for every host. `piped` is the password where standard input holds it.
    ///
    /// # Errors
    /// [`Error::SeveralRegistries`], [`Error::NoUser`], or the password can't be asked for.
    pub(in crate::cli) async fn keychain<'a>(
        &self,
        references: impl Iterator<Item = &'a Reference>,
        node: NodeConfig,
        piped: Option<SecretString>,
    ) -> Result<Keychain, Error> {
        Ok(node.with_logins(self.typed_login(references, piped).await?))
    }

    async fn typed_login<'a>(
        &self,
        mut references: impl Iterator<Item = &'a Reference>,
        piped: Option<SecretString>,
    ) -> Result<Keychain, Error> {
        let (Some(login), Some(first)) = (&self.user, references.next()) else {
            return Ok(Keychain::default());
        };
        if login.username.is_empty() {
            return Err(Error::NoUser);
        }
        let domain = first.domain();
        if let Some(other) = references.find(|reference| reference.domain() != domain) {
            let other = other.domain().to_owned();
            return Err(Error::SeveralRegistries(domain.to_owned(), other));
        }
        let password = match login.password.clone().or(piped) {
            Some(password) => password,
            None => prompt::password(&login.username, domain)
                .await
                .map_err(|source| Error::Password { username: login.username.clone(), source })?,
        };
        let credential = Credential::Basic { username: login.username.clone(), password };
        Ok(Keychain::from_command_line(domain.to_owned(), credential))
    }
}
