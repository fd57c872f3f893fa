//! Where hosts are configured.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Generation, Locations};

/// Where hosts are configured.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registry")]
pub struct HostsArgs {
    /// Directory with a hosts.toml for each registry. Can be repeated, and hold several after
    /// colons [default: config_path of containerd's configuration, /etc/containerd/certs.d,
    /// /etc/docker/certs.d]
    #[arg(long, value_name = "DIR", value_delimiter = ':')]
    pub hosts_dir: Vec<PathBuf>,

    /// containerd's configuration [default: /etc/containerd/config.toml, else that of k3s, RKE2,
    /// MicroK8s or k0s]
    #[arg(long, value_name = "FILE", conflicts_with = "ignore_containerd_config")]
    pub containerd_config: Option<PathBuf>,

    /// Do not read containerd's configuration
    #[arg(long)]
    pub ignore_containerd_config: bool,
}

impl HostsArgs {
    /// Where to look for configuration; `auth_file` is looked at before the usual logins.
    pub fn locations(&self, auth_file: Option<&PathBuf>) -> Locations {
        Locations {
            hosts_directories: self.hosts_dir.clone(),
            auth_file: auth_file.cloned(),
            containerd_config: self.containerd_config.clone(),
            ignore_containerd_config: self.ignore_containerd_config,
            providers: None,
            generation: Generation::Unknown,
        }
    }
}
