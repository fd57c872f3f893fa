//! SOCI: a snapshotter that mounts layers out of the registry instead of unpacking them. It serves a
//! containerd of its own, and both reach a registry that has indexes for it.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::Validity;
use super::cli::Pullctl;
use super::containerd::{Containerd, Version, program_of_part, text};
use super::faulty::FaultyRegistry;
use super::image::{Blob, Image};
use super::nginx::Nginx;
use super::registry::Registry;
use super::store::Store;
use super::supervisor::{Supervised, fresh_directory};
use super::unique;

/// The registry's name. Not one of loopback's, to which SOCI would speak both HTTP and HTTPS.
pub(crate) const REGISTRY: &str = "registry.example";

/// Another name of the same registry, by which SOCI can't reach it.
pub(crate) const HIDDEN: &str = "hidden.example";

/// Image of the daemon's pod sandboxes, `repository:tag` in the registry.
pub(crate) const SANDBOX: &str = "sandbox:v1";

/// The snapshotter's name in containerd.
const SNAPSHOTTER: &str = "soci";

/// Opens `$0` as 9 and hides `/var/lib`, where both of SOCI's programs keep what they have of indexes,
/// whatever they are told: so they neither share that nor leave it behind. The program is opened
/// before, since this project may lie there itself. What is mounted elsewhere, above all by FUSE, is
/// still everyone's to see.
const APART: &str = r#"
    exec 9<"$0" || exit
    mount --make-private "$(findmnt -n -o TARGET -T /var/lib)" && mount -t tmpfs none /var/lib || exit
"#;

/// SOCI, its containerd, whose CRI uses it, and the registry.
pub(crate) struct Soci {
    pub(crate) daemon: Containerd,
    pub(crate) registry: Registry,
    /// The registry's face: TLS, and a log that knows who asks.
    nginx: Nginx,
    /// Finds the registry for SOCI, by one of its names.
    proxy: FaultyRegistry,
    /// Where containerd and pullctl read how the registry is reached, by both names.
    hosts: PathBuf,
    snapshotter: Supervised,
}

impl Soci {
    /// The one of this version of containerd that all tests of the process share.
    pub(crate) fn shared(version: Version) -> &'static Self {
        static SHARED: [OnceLock<Soci>; 4] = [const { OnceLock::new() }; 4];
        SHARED[version as usize].get_or_init(|| Self::start(version))
    }

    fn start(version: Version) -> Self {
        let registry = Registry::start();
        // Where to upload to, the registry says with the scheme.
        let forwarded = "proxy_set_header X-Forwarded-Proto https;";
        let proxied = Nginx::proxy(registry.authority(), forwarded);
        let nginx = Nginx::start_tls(&proxied, REGISTRY, Validity::Now);
        let proxy = FaultyRegistry::start();
        proxy.tunnel(&format!("{REGISTRY}:443"), nginx.authority());
        let directory = fresh_directory("soci");
        let hosts = directory.join("hosts");
        for name in [REGISTRY, HIDDEN] {
            let below = hosts.join(name);
            std::fs::create_dir_all(&below).expect("a folder can be made");
            let server = format!(
                "server = 'https://{0}'\n[host.'https://{0}']\nskip_verify = true\n",
                nginx.authority()
            );
            std::fs::write(below.join("hosts.toml"), server).expect("the file can be written");
        }
        let socket = directory.join("socket");
        let settings = settings(version, &socket, &hosts);
        let snapshotter = snapshotter(directory, &socket, &nginx, &proxy);
        let daemon = Containerd::configured(version, &settings);
        Self { daemon, registry, nginx, proxy, hosts, snapshotter }
    }

    /// `pullctl pull` of `image`, which is `name/repository:tag`, as the CRI's settings have it.
    pub(crate) fn pull(&self, image: &str) -> Pullctl {
        self.pull_to(&self.daemon, image)
    }

    fn pull_to(&self, daemon: &Containerd, image: &str) -> Pullctl {
        Pullctl::new().on(daemon).args(["pull", "--hosts-dir", text(&self.hosts), image])
    }

    /// Pushes an image and answers its `repository:tag`.
    pub(crate) fn push(&self, image: &Image) -> String {
        let repository = unique("lazy/image");
        self.registry.push(image, &repository, "v1");
        format!("{repository}:v1")
    }

    /// Pushes an image with an index of its layers, which is made with the help of another daemon, and
    /// answers its `repository:tag`.
    pub(crate) fn push_indexed(&self, image: &Image, helper: &Containerd) -> String {
        let pushed = self.push(image);
        let (namespace, reference) = (unique("indexed"), format!("{REGISTRY}/{pushed}"));
        self.pull_to(helper, &reference).args(["-n", &namespace, "--no-unpack"]).run().succeeded();
        let script = format!(
            "{APART}
            soci=/proc/self/fd/9
            $soci -a \"$1\" -n \"$2\" create --min-layer-size 0 \"$3\" &&
                $soci -a \"$1\" -n \"$2\" push \"$3\""
        );
        let made = Command::new("unshare")
            .args(["-m", "--propagation", "unchanged", "sh", "-c", &script])
            .arg(program_of_part("soci", "soci"))
            .arg(helper.socket())
            .args([&namespace, &reference])
            .env("SSL_CERT_FILE", self.nginx.ca())
            .env("HTTPS_PROXY", format!("http://{}", self.proxy.authority()))
            .output()
            .expect("unshare runs");
        assert!(made.status.success(), "no index: {made:?}");
        pushed
    }

    /// What pullctl has asked the registry for in the repository of `pushed`, `METHOD path below the
    /// repository`.
    pub(crate) fn requests_by_pullctl(&self, pushed: &str) -> Vec<String> {
        self.requests(pushed, |agent| agent.starts_with("pullctl/"))
    }

    /// What others have asked it for.
    pub(crate) fn requests_by_others(&self, pushed: &str) -> Vec<String> {
        self.requests(pushed, |agent| !agent.starts_with("pullctl/"))
    }

    fn requests(&self, pushed: &str, by: fn(&str) -> bool) -> Vec<String> {
        let (repository, _) = pushed.split_once(':').expect("it has a tag");
        let below = format!("/v2/{repository}/");
        let requests = self.nginx.requests().into_iter().filter(|request| by(&request.agent));
        requests
            .filter_map(|request| {
                let path = request.path.strip_prefix(&below)?;
                Some(format!("{} {path}", request.method))
            })
            .collect()
    }

    /// How often SOCI was asked for a layer that it could not mount.
    pub(crate) fn vain_requests(&self, layer: &Blob) -> usize {
        let log = self.snapshotter.log();
        let lines =
            log.lines().filter(|line| line.contains("preparing snapshot as local snapshot"));
        lines.filter(|line| line.contains(&layer.digest.to_string())).count()
    }

    /// What the daemon has in `namespace`, snapshots of SOCI's among it.
    pub(crate) fn store(&self, namespace: &str) -> Store<'_> {
        Store::new(&self.daemon, namespace).with_snapshotter(SNAPSHOTTER)
    }
}

/// A daemon's configuration whose CRI uses the snapshotter at `socket` as SOCI's own instructions have
/// it. Test machines often may not protect processes from the kernel's OOM killer, hence the last one.
fn settings(version: Version, socket: &Path, hosts: &Path) -> String {
    let plugin = version.cri_plugin();
    let (socket, hosts) = (socket.display(), hosts.display());
    let proxied =
        format!("[proxy_plugins.{SNAPSHOTTER}]\ntype = 'snapshot'\naddress = '{socket}'\n");
    let registry = format!("[plugins.'{plugin}'.registry]\nconfig_path = '{hosts}'\n");
    let images = format!("snapshotter = '{SNAPSHOTTER}'\ndisable_snapshot_annotations = false\n");
    let cri = match version {
        Version::V1_6 | Version::V1_7 => format!(
            "[plugins.'{plugin}']\nsandbox_image = '{REGISTRY}/{SANDBOX}'\n\
             restrict_oom_score_adj = true\n\
             [plugins.'{plugin}'.containerd]\n{images}"
        ),
        Version::V2_1 | Version::Newer => format!(
            "[plugins.'{plugin}']\n{images}\
             [plugins.'{plugin}'.pinned_images]\nsandbox = '{REGISTRY}/{SANDBOX}'\n\
             [plugins.'io.containerd.cri.v1.runtime']\nrestrict_oom_score_adj = true\n"
        ),
    };
    format!("{proxied}{cri}{registry}")
}

/// Starts SOCI below `directory`.
fn snapshotter(
    directory: PathBuf,
    socket: &Path,
    nginx: &Nginx,
    proxy: &FaultyRegistry,
) -> Supervised {
    // What SOCI mounts below, all others see, though its mounts are its own.
    for arguments in
        [&["--bind", text(&directory), text(&directory)][..], &["--make-shared", text(&directory)]]
    {
        let mounted = Command::new("mount").args(arguments).status().expect("mount runs");
        assert!(mounted.success(), "mount {arguments:?}");
    }
    assert!(Path::new("/dev/fuse").exists(), "SOCI needs /dev/fuse");
    let config = directory.join("config.toml");
    // Otherwise it tries for half a minute to reach what it can't reach.
    let settings = "[http]\nMaxRetries = 1\nMinWaitMsec = 1\nMaxWaitMsec = 1\n";
    std::fs::write(&config, settings).expect("the config can be written");
    let script = format!("{APART}\nexec /proc/self/fd/9 \"$@\"");
    let root = directory.join("root");
    let certificates = format!("SSL_CERT_FILE={}", nginx.ca().display());
    let by = format!("HTTPS_PROXY=http://{}", proxy.authority());
    let program = program_of_part("soci", "soci-snapshotter-grpc");
    let snapshotter = Supervised::start(
        directory,
        &[
            "env",
            &certificates,
            &by,
            "unshare",
            "-m",
            "--propagation",
            "unchanged",
            "sh",
            "-c",
            &script,
            text(&program),
            "-root",
            text(&root),
            "-address",
            text(socket),
            "-config",
            text(&config),
        ],
    );
    let connects = || UnixStream::connect(socket).ok();
    snapshotter.wait_until("readiness of SOCI", connects);
    snapshotter
}
