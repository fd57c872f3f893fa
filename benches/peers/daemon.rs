//! A containerd under measure: its settings, its costs, and making it forget.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::attic::Attic;
use crate::process::Process;
use crate::support::containerd::Version;
use crate::support::supervisor::{Supervised, fresh_directory};

/// Longest wait until the daemon has removed what nothing refers to.
const FORGET_DEADLINE: Duration = Duration::from_secs(120);

/// ISA-L's inflater, of Debian's package `isal`.
const IGZIP: &str = "/usr/bin/igzip";

/// The key of a snapshot that is made to look at mounts.
const VIEW: &str = "bench-view";

/// How a daemon is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    V1_6,
    V1_7,
    V2_1,
    /// 2.1 as its manual says for fast networks: eight downloads at once, and layers fetched in
    /// pieces of 8 MiB.
    V2_1Tuned,
    /// 2.1 with igzip on its `PATH`, with which it inflates where it finds it.
    V2_1Igzip,
    /// One that Debian does not have, as in the tests; runs only when it is asked for.
    Newer,
    /// The same with all that makes it faster: what 2.1 can be told, four layers unpacked at once, and igzip.
    NewerTuned,
}

impl Flavour {
    /// In the order in which they run.
    pub(crate) const ALL: [Self; 7] = [
        Self::V1_6,
        Self::V1_7,
        Self::V2_1,
        Self::V2_1Igzip,
        Self::V2_1Tuned,
        Self::Newer,
        Self::NewerTuned,
    ];

    /// Whether every machine of ours has it.
    pub(crate) fn is_at_hand(self) -> bool {
        !matches!(self, Self::Newer | Self::NewerTuned)
    }

    fn has_igzip(self) -> bool {
        matches!(self, Self::V2_1Igzip | Self::NewerTuned)
    }

    /// Name on the command line and in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V1_6 => "1.6",
            Self::V1_7 => "1.7",
            Self::V2_1 => "2.1",
            Self::V2_1Tuned => "2.1-tuned",
            Self::V2_1Igzip => "2.1-igzip",
            Self::Newer => "newer",
            Self::NewerTuned => "newer-tuned",
        }
    }

    fn version(self) -> Version {
        match self {
            Self::V1_6 => Version::V1_6,
            Self::V1_7 => Version::V1_7,
            Self::V2_1 | Self::V2_1Tuned | Self::V2_1Igzip => Version::V2_1,
            Self::Newer | Self::NewerTuned => Version::Newer,
        }
    }

    fn config(self, directory: &Path) -> String {
        let below = directory.display();
        let version = match self.version() {
            Version::V1_6 | Version::V1_7 => 2,
            Version::V2_1 | Version::Newer => 3,
        };
        let mut config = format!(
            "version = {version}\n\
             root = '{below}/root'\nstate = '{below}/state'\n\
             [grpc]\naddress = '{below}/containerd.sock'\n\
             [plugins.'io.containerd.internal.v1.opt']\npath = '{below}/opt'\n"
        );
        if version == 3 {
            config += "[plugins.'io.containerd.nri.v1.nri']\ndisable = true\n";
        }
        if matches!(self, Self::V2_1Tuned | Self::NewerTuned) {
            // ctr of 2.x pulls through the transfer service, which has these two of its own.
            for plugin in ["io.containerd.transfer.v1.local", "io.containerd.cri.v1.images"] {
                let _ = writeln!(
                    config,
                    "[plugins.'{plugin}']\n\
                     max_concurrent_downloads = 8\nconcurrent_layer_fetch_buffer = {}",
                    8 << 20
                );
                if self == Self::NewerTuned && plugin.contains("transfer") {
                    config += "max_concurrent_unpacks = 4\n";
                }
            }
        }
        config
    }
}

/// A running daemon.
pub(crate) struct Daemon {
    pub(crate) flavour: Flavour,
    pub(crate) process: Process,
    attic: Attic,
    supervised: Supervised,
}

impl Daemon {
    /// Starts it. Unless the flavour says so, there is neither igzip nor unpigz on its `PATH`, as on
    /// most nodes: 2.x inflates with them where it finds them.
    pub(crate) fn start(flavour: Flavour) -> Self {
        let directory = fresh_directory(&format!("bench-{}", flavour.name()));
        let config = directory.join("config.toml");
        fs::write(&config, flavour.config(&directory)).expect("the config can be written");
        let programs = directory.join("programs");
        fs::create_dir(&programs).expect("a folder can be made");
        if flavour.has_igzip() {
            std::os::unix::fs::symlink(IGZIP, programs.join("igzip")).expect("a link can be made");
        }
        let path = format!("PATH={}", programs.display());
        let program = flavour.version().program("containerd");
        let command = ["env", &path, text(&program), "--config", text(&config)];
        let supervised = Supervised::start(directory, &command);
        // `env` becomes containerd without another process.
        let process = Process(supervised.pid());
        let attic = Attic::new(supervised.directory()).expect("a folder can be made");
        let daemon = Self { flavour, process, attic, supervised };
        daemon.supervised.wait_until("readiness of containerd", || {
            let ready = |arguments: &[&str]| daemon.ctr("default", arguments).is_ok();
            (ready(&["version"]) && ready(&["plugins", "ls"])).then_some(())
        });
        daemon
    }

    /// Its flavour's name; of a newer one, its version in place of that word.
    pub(crate) fn name(&self) -> Result<String, String> {
        if self.flavour.is_at_hand() {
            return Ok(self.flavour.name().to_owned());
        }
        let told = self.ctr("default", &["version"])?;
        let server = told.split_once("Server:").map_or("", |(_, server)| server);
        let version = server.split_once("Version:").map_or("", |(_, version)| version);
        let version = version.split_whitespace().next();
        let version = version.ok_or("ctr tells no version")?.trim_start_matches('v');
        Ok(self.flavour.name().replace("newer", version))
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.supervised.directory().join("containerd.sock")
    }

    /// Where snapshots of earlier runs are.
    pub(crate) fn attic(&self) -> &Attic {
        &self.attic
    }

    /// A folder on the daemon's file system.
    pub(crate) fn directory(&self) -> &Path {
        self.supervised.directory()
    }

    /// The daemon's own ctr.
    pub(crate) fn ctr_program(&self) -> PathBuf {
        self.flavour.version().program("ctr")
    }

    /// The same in `namespace`, without a command yet.
    pub(crate) fn ctr_command(&self, namespace: &str) -> Vec<String> {
        let (program, socket) = (self.ctr_program(), self.socket());
        let words = [text(&program), "--address", text(&socket), "--namespace", namespace];
        words.map(str::to_owned).to_vec()
    }

    fn ctr(&self, namespace: &str, arguments: &[&str]) -> Result<String, String> {
        let command = self.ctr_command(namespace);
        let (program, given) = command.split_first().expect("a command has a program");
        let output = Command::new(program).args(given).args(arguments).output();
        let output = output.map_err(|error| format!("{program}: {error}"))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("ctr {}: {}", arguments.join(" "), said.trim()))
        }
    }

    /// Finds every image of `references` complete and unpacked, or says which is not.
    pub(crate) fn check(&self, namespace: &str, references: &[String]) -> Result<(), String> {
        let listed = self.ctr(namespace, &["images", "check"])?;
        for reference in references {
            let line = listed.lines().find(|line| line.starts_with(reference.as_str()));
            let line = line.ok_or_else(|| format!("{reference} is not there:\n{listed}"))?;
            if !line.contains("complete") || !line.trim_end().ends_with("true") {
                return Err(format!("{reference} is not unpacked: {line}"));
            }
        }
        Ok(())
    }

    /// The folder of the snapshots of all namespaces.
    pub(crate) fn snapshots(&self) -> PathBuf {
        let snapshotter = "root/io.containerd.snapshotter.v1.overlayfs/snapshots";
        self.supervised.directory().join(snapshotter)
    }

    /// The daemon's own file of a blob.
    pub(crate) fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let blobs = "root/io.containerd.content.v1.content/blobs/sha256";
        self.supervised.directory().join(blobs).join(hex)
    }

    /// The directories of the layers of the only image in `namespace`, base first.
    pub(crate) fn layers(&self, namespace: &str) -> Result<Vec<PathBuf>, String> {
        let listed = self.ctr(namespace, &["snapshots", "ls"])?;
        let rows: Vec<Vec<&str>> =
            listed.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        // A snapshot without a parent has its kind in that column.
        let is_below = |key: &str| rows.iter().any(|row| row.get(1) == Some(&key));
        let top = rows.iter().filter_map(|row| row.first()).find(|key| !is_below(key));
        let top = top.ok_or("there is no snapshot")?;
        self.ctr(namespace, &["snapshots", "view", VIEW, top])?;
        let mounts = self.ctr(namespace, &["snapshots", "mounts", "/nowhere", VIEW])?;
        self.ctr(namespace, &["snapshots", "rm", VIEW])?;
        let options = mounts.split(['\n', ',', ' ']);
        let lower = options.filter_map(|option| option.strip_prefix("lowerdir=")).next();
        let lower = lower.ok_or_else(|| format!("no overlay of several layers: {mounts}"))?;
        let mut layers: Vec<PathBuf> = lower.split(':').map(PathBuf::from).collect();
        layers.reverse();
        Ok(layers)
    }

    /// Removes everything in `namespaces`, and waits until none of it is left in the daemon's
    /// folders.
    pub(crate) fn forget(&self, namespaces: &[&str]) -> Result<(), String> {
        let (root, snapshots) = (self.supervised.directory().join("root"), self.snapshots());
        // The daemon then has nothing to delete but its records.
        self.attic.take(&snapshots)?;
        for namespace in namespaces {
            let leases = self.ctr(namespace, &["leases", "ls", "-q"])?;
            for lease in leases.lines() {
                self.ctr(namespace, &["leases", "rm", "--sync", lease])?;
            }
            let images = self.ctr(namespace, &["images", "ls", "-q"])?;
            let images: Vec<&str> = images.lines().collect();
            if !images.is_empty() {
                self.ctr(namespace, &[&["images", "rm", "--sync"], images.as_slice()].concat())?;
            }
        }
        let content = root.join("io.containerd.content.v1.content");
        let folders = [content.join("blobs/sha256"), content.join("ingest"), snapshots];
        let deadline = Instant::now() + FORGET_DEADLINE;
        while let Some(folder) = folders.iter().find(|folder| !is_empty(folder)) {
            if Instant::now() > deadline {
                return Err(format!("something is left in {}", folder.display()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// A folder that was not made yet is empty as well.
fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}
