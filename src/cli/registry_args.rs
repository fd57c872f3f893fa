//! What can be typed about registries beyond one pull: where they are configured, logins, and what
//! a pull would do.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::values::{Login, address_override, platform};
use crate::config::Locations;
use crate::platform::Platform;
use crate::registry::AddressOverride;

const LOGIN_EXAMPLES: &str = "\
Examples:
  Harbor, asking for the password:
    pullctl login -u admin harbor.example.net

  A robot account, in a script:
    pullctl login -u 'robot$puller' --password-stdin harbor.example.net < token

The login is tried before it is stored. It is stored where docker and nerdctl keep theirs:
$DOCKER_CONFIG/config.json or ~/.docker/config.json, or the credential helper named there.";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  Which mirror, certificate and login apply, and which file says so:
    pullctl explain docker.io/library/busybox

  With settings that are not in place yet:
    pullctl explain --hosts-dir ./certs.d busybox

No registry is asked.";

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
    #[arg(long)]
    pub skip_verify: bool,

    /// Logins to use before all others: docker's config.json, or a Kubernetes Secret of type
    /// kubernetes.io/dockerconfigjson as JSON or YAML
    #[arg(long, value_name = "FILE")]
    pub auth_file: Option<PathBuf>,

    /// Where hosts are configured.
    #[command(flatten)]
    pub hosts: HostsArgs,
}

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
        }
    }
}

/// How requests travel.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registry")]
pub struct TransportArgs {
    /// Connect to this address for a host, in place of what DNS says. Can be repeated
    #[arg(long, value_name = "HOST:ADDRESS[:PORT]", value_parser = address_override)]
    pub resolve: Vec<AddressOverride>,

    /// Show the heads of all requests and responses, with secrets blotted out
    #[arg(long)]
    pub http_trace: bool,
}

/// `pullctl login`.
#[derive(Debug, Args)]
#[command(after_long_help = LOGIN_EXAMPLES)]
pub struct LoginArgs {
    /// Registry to log in to, `HOST[:PORT]`
    #[arg(value_name = "SERVER", default_value = DEFAULT_SERVER)]
    pub server: String,

    /// User name; asked for when it is missing
    #[arg(short, long, value_name = "USER")]
    pub username: Option<String>,

    /// Password or token; other users of this machine can see it, so prefer --password-stdin
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    pub password: Option<TypedPassword>,

    /// Read the password from standard input
    #[arg(long, requires = "username")]
    pub password_stdin: bool,

    /// Talk plain HTTP to the registry
    #[arg(long)]
    pub plain_http: bool,

    /// Do not verify the registry's certificate
    #[arg(long, visible_alias = "insecure-registry")]
    pub skip_verify: bool,

    /// Where its certificates are configured.
    #[command(flatten)]
    pub hosts: HostsArgs,

    /// How requests travel.
    #[command(flatten)]
    pub transport: TransportArgs,
}

/// Docker Hub, as docker has it.
const DEFAULT_SERVER: &str = "docker.io";

/// A password from the command line. `Debug` does not show it.
#[derive(Debug, Clone)]
pub struct TypedPassword(pub secrecy::SecretString);

impl From<&str> for TypedPassword {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// `pullctl logout`.
#[derive(Debug, Args)]
pub struct LogoutArgs {
    /// Registry to log out of, `HOST[:PORT]`
    #[arg(value_name = "SERVER", default_value = DEFAULT_SERVER)]
    pub server: String,
}

/// `pullctl explain`.
#[derive(Debug, Args)]
#[command(after_long_help = EXPLAIN_EXAMPLES)]
pub struct ExplainArgs {
    /// Image, as for pull
    #[arg(value_name = "REF")]
    pub reference: String,

    /// Form of the explanation
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t)]
    pub output: ExplainForm,

    /// Platform, os/architecture[/variant] [default: what this machine runs best]
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    pub platform: Option<Platform>,

    /// How registries are reached.
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// Forms of an explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ExplainForm {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}
