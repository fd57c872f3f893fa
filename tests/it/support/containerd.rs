//! containerd 1.6, 1.7 and 2.1 as daemons of our own: everything below one temporary folder, the
//! CRI plugin on, no CNI, overlayfs.

use std::fmt::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use containerd_client::services::v1::version_client::VersionClient;
use containerd_client::tonic::transport::Channel;

use super::supervisor::{Supervised, fresh_directory};
use super::{block_on, cri};

/// The namespace in which Kubernetes looks for images.
pub(crate) const KUBERNETES: &str = "k8s.io";

/// A release of containerd under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V1_6,
    V1_7,
    V2_1,
    /// One that Debian does not have yet, in the folder that [`NEWER`] names.
    Newer,
}

/// The environment variable with the folder of a newer containerd's programs.
const NEWER: &str = "CONTAINERD_NEWER";

impl Version {
    /// Every one that Debian has, for tests that need daemons of their own.
    pub(crate) const ALL: [Self; 3] = [Self::V1_6, Self::V1_7, Self::V2_1];

    fn bin(self) -> PathBuf {
        match self {
            Self::V1_6 => PathBuf::from("/usr/bin"),
            Self::V1_7 => bin_of_part("containerd-1.7"),
            Self::V2_1 => bin_of_part("containerd-2.1"),
            Self::Newer => match std::env::var_os(NEWER) {
                Some(folder) => PathBuf::from(folder),
                None => panic!("{NEWER} must name the folder with containerd, its shim and ctr"),
            },
        }
    }

    /// Path of one of the release's programs.
    pub(crate) fn program(self, name: &str) -> PathBuf {
        existing(self.bin().join(name))
    }

    /// Whether it is of containerd 2 or later.
    pub(crate) fn is_two(self) -> bool {
        match self {
            Self::V1_6 | Self::V1_7 => false,
            Self::V2_1 | Self::Newer => true,
        }
    }

    /// Name of the plugin that pulls for the kubelet.
    pub(crate) fn cri_plugin(self) -> &'static str {
        if self.is_two() { "io.containerd.cri.v1.images" } else { "io.containerd.grpc.v1.cri" }
    }

    fn config(self, directory: &Path) -> String {
        let below = directory.display();
        let common = format!(
            "root = '{below}/root'\n\
             state = '{below}/state'\n\
             [grpc]\n\
             address = '{below}/containerd.sock'\n\
             [plugins.'io.containerd.internal.v1.opt']\n\
             path = '{below}/opt'\n"
        );
        let cni = format!("bin_dir = '{below}/cni/bin'\nconf_dir = '{below}/cni/net.d'\n");
        match self {
            Self::V1_6 | Self::V1_7 => format!(
                "version = 2\n{common}\
                 [plugins.'io.containerd.grpc.v1.cri'.cni]\n{cni}"
            ),
            Self::V2_1 | Self::Newer => format!(
                "version = 3\n{common}\
                 [plugins.'io.containerd.cri.v1.runtime'.cni]\n{cni}\
                 [plugins.'io.containerd.nri.v1.nri']\n\
                 disable = true\n"
            ),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_6 => "1.6",
            Self::V1_7 => "1.7",
            Self::V2_1 => "2.1",
            Self::Newer => "newer",
        })
    }
}

/// A running daemon.
pub(crate) struct Containerd {
    version: Version,
    daemon: Supervised,
    has_cri: bool,
}

impl Containerd {
    /// The one daemon of this version that all tests of the process share.
    pub(crate) fn shared(version: Version) -> &'static Self {
        static DAEMONS: [OnceLock<Containerd>; 4] = [const { OnceLock::new() }; 4];
        DAEMONS[version as usize].get_or_init(|| Self::private(version))
    }

    /// A daemon for a test that does something unkind to it.
    pub(crate) fn private(version: Version) -> Self {
        Self::start(version, true, |_| {})
    }

    /// A private daemon whose CRI plugin is off, as in the configuration of docker's packages.
    pub(crate) fn without_cri(version: Version) -> Self {
        Self::start(version, false, |directory| {
            let off = "disabled_plugins = ['io.containerd.grpc.v1.cri']\n";
            Self::edit_config(directory, |config| format!("{off}{config}"));
        })
    }

    /// A private daemon whose `root` is a file system of `size` (as `mount -o size=` has it).
    pub(crate) fn with_small_disk(version: Version, size: &str) -> Self {
        Self::start(version, true, |directory| {
            let root = Self::root_in(directory);
            std::fs::create_dir(&root).expect("the root folder can be made");
            let mounted = Command::new("mount")
                .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
                .arg(&root)
                .status()
                .expect("mount runs");
            assert!(mounted.success(), "a tmpfs can be mounted");
        })
    }

    /// A private daemon whose `root` is a file system of this kind of its own, of 400 MB; `None` where
    /// the kernel has none such, or no loop devices.
    pub(crate) fn on_file_system(version: Version, kind: &str) -> Option<Self> {
        let image = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        image.as_file().set_len(400 << 20).expect("it can be sparse");
        let mut make = Command::new(format!("/usr/sbin/mkfs.{kind}"));
        let made = make.arg("-f").arg(image.path()).output().expect("mkfs runs");
        assert!(made.status.success(), "{made:?}");
        let mount = |place: &Path| {
            let options = ["-t", kind, "-o", "loop"];
            let mut mount = Command::new("mount");
            mount.args(options).arg(image.path()).arg(place).status().expect("mount runs").success()
        };
        let trial = tempfile::tempdir().expect("a temporary folder can be made");
        if !mount(trial.path()) {
            return None;
        }
        let undone = Command::new("umount").arg(trial.path()).status().expect("umount runs");
        assert!(undone.success());
        Some(Self::start(version, true, |directory| {
            let root = Self::root_in(directory);
            std::fs::create_dir(&root).expect("the root folder can be made");
            assert!(mount(&root), "what could be mounted once can be again");
        }))
    }

    /// A private daemon with `more` at the end of its configuration.
    pub(crate) fn configured(version: Version, more: &str) -> Self {
        Self::start(version, true, |directory| {
            Self::edit_config(directory, |config| config + more);
        })
    }

    /// A private daemon on whose path there is nothing but its own programs: no runc.
    pub(crate) fn without_runc(version: Version) -> Self {
        let path = version.bin().display().to_string();
        Self::start_with(version, false, &path, |_| {}, |_| Vec::new())
    }

    /// A private daemon that finds another file system at its root than everybody else does.
    pub(crate) fn with_mounts_of_its_own(version: Version) -> Self {
        let prepare = |directory: &Path| {
            std::fs::create_dir(Self::root_in(directory)).expect("the root folder can be made");
        };
        let launch = |directory: &Path| {
            let script = "mount -t tmpfs none \"$0\" && exec \"$@\"".to_owned();
            let root = Self::root_in(directory).display().to_string();
            ["unshare", "-m", "sh", "-c"]
                .map(str::to_owned)
                .into_iter()
                .chain([script, root])
                .collect()
        };
        Self::start_with(version, true, &Self::path(version), prepare, launch)
    }

    /// The same, of which the CRI plugin will not start.
    pub(crate) fn with_failing_cri(version: Version, more: &str) -> Self {
        Self::start(version, false, |directory| {
            Self::edit_config(directory, |config| config + more);
        })
    }

    fn edit_config(directory: &Path, edit: impl FnOnce(String) -> String) {
        let path = Self::config_in(directory);
        let config = std::fs::read_to_string(&path).expect("the config is written");
        std::fs::write(path, edit(config)).expect("the config can be written");
    }

    fn config_in(directory: &Path) -> PathBuf {
        directory.join("config.toml")
    }

    /// A daemon that starts pods from the image `sandbox`. Test machines often may not protect processes
    /// from the kernel's OOM killer, hence the other setting.
    pub(crate) fn starting_pods_from(version: Version, sandbox: &str) -> Self {
        let settings = match version {
            Version::V1_6 | Version::V1_7 => format!(
                "[plugins.'io.containerd.grpc.v1.cri']\n\
                 sandbox_image = '{sandbox}'\nrestrict_oom_score_adj = true\n"
            ),
            Version::V2_1 | Version::Newer => format!(
                "[plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = '{sandbox}'\n\
                 [plugins.'io.containerd.cri.v1.runtime']\nrestrict_oom_score_adj = true\n"
            ),
        };
        Self::configured(version, &settings)
    }

    /// Where the daemon keeps content and snapshots.
    pub(crate) fn root(&self) -> PathBuf {
        Self::root_in(self.daemon.directory())
    }

    fn root_in(directory: &Path) -> PathBuf {
        directory.join("root")
    }

    /// Path of the daemon's configuration.
    pub(crate) fn config_file(&self) -> PathBuf {
        Self::config_in(self.daemon.directory())
    }

    fn start(version: Version, has_cri: bool, prepare: impl FnOnce(&Path)) -> Self {
        Self::start_with(version, has_cri, &Self::path(version), prepare, |_| Vec::new())
    }

    /// Where the daemon looks for programs: for the shims beside itself.
    fn path(version: Version) -> String {
        format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", version.bin().display())
    }

    /// `launch` says what starts it, if it is not started by itself.
    fn start_with(
        version: Version,
        has_cri: bool,
        path: &str,
        prepare: impl FnOnce(&Path),
        launch: impl FnOnce(&Path) -> Vec<String>,
    ) -> Self {
        let directory = fresh_directory(&format!("containerd-{version}"));
        let config = Self::config_in(&directory);
        std::fs::write(&config, version.config(&directory)).expect("the config can be written");
        prepare(&directory);
        let program = version.program("containerd");
        let path = format!("PATH={path}");
        let launch = launch(&directory);
        let mut command: Vec<&str> = launch.iter().map(String::as_str).collect();
        command.extend([
            "env",
            &path,
            text(&program),
            "--config",
            text(&config),
            "--log-level",
            "info",
        ]);
        let daemon = Supervised::start(directory, &command);
        let containerd = Self { version, daemon, has_cri };
        containerd.wait_until_ready();
        containerd
    }

    fn wait_until_ready(&self) {
        let what = format!("readiness of containerd {}", self.version);
        self.daemon.wait_until(&what, || {
            let version = block_on(async { self.answers().await });
            let cri_ready = || !self.has_cri || cri::Cri::new(self).runtime_is_ready();
            version.filter(|_| cri_ready())
        });
    }

    async fn answers(&self) -> Option<String> {
        let channel = containerd_client::connect(self.socket()).await.ok()?;
        let version = VersionClient::new(channel).version(()).await.ok()?;
        Some(version.into_inner().version)
    }

    /// Which release this is.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// The version that the daemon itself tells.
    pub(crate) fn reported_version(&self) -> String {
        block_on(self.answers()).expect("the daemon answers")
    }

    /// Path of the gRPC socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.daemon.directory().join("containerd.sock")
    }

    /// A folder for a test's own files and mounts on the daemon's file system, cleaned up with it.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        let scratch = self.daemon.directory().join(super::unique(name));
        std::fs::create_dir(&scratch).expect("the scratch folder can be made");
        scratch
    }

    /// A gRPC channel to the daemon.
    pub(crate) async fn channel(&self) -> Channel {
        containerd_client::connect(self.socket()).await.expect("the daemon accepts connections")
    }

    /// Kills the daemon with SIGKILL and waits until it is gone.
    pub(crate) fn kill(&self) {
        self.daemon.order("kill");
    }

    /// Starts a killed daemon again and waits until it answers.
    pub(crate) fn restart(&self) {
        self.daemon.order("start");
        self.wait_until_ready();
    }

    /// Runs the release's own `ctr` in `namespace`.
    pub(crate) fn ctr(&self, namespace: &str, arguments: &[&str]) -> String {
        let output = self.try_ctr(namespace, arguments);
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let _ = write!(said, "{}", String::from_utf8_lossy(&output.stderr));
            panic!("ctr {} with containerd {}: {said}", arguments.join(" "), self.version);
        }
        said
    }

    /// The same, for a `ctr` that may fail.
    pub(crate) fn try_ctr(&self, namespace: &str, arguments: &[&str]) -> Output {
        Command::new(self.version.program("ctr"))
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", namespace])
            .args(arguments)
            .output()
            .expect("ctr runs")
    }

    /// Looks until `ready` finds what it waits for.
    pub(crate) fn wait_until<T>(&self, what: &str, ready: impl FnMut() -> Option<T>) -> T {
        self.daemon.wait_until(what, ready)
    }

    /// What the daemon has logged.
    pub(crate) fn log(&self) -> String {
        self.daemon.log()
    }
}

/// Where the programs of a package are that `make setup` has unpacked.
fn bin_of_part(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".parts").join(part).join("usr/bin")
}

/// Path of a program of such a package.
pub(crate) fn program_of_part(part: &str, name: &str) -> PathBuf {
    existing(bin_of_part(part).join(name))
}

fn existing(program: PathBuf) -> PathBuf {
    assert!(program.exists(), "{} is missing: run `make setup`", program.display());
    program
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::each_version;
    use crate::support::faulty::FaultyRegistry;
    use crate::support::image::Image;
    use crate::support::store::Store;

    each_version! {
        fn the_daemon_is_the_version_that_it_is_called(daemon) {
            let reported = daemon.reported_version();
            let reported = reported.trim_start_matches('v');
            let is = |version: &Version| reported.starts_with(&version.to_string());
            match daemon.version() {
                Version::Newer => assert!(!Version::ALL.iter().any(is), "{reported}"),
                version => assert!(is(&version), "{reported}"),
            }
        }

        fn the_daemon_offers_overlayfs_snapshots(daemon) {
            let plugins = daemon.ctr("default", &["plugins", "ls"]);
            let overlay = plugins.lines().find(|line| line.contains(" overlayfs ")).unwrap_or("");
            assert!(overlay.trim_end().ends_with("ok"), "{plugins}");
        }
    }

    #[test]
    fn a_killed_daemon_comes_back_with_what_it_had() {
        for version in Version::ALL {
            let daemon = Containerd::private(version);
            let image = Image::small();
            let reference = FaultyRegistry::start().add_new(&image);
            daemon.ctr("default", &["images", "pull", "--plain-http", &reference]);

            daemon.kill();
            assert!(block_on(daemon.answers()).is_none(), "{version}: the daemon is still there");
            daemon.restart();

            let store = Store::new(&daemon, "default");
            assert_eq!(store.images()[&reference].target, image.digest(), "{version}");
            assert!(store.snapshots()[&image.chain_id()].committed, "{version}");
            assert_eq!(store.blob(&image.digest()), image.root.bytes, "{version}");
            let starts = daemon.log().matches("containerd successfully booted").count();
            assert_eq!(starts, 2, "{version}");
        }
    }

    #[test]
    fn a_daemon_without_the_cri_answers_and_its_cri_does_not() {
        for version in Version::ALL {
            let daemon = Containerd::without_cri(version);
            assert!(!cri::Cri::new(&daemon).runtime_is_ready(), "{version}");
            assert!(daemon.reported_version().contains(&version.to_string()));
        }
    }
}
