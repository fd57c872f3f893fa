//! The flags by which a seeding is described, and what they come to.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::groups::PullPolicy;
use crate::cli::values::{ByteCount, duration, speed};
use crate::cli::wanted;
use crate::cli::{Error, SeedingError, Session};
use crate::oci::Digest;
use crate::reference::Reference;

/// Longest list that a ConfigMap takes, in bytes: a little less than the 1 MiB that it may have in all.
const MAX_LIST_BYTES: usize = 1_000_000;

/// Longest DNS label, in bytes (RFC 1123).
const MAX_LABEL_BYTES: usize = 63;

/// Where the socket is unless `--address` says otherwise.
const DEFAULT_SOCKET: &str = "/run/containerd/containerd.sock";

/// The image under which `make image` saves pullctl.
const DEFAULT_IMAGE: &str = concat!("localhost/pullctl:", env!("CARGO_PKG_VERSION"));

/// A seeding: which images, and by whom.
#[derive(Debug, Args)]
pub(super) struct SeedArgs {
    /// Images to seed
    #[arg(value_name = "REF", required_unless_present = "file")]
    references: Vec<String>,

    /// File with images, as for pull. Can be repeated
    #[arg(short, long, value_name = "FILE")]
    file: Vec<PathBuf>,

    /// The image of pullctl itself, as the cluster reaches it
    #[arg(long, value_name = "IMAGE", default_value = DEFAULT_IMAGE)]
    pub(super) image: Reference,

    /// Name of what is made
    #[arg(long, value_name = "NAME", default_value = "pullctl-seed", value_parser = dns_label)]
    pub(super) name: String,

    /// Kubernetes namespace of what is made. Its pods need hostPath volumes, which its pod security
    /// level has to allow
    // In the place of the flag of every command: in a pod it is always the namespace of the kubelet.
    #[arg(short, long, value_name = "NS", default_value = "kube-system", value_parser = dns_label)]
    namespace: String,

    /// When a round pulls an image. With missing, a list that is in place costs the registry nothing, and
    /// a tag that has moved on is not noticed
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    policy: PullPolicy,

    /// Keep the kubelet's image garbage collection away from the images
    #[arg(long)]
    pin: bool,

    /// Secret of the type kubernetes.io/dockerconfigjson with the logins, in the same namespace
    #[arg(long, value_name = "NAME", value_parser = dns_label)]
    pub(super) secret: Option<String>,

    /// Label that a node must have. Can be repeated
    #[arg(long = "node-selector", value_name = "KEY=VALUE", value_parser = pair)]
    pub(super) node_selector: Vec<(String, String)>,

    /// Who unpacks the layers. Direct is faster, and needs capabilities that are explained in what is
    /// printed
    #[arg(long, value_enum, value_name = "WAY", default_value_t)]
    pub(super) unpacker: Unpacker,

    /// containerd's root directory on the nodes, for --unpacker direct
    #[arg(long, value_name = "DIR", default_value = "/var/lib/containerd", value_parser = absolute)]
    pub(super) containerd_root: PathBuf,

    /// Further path of the nodes that is mounted read-only: authorities elsewhere, for instance. Can be
    /// repeated
    #[arg(long = "host-path", value_name = "PATH", value_parser = absolute)]
    pub(super) host_paths: Vec<PathBuf>,

    /// Variable for pullctl, as HTTPS_PROXY=http://proxy.example:3128: a pod does not have those of the
    /// node. Can be repeated
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = pair)]
    pub(super) environment: Vec<(String, String)>,

    /// Most bytes per second that a node fetches: 20M
    #[arg(long, value_name = "SPEED", value_parser = speed)]
    limit_rate: Option<ByteCount>,

    /// Longest random wait before a node begins, so that a cluster does not ask together
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    splay: Duration,
}

/// Who unpacks layers in the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Unpacker {
    /// containerd: the pod needs its socket and nothing else
    #[default]
    Daemon,
    /// pullctl, while they come in: the pod needs containerd's root directory too
    Direct,
}

/// A seeding with its list read.
pub(super) struct Seed<'a> {
    /// As typed.
    pub(super) args: &'a SeedArgs,
    /// An image a line.
    pub(super) list: String,
    /// The daemon's socket on the nodes.
    pub(super) socket: String,
}

impl SeedArgs {
    /// Reads the list.
    ///
    /// # Errors
    /// When it has a mistake, or is too long for a ConfigMap.
    pub(super) fn read(&self, session: &Session<'_>) -> Result<Seed<'_>, Error> {
        let batch = wanted::read(&self.references, &self.file)?;
        let list: String = batch.images.iter().map(|it| format!("{}\n", it.line())).collect();
        if list.len() > MAX_LIST_BYTES {
            return Err(SeedingError::LongForConfigMap(list.len()).into());
        }
        let socket = session.global.address().unwrap_or(DEFAULT_SOCKET);
        let socket = socket.strip_prefix("unix://").unwrap_or(socket).to_owned();
        Ok(Seed { args: self, list, socket })
    }
}

impl Seed<'_> {
    /// The Kubernetes namespace.
    pub(super) fn namespace(&self) -> &str {
        &self.args.namespace
    }

    /// What changes with the list, so that a changed list makes new pods.
    pub(super) fn list_digest(&self) -> Digest {
        Digest::of(self.list.as_bytes())
    }

    /// What pullctl is started with; the list, the status and the socket are where `pod` mounts them.
    pub(super) fn command(
        &self,
        list: &str,
        status: &str,
        interval: Option<Duration>,
    ) -> Vec<String> {
        let mut words = ["pull", "--progress", "json", "-f", list, "--status-file", status]
            .map(str::to_owned)
            .to_vec();
        let mut flag = |name: &str, value: String| words.extend([name.to_owned(), value]);
        flag("--address", self.socket.clone());
        flag("--unpacker", typed(&self.args.unpacker));
        flag("--policy", typed(&self.args.policy));
        flag("--splay", friendly(self.args.splay));
        if let Some(interval) = interval {
            flag("--interval", friendly(interval));
        }
        if let Some(speed) = self.args.limit_rate {
            flag("--limit-rate", speed.0.to_string());
        }
        if self.args.pin {
            words.push("--pin".to_owned());
        }
        words
    }
}

/// The value of a flag as it is typed.
fn typed(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// `6h`, `1m 30s` without the blank: as a flag takes it.
fn friendly(duration: Duration) -> String {
    let printed = jiff::SignedDuration::try_from(duration).map(|duration| format!("{duration:#}"));
    printed.unwrap_or_default().replace(' ', "")
}

/// A name that Kubernetes takes for an object and for a namespace.
fn dns_label(text: &str) -> Result<String, String> {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = (1..=MAX_LABEL_BYTES).contains(&text.len())
        && text.bytes().all(is_inner)
        && !text.starts_with('-')
        && !text.ends_with('-');
    match is_label {
        true => Ok(text.to_owned()),
        false => Err("a name in Kubernetes has lower case letters, digits and dashes".to_owned()),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it is written KEY=VALUE".to_owned()),
    }
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err("the path must be absolute".to_owned()) }
}
