//! What the node's containerd is told: `config.toml`, versions 1 to 4.
//!
//! Only what concerns pulling is read: the rest of the file is the daemon's. Of the sections that
//! the versions have, those count which the daemon that answers reads: [`Generation`].

mod flat;
mod generation;
mod headers;
mod merge;
mod registry;
mod verifiers;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use super::docker::LoginFile;
use super::error::Error;
use super::hosts::{Header, HostOptions, RegistryHost};
use super::warning::WarningKind;
use crate::failure::Notice;

pub use flat::{FlatFile, FlatSetting, FlatValue};
pub use generation::Generation;
use registry::RegistrySection;
pub use verifiers::VerifierSettings;

/// Where distributions put the daemon's configuration, in the order of the sockets that are tried:
/// containerd's own packages, k3s, RKE2, MicroK8s, k0s.
pub const USUAL_PATHS: [&str; 5] = [
    "/etc/containerd/config.toml",
    "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
    "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
    "/var/snap/microk8s/current/args/containerd.toml",
    "/etc/k0s/containerd.toml",
];

/// What containerd's configuration says about pulling, its imports included. What nothing is said
/// about is `None` or empty; the daemon's own defaults are not filled in.
#[derive(Debug, Default)]
pub struct ContainerdConfig {
    path: PathBuf,
    /// `root`, where the daemon keeps its content.
    pub root: Option<PathBuf>,
    /// `sandbox_image`, or `pinned_images.sandbox` as it is called since version 3.
    pub sandbox_image: Option<String>,
    /// The snapshotter that the CRI unpacks into.
    pub snapshotter: Option<String>,
    /// The image verifiers.
    pub verifiers: VerifierSettings,
    registry: RegistrySection,
    disabled_cri: Option<Notice>,
    /// What the daemon does not read.
    passed_over: Vec<Notice>,
}

impl ContainerdConfig {
    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directories of `config_path`, in which the CRI looks for `hosts.toml`.
    pub fn hosts_directories(&self) -> &[PathBuf] {
        &self.registry.config_path
    }

    /// The hosts for `domain` by the deprecated `mirrors` and `configs`; `None` where neither says
    /// anything about it.
    ///
    /// # Errors
    /// [`Error::MissingFile`] for a certificate that cannot be read.
    pub(super) fn hosts(
        &self,
        domain: &str,
        options: &HostOptions,
    ) -> Result<Option<Vec<RegistryHost>>, Error> {
        self.registry.hosts(domain, options)
    }

    /// `registry.headers`: what every registry host is sent.
    pub(super) fn headers(&self) -> &[Header] {
        self.registry.headers.sent()
    }

    /// A warning if `domain` has mirrors here, which `directory` takes the place of.
    pub(super) fn mirrors_not_used(&self, domain: &str, directory: &Path) -> Option<Notice> {
        self.registry.mirrors_not_used(domain, directory)
    }

    /// The deprecated `configs.*.auth` and `auths`.
    pub(super) fn logins(&self) -> LoginFile {
        LoginFile::of_logins(&self.path, self.registry.logins())
    }

    /// A warning if this is not the file of the daemon that keeps its content in `content`, or no
    /// more: what it says about registries then counts for pulls of ours, but not for the kubelet's.
    pub fn of_another_daemon(&self, content: &Path) -> Option<Notice> {
        let root = self.root.as_deref().filter(|root| !root.as_os_str().is_empty())?;
        // Either may have been written with a symlink in it.
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if content.starts_with(root) || real(content).starts_with(real(root)) {
            return None;
        }
        let message = format!(
            "`root` is {}, but the daemon that answers keeps its content in {}: this is not the \
             file that it was started with",
            root.display(),
            content.display()
        );
        let warning = Notice::new(WarningKind::OtherDaemon, message).with_hint(
            "name the daemon's own file with --containerd-config, or restart the daemon if the \
             file was changed",
        );
        Some(Notice { file: Some(self.path.clone()), ..warning })
    }

    /// What will keep the daemon's CRI from doing what the file means.
    pub fn warnings(&self) -> Vec<Notice> {
        let own = self.disabled_cri.iter().chain(&self.passed_over).cloned();
        own.chain(self.registry.warnings()).collect()
    }

    fn warn_disabled(&mut self, warning: Notice) {
        self.disabled_cri.get_or_insert(warning.with_hint(
            "take it out of `disabled_plugins` and restart containerd: until then the kubelet \
             cannot use this node",
        ));
    }
}
