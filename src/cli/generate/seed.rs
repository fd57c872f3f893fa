//! The flags by which a seeding is described, and what they come to.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::mounts::{self, LOGINS, NodePath};
use super::names::{dns_label, dns_name, label, node_path, variable};
use crate::cli::groups::PullPolicy;
use crate::cli::values::{ByteCount, duration, speed};
use crate::cli::wanted::{self, Batch};
use crate::cli::{Error, SeedingError, Session};
use crate::failure::Notice;
use crate::oci::Digest;
use crate::reference::Reference;

/// Longest list that a ConfigMap takes, in bytes: a little less than the 1 MiB that it may have in all.
const MAX_LIST_BYTES: usize = 1_000_000;

/// Longest list that `kubectl apply` takes, in bytes: it keeps a copy of the object in an annotation, and all
/// annotations together may have 256 KiB.
const MAX_APPLIED_BYTES: usize = 260_000;

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
    #[arg(long, value_name = "NAME", value_parser = dns_name)]
    pub(super) secret: Option<String>,

    /// Label that a node must have. Can be repeated
    #[arg(long = "node-selector", value_name = "KEY=VALUE", value_parser = label)]
    node_selector: Vec<(String, String)>,

    /// Who unpacks the layers. Direct is faster, and needs capabilities that are explained in what is
    /// printed
    #[arg(long, value_enum, value_name = "WAY", default_value_t)]
    pub(super) unpacker: Unpacker,

    /// containerd's root directory on the nodes, for --unpacker direct
    #[arg(long, value_name = "DIR", default_value = "/var/lib/containerd", value_parser = node_path)]
    containerd_root: PathBuf,

    /// Further path of the nodes that is mounted read-only: authorities elsewhere, for instance. Can be
    /// repeated
    #[arg(long = "host-path", value_name = "PATH", value_parser = node_path)]
    host_paths: Vec<PathBuf>,

    /// Variable for pullctl, as HTTPS_PROXY=http://proxy.example:3128: a pod does not have those of the
    /// node. Can be repeated
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    environment: Vec<(String, String)>,

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
    /// Which nodes, by their labels.
    pub(super) node_labels: Vec<(String, String)>,
    /// The container's environment.
    pub(super) variables: Vec<(String, String)>,
    /// What it has of the node.
    pub(super) node_paths: Vec<NodePath>,
    /// The daemon's socket there.
    socket: PathBuf,
}

impl SeedArgs {
    /// Reads the list, and tells what of it is not in what is printed.
    ///
    /// # Errors
    /// When it has a mistake, or is too long for a ConfigMap; when flags contradict each other.
    pub(super) fn read(&self, session: &Session<'_>) -> Result<Seed<'_>, Error> {
        let batch = wanted::read(&self.references, &self.file)?;
        let list: String = batch.images.iter().map(|it| format!("{}\n", it.exact_line())).collect();
        if list.len() > MAX_LIST_BYTES {
            return Err(SeedingError::LongForConfigMap(list.len()).into());
        }
        for notice in batch.notices.iter().chain(&self.losses(&batch, list.len())) {
            session.printer.warning(notice);
        }
        let typed = session.global.address().unwrap_or(DEFAULT_SOCKET);
        let socket = node_path(typed.strip_prefix("unix://").unwrap_or(typed))
            .map_err(|problem| SeedingError::Socket { address: typed.to_owned(), problem })?;
        let root = (self.unpacker == Unpacker::Direct).then_some(&*self.containerd_root);
        let node_paths = mounts::of_node(&socket, &self.host_paths, root)?;
        let linux = [("kubernetes.io/os", "linux")];
        let node_labels = each_once("--node-selector", &linux, &self.node_selector)?;
        let logins = self.secret.as_ref().map(|_| ("DOCKER_CONFIG", LOGINS));
        let variables = each_once("--env", logins.as_slice(), &self.environment)?;
        Ok(Seed { args: self, list, node_labels, variables, node_paths, socket })
    }

    /// What the list has and the pods will not, and what is to be known of one with so many bytes.
    fn losses(&self, batch: &Batch, bytes: usize) -> Vec<Notice> {
        let mut notices = Vec::new();
        let has_logins = batch.images.iter().any(|wanted| !wanted.logins.is_empty());
        if (has_logins || !batch.secrets.is_empty()) && self.secret.is_none() {
            let message = "the logins of the list's pods do not come along";
            let hint =
                "name a Secret with them, in the namespace of what is printed: --secret NAME";
            notices.push(Notice::new("pod-logins-left-out", message).with_hint(hint));
        }
        if bytes > MAX_APPLIED_BYTES {
            let message = format!(
                "the list has {bytes} bytes, and kubectl apply keeps a copy where {MAX_APPLIED_BYTES} have room"
            );
            let hint = "kubectl apply --server-side keeps none";
            notices.push(Notice::new("list-long-for-apply", message).with_hint(hint));
        }
        notices
    }
}

/// The pairs `own` and `typed`, each key once.
fn each_once(
    flag: &'static str,
    own: &[(&str, &str)],
    typed: &[(String, String)],
) -> Result<Vec<(String, String)>, SeedingError> {
    let mut all: Vec<_> =
        own.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    for (key, value) in typed {
        match all.iter().find(|(known, _)| known == key) {
            None => all.push((key.clone(), value.clone())),
            Some((_, known)) if known == value => {}
            Some(_) => return Err(SeedingError::Contradiction { flag, name: key.clone() }),
        }
    }
    Ok(all)
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
        flag("--address", self.socket.display().to_string());
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
