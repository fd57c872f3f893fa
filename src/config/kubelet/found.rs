//! The node's kubelet: all that is known of it, put together.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::environment::Environment;
use crate::config::error::Error;

use super::flags::{Flags, RemovedFlag};
use super::k3s;
use super::process::{self, Program};
use super::records::ImageRecords;
use super::root::below;
use super::settings::Settings;
use super::threshold::{self, Limits};
use super::verification::Verification;

/// Its root directory where nothing else is said.
const DEFAULT_ROOT: &str = "/var/lib/kubelet";

/// Its configuration where nothing else is said: kubeadm's.
const DEFAULT_CONFIG: &str = "/var/lib/kubelet/config.yaml";

/// What a kubelet is configured with. All paths can be opened as they are.
#[derive(Debug, Clone)]
pub struct Kubelet {
    /// The process, where one runs.
    pub pid: Option<u32>,
    /// The files of settings that were read, in the order in which they are laid over each other.
    pub files: Vec<PathBuf>,
    /// `--root-dir`: below it are its records.
    pub root_directory: PathBuf,
    /// How little the file system of images may have free before pods are evicted.
    pub image_fs: Limits,
    /// The same of the file system of pods, on which its root directory is.
    pub node_fs: Limits,
    /// Which images pods may use without showing a login.
    pub verification: Verification,
    /// `cgroupDriver`, as it is written.
    pub cgroup_driver: Option<String>,
    /// `containerRuntimeEndpoint`, as it is written: `unix:///run/containerd/containerd.sock`.
    pub runtime_endpoint: Option<String>,
    /// `imageMaximumGCAge`: how long an image may be unused before it is removed; `None` for ever.
    pub image_maximum_age: Option<Duration>,
    /// `imageGCHighThresholdPercent`: how full the images' file system may be before unused images
    /// are removed; 100 for never.
    pub image_gc_high_percent: u8,
    /// `--image-credential-provider-config`.
    pub provider_config: Option<PathBuf>,
    /// `--image-credential-provider-bin-dir`.
    pub provider_directory: Option<PathBuf>,
    /// Flags with which newer kubelets do not start.
    pub removed_flags: Vec<RemovedFlag>,
}

impl Kubelet {
    /// The kubelet of this node: the one that runs, else the one that the usual files are for;
    /// `None` where there is no trace of one.
    ///
    /// # Errors
    /// [`Error`] for a file of its settings that it could not start with either.
    pub fn find(environment: &Environment) -> Result<Option<Self>, Error> {
        let root = environment.node_root();
        let process = process::find(&root);
        let flags = match &process {
            Some(process) if process.program == Program::K3s => k3s::flags(&root, process)?,
            Some(process) => {
                let place = format!("the process {}", process.pid);
                Flags::parse(process.arguments.iter().skip(1).cloned(), &place)
            }
            None => Flags::of_files(&root),
        };
        let in_node = |path: &str| below(&root, Path::new(path));
        let config = match (flags.get("config"), &process) {
            (Some(path), _) => Some(in_node(path)),
            (None, None) => Some(in_node(DEFAULT_CONFIG)).filter(|path| path.exists()),
            (None, Some(_)) => None,
        };
        let root_directory = in_node(flags.get("root-dir").unwrap_or(DEFAULT_ROOT));
        let has_trace = process.is_some() || config.is_some() || root_directory.is_dir();
        if !has_trace {
            return Ok(None);
        }
        let drop_ins = flags.get("config-dir").map(in_node);
        let settings = Settings::read(config.as_deref(), drop_ins.as_deref())?;
        let pid = process.map(|process| process.pid);
        Self::of(pid, root_directory, &flags, &settings, in_node).map(Some)
    }

    fn of(
        pid: Option<u32>,
        root_directory: PathBuf,
        flags: &Flags,
        settings: &Settings,
        in_node: impl Fn(&str) -> PathBuf,
    ) -> Result<Self, Error> {
        let eviction = threshold::hard(flags, settings)?;
        let records = ImageRecords::below(&root_directory);
        let text = |flag: &str, name: &str| match flags.get(flag) {
            Some(value) => Ok(Some(value.to_owned())),
            None => settings.text(name),
        };
        Ok(Self {
            pid,
            files: settings.files(),
            image_fs: eviction.image_fs,
            node_fs: eviction.node_fs,
            verification: Verification::of(flags, settings, records)?,
            cgroup_driver: text("cgroup-driver", "cgroupDriver")?,
            runtime_endpoint: text("container-runtime-endpoint", "containerRuntimeEndpoint")?,
            image_maximum_age: settings.duration("imageMaximumGCAge")?,
            image_gc_high_percent: settings.image_gc_high_percent(flags)?,
            provider_config: flags.get("image-credential-provider-config").map(&in_node),
            provider_directory: flags.get("image-credential-provider-bin-dir").map(&in_node),
            removed_flags: flags.removed(),
            root_directory,
        })
    }

    /// What it remembers of images that it has pulled itself.
    pub fn records(&self) -> ImageRecords {
        ImageRecords::below(&self.root_directory)
    }
}
