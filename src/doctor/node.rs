//! The node as it is looked at: the daemon, its process, what it was started with, what is configured.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::net::UnixStream;

use crate::config::{ContainerdConfig, Environment, FlatFile, Generation, Kubelet, NodeConfig};
use crate::containerd::{
    CONTENT_DIRECTORY, Client, CriStatus, Error, KUBERNETES, Plugin, find_address, labels,
};
use crate::images::StoredImage;
use crate::reference::Reference;

/// What is looked at. Whatever could not be read is absent, and told by the check that is about it.
pub struct Node {
    /// The daemon, or why there is none.
    pub(super) daemon: Result<Client, Error>,
    /// Its process, where it is this machine's and may be seen.
    pub(super) process: Option<Process>,
    /// What its CRI says; `None` where it has none.
    pub(super) cri: Option<CriStatus>,
    /// All its plugins.
    pub(super) plugins: Vec<Plugin>,
    /// Its version.
    pub(super) version: Option<String>,
    /// Its configuration, setting by setting.
    pub(super) settings: Option<FlatFile>,
    /// What is configured about registries, as far as that can be read.
    pub(super) config: NodeConfig,
    /// Files of settings that can't be read or obeyed.
    pub(super) broken: Vec<crate::config::Error>,
    /// What the kubelet is configured with; `None` where there is no trace of one.
    pub(super) kubelet: Result<Option<Kubelet>, crate::config::Error>,
    /// Where the node's root is.
    pub(super) root_directory: PathBuf,
    /// What the kubelet's namespace holds.
    pub(super) images: Vec<StoredImage>,
}

/// `USER_HZ`, by which `/proc` counts time: 100 wherever containerd runs.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process that runs.
#[derive(Debug, Clone)]
pub(super) struct Process {
    /// Its command line.
    pub(super) arguments: Vec<String>,
    /// Its environment; `None` for who may not read it.
    pub(super) environment: Option<BTreeMap<String, String>>,
    /// When it was started.
    pub(super) started: Option<SystemTime>,
}

impl Process {
    /// The one at the other end of a socket.
    pub(super) async fn behind(socket: &Path) -> Option<Self> {
        let stream = UnixStream::connect(socket).await.ok()?;
        Self::of(stream.peer_cred().ok()?.pid()?)
    }

    /// That of this number.
    pub(super) fn of(id: i32) -> Option<Self> {
        let own = PathBuf::from(format!("/proc/{id}"));
        let words = |name: &str| -> Option<Vec<String>> {
            let bytes = fs::read(own.join(name)).ok()?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Some(text.split('\0').filter(|word| !word.is_empty()).map(str::to_owned).collect())
        };
        let environment = words("environ").map(|variables| {
            let pair = |variable: &String| {
                variable.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
            };
            variables.iter().filter_map(pair).collect()
        });
        Some(Self { arguments: words("cmdline")?, environment, started: started(&own) })
    }

    /// The value of a flag, written `--name value`, `--name=value` or with its short form.
    pub(super) fn flag(&self, names: &[&str]) -> Option<&str> {
        let mut arguments = self.arguments.iter().map(String::as_str);
        while let Some(argument) = arguments.next() {
            for name in names {
                match argument.strip_prefix(name) {
                    Some("") => return arguments.next(),
                    Some(rest) if rest.starts_with('=') => return rest.get(1..),
                    _ => {}
                }
            }
        }
        None
    }
}

/// When the process whose directory is `own` was started, to some hundredths of a second.
fn started(own: &Path) -> Option<SystemTime> {
    let stat = fs::read_to_string(own.join("stat")).ok()?;
    // The name of the program, in parentheses, may hold anything; `starttime` is the 22nd field.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let age = uptime - ticks as f64 / TICKS_PER_SECOND;
    SystemTime::now().checked_sub(Duration::try_from_secs_f64(age.max(0.0)).ok()?)
}

/// The file that the daemon behind `socket` was started with, by its command line; containerd's own
/// place where that does not say.
pub async fn file_of_daemon(socket: Option<&str>) -> Option<PathBuf> {
    let process = Process::behind(&find_address(socket).ok()?).await?;
    let named = process.flag(&["--config", "-c"]).map(PathBuf::from);
    named.filter(|path| path.is_file())
}

impl Node {
    /// Looks at the node: at the daemon that was connected to, and at `config`, which was read for it
    /// without what is `broken`.
    pub async fn look(
        daemon: Result<Client, Error>,
        (config, broken): (NodeConfig, Vec<crate::config::Error>),
        environment: &Environment,
    ) -> Self {
        let mut node = Self {
            process: None,
            cri: None,
            plugins: Vec::new(),
            version: None,
            settings: None,
            images: Vec::new(),
            kubelet: Kubelet::find(environment),
            root_directory: environment.node_root(),
            config,
            broken,
            daemon,
        };
        let generation = match node.daemon.as_ref().ok().and_then(Client::major_version) {
            None => Generation::Unknown,
            Some(..=1) => Generation::One,
            Some(_) => Generation::Two,
        };
        if let Some(path) = node.config.containerd.as_ref().map(ContainerdConfig::path) {
            match FlatFile::read(path, generation) {
                Ok(settings) => node.settings = settings,
                Err(error) => node.broken.push(error),
            }
        }
        if let Ok(client) = &node.daemon {
            node.process = Process::behind(client.address()).await;
            node.cri = client.cri().status().await.ok().flatten();
            node.plugins = client.introspection().all().await.unwrap_or_default();
            node.version = client.version().await.ok();
            node.images = crate::images::load(client).await.unwrap_or_default();
        }
        node
    }

    /// The daemon's socket.
    pub fn address(&self) -> Option<String> {
        self.client().map(|client| client.address().display().to_string())
    }

    /// The daemon's version.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The file that was read as the daemon's configuration.
    pub fn config_file(&self) -> Option<&Path> {
        self.config.containerd.as_ref().map(ContainerdConfig::path)
    }

    /// The client, where a daemon answers.
    pub(super) fn client(&self) -> Option<&Client> {
        self.daemon.as_ref().ok()
    }

    /// The command that has the daemon read its configuration again.
    pub(super) fn restart(&self) -> &'static str {
        let address = self.client().map(Client::address).unwrap_or(Path::new("")).to_string_lossy();
        let k3s = Path::new("/etc/systemd/system/k3s-agent.service").exists();
        let rke2 = Path::new("/var/lib/rancher/rke2").exists();
        match () {
            () if address.contains("/k3s/") && rke2 => {
                "systemctl restart rke2-server || systemctl restart rke2-agent"
            }
            () if address.contains("/k3s/") && k3s => "systemctl restart k3s-agent",
            () if address.contains("/k3s/") => "systemctl restart k3s",
            () if address.contains("microk8s") => "snap restart microk8s.daemon-containerd",
            () if address.contains("/k0s/") => {
                "systemctl restart k0sworker || systemctl restart k0scontroller"
            }
            () => "systemctl restart containerd",
        }
    }

    /// A command of pullctl's for the namespace that is looked at, as it has to be typed.
    pub(super) fn pullctl(&self, words: &str) -> String {
        match self.client().map(Client::namespace) {
            None | Some(KUBERNETES) => format!("pullctl {words}"),
            Some(other) => format!("pullctl -n {other} {words}"),
        }
    }

    /// The registries that images here are of, as references name them, and those that they came from
    /// under another name.
    pub(super) fn domains(&self) -> BTreeSet<String> {
        let names = || self.images.iter().flat_map(|image| &image.names);
        let parsed = names().filter_map(|name| name.name.parse::<Reference>().ok());
        let sources = names().filter_map(|name| labels::named_source(&name.labels));
        parsed.chain(sources).map(|reference| reference.domain().to_owned()).collect()
    }

    /// Where the daemon keeps its content, as it says, two levels up.
    pub(super) fn root(&self) -> Option<PathBuf> {
        let content = self.plugins.iter().find(|plugin| plugin.kind == "io.containerd.content.v1");
        let told = content.and_then(|plugin| plugin.exports.get("root"));
        let told = told.and_then(|root| Path::new(root).parent().map(Path::to_owned));
        told.or_else(|| self.config.containerd.as_ref()?.root.clone())
    }

    /// The directories that the daemon writes: its root, and where its plugins keep content and snapshots,
    /// as far as they tell.
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        let stores = ["io.containerd.content.v1", "io.containerd.snapshotter.v1"];
        let plugins = self.plugins.iter().filter(|plugin| stores.contains(&plugin.kind.as_str()));
        let told = plugins.filter_map(|plugin| plugin.exports.get("root")).map(PathBuf::from);
        let root = self.root();
        // containerd 2 does not tell.
        let content = root.as_ref().map(|root| root.join(CONTENT_DIRECTORY));
        let content = content.filter(|content| content.is_dir());
        root.into_iter().chain(content).chain(told).collect()
    }
}
