//! A mirror in trouble before a healthy registry, and a pull that meets both.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pullctl::oci::Digest;
use tempfile::TempDir;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::faulty::{Body, Fault, FaultyRegistry, Login, Request, dead_authority};
use crate::support::image::{Image, Layer, Recipe};
use crate::support::nginx::Nginx;
use crate::support::{Validity, unique};

/// The registry that images are named after; hosts.toml says where it is.
pub(super) const NAMED: &str = "registry.example";

/// What a layer is fetched in.
pub(super) const CHUNK: u64 = 64 << 10;

/// Length of the layer, far more chunks than there are connections.
pub(super) const LAYER: u64 = 48 * CHUNK;

/// Most connections that carry blobs at one time. What a slow connection owes may be asked for once
/// more over each.
pub(super) const CONNECTIONS: u64 = 12;

/// How many of the layer's chunks a mirror serves well that breaks off in the middle.
pub(super) const GOOD: u64 = 16;

/// How much of a body such a mirror sends before it breaks off.
pub(super) const PART: u64 = 20_000;

/// What befalls the mirror.
#[derive(Debug)]
pub(super) enum Trouble {
    NothingListens,
    CertificateExpired,
    /// Its login is not the one that is configured.
    LoginRefused,
    /// From the first request on.
    Always(Fault),
    /// From the first request for the layer on.
    Layer(Fault),
    /// Its manifests alone.
    Manifest(Fault),
    /// What it says of a tag before anybody reads the manifest.
    Announcement(Fault),
    /// When [`GOOD`] chunks of the layer have been asked for.
    MidBlob(Fault),
}

/// A mirror in trouble before a healthy registry, each with a login of its own.
pub(super) struct Bed {
    pub(super) mirror: FaultyRegistry,
    pub(super) upstream: FaultyRegistry,
    /// Where the mirror is looked for.
    pub(super) mirror_authority: String,
    pub(super) image: Image,
    pub(super) reference: String,
    pub(super) files: TempDir,
    nginx: Option<Nginx>,
}

fn login(user: &str, password: &str) -> Login {
    Login::Basic { user: user.to_owned(), password: password.to_owned() }
}

/// Lets `trouble` befall `mirror`, as far as it is in its answers.
fn befall(mirror: &FaultyRegistry, image: &Image, trouble: &Trouble) {
    let layer = "/blobs/".to_owned() + &image.layers()[0].digest.to_string();
    match trouble {
        Trouble::NothingListens | Trouble::CertificateExpired => {}
        Trouble::LoginRefused => mirror.require(login("mirror", "another")),
        Trouble::Always(fault) => mirror.always("/v2/", fault.clone()),
        Trouble::Manifest(fault) => mirror.always("/manifests/", fault.clone()),
        Trouble::Announcement(fault) => mirror.always("HEAD /v2/", fault.clone()),
        Trouble::Layer(fault) => mirror.always(&layer, fault.clone()),
        Trouble::MidBlob(fault) => {
            mirror.after(usize::try_from(GOOD).unwrap(), &layer, fault.clone());
        }
    }
}

impl Bed {
    pub(super) fn new(trouble: &Trouble) -> Self {
        // The file's header and the archive's end are 1536 bytes.
        let size = usize::try_from(LAYER).unwrap() - 1536;
        let layers = vec![Layer::noise(&unique("survives"), size)];
        Self::with_layers(layers, trouble)
    }

    pub(super) fn with_layers(layers: Vec<Layer>, trouble: &Trouble) -> Self {
        let (mirror, upstream) = (FaultyRegistry::start(), FaultyRegistry::start());
        let image = Recipe::new(layers).build();
        let repository = unique("team/app");
        for registry in [&mirror, &upstream] {
            registry.add(&image, &repository, "v1");
        }
        mirror.require(login("mirror", "hunter2"));
        upstream.require(login("upstream", "hunter2"));
        befall(&mirror, &image, trouble);
        let nginx = matches!(trouble, Trouble::CertificateExpired).then(|| {
            let proxy = Nginx::proxy(&mirror.authority(), "");
            Nginx::start_tls(&proxy, "mirror.example", Validity::Expired)
        });
        let mirror_authority = match (trouble, &nginx) {
            (Trouble::NothingListens, _) => dead_authority(),
            (_, Some(nginx)) => nginx.authority().to_owned(),
            (_, None) => mirror.authority(),
        };
        let files = tempfile::tempdir().unwrap();
        let reference = format!("{NAMED}/{repository}:v1");
        let bed = Self { mirror, upstream, mirror_authority, image, reference, files, nginx };
        bed.configure();
        bed
    }

    fn configure(&self) {
        let (scheme, more) = match &self.nginx {
            Some(nginx) => ("https", format!("  ca = \"{}\"\n", nginx.ca().display())),
            None => ("http", String::new()),
        };
        let hosts = format!(
            "server = \"http://{}\"\n[host.\"{scheme}://{}\"]\n{more}",
            self.upstream.authority(),
            self.mirror_authority
        );
        let directory = self.files.path().join(NAMED);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("hosts.toml"), hosts).unwrap();
        let entry = |authority: &str, user: &str| {
            format!("\"{authority}\":{{\"auth\":\"{}\"}}", BASE64.encode(format!("{user}:hunter2")))
        };
        let logins = format!(
            "{{\"auths\":{{{},{}}}}}",
            entry(&self.mirror_authority, "mirror"),
            entry(&self.upstream.authority(), "upstream")
        );
        fs::write(self.logins(), logins).unwrap();
    }

    pub(super) fn logins(&self) -> PathBuf {
        self.files.path().join("logins.json")
    }

    fn layout(&self) -> PathBuf {
        self.files.path().join("layout")
    }

    /// Pulls into a layout.
    pub(super) fn pull(&self, flags: &[&str]) -> Outcome {
        let to = format!("oci:{}", self.layout().display());
        self.pull_by(Pullctl::new(), &[&["--to", &to], flags].concat())
    }

    /// Pulls where `pullctl` leads.
    pub(super) fn pull_by(&self, pullctl: Pullctl, flags: &[&str]) -> Outcome {
        pullctl
            .args(["pull", "-v", "--http-trace", "--ignore-containerd-config", &self.reference])
            .args(["--chunk-size", &CHUNK.to_string()])
            .args([Path::new("--hosts-dir"), self.files.path()])
            .args([Path::new("--auth-file"), &self.logins()])
            .args(flags)
            .run()
    }

    /// What the paths of the manifest, by tag and by digest, and of the configuration end in.
    pub(super) fn documents(&self) -> [String; 3] {
        let config = self.image.blobs.iter().find(|blob| blob.digest != self.layer()).unwrap();
        let manifest = self.image.digest();
        ["v1".to_owned(), manifest, config.digest.to_string()]
    }

    pub(super) fn layer(&self) -> Digest {
        self.image.layers()[0].digest
    }

    /// The layer as it was stored.
    pub(super) fn stored_layer(&self) -> Vec<u8> {
        fs::read(self.layout().join("blobs/sha256").join(self.layer().hex())).unwrap()
    }

    /// The bytes of the layer that the upstream was asked for with a login, request by request.
    pub(super) fn asked_of_upstream(&self) -> Vec<RangeInclusive<u64>> {
        let requests = self.upstream.requests_for(&format!("/blobs/{}", self.layer()));
        let whole = || 0..=LAYER - 1;
        let with_login =
            requests.iter().filter(|request| request.header("authorization").is_some());
        with_login.map(|request| request.range(LAYER).unwrap_or_else(whole)).collect()
    }

    /// Puts other bytes in the place of `layer` at the mirror.
    pub(super) fn damage_at_mirror(&self, layer: &Layer) {
        let mut bytes = layer.blob.bytes.clone();
        bytes[usize::try_from(PART).unwrap()] ^= 0xff;
        let (_, name) = self.reference.split_once('/').unwrap();
        let (repository, _) = name.rsplit_once(':').unwrap();
        let path = format!("/v2/{repository}/blobs/{}", layer.blob.digest);
        self.mirror.serve(&path, "application/octet-stream", None, Body::from(bytes));
    }

    /// What `outcome` tells of requests to the mirror.
    pub(super) fn told_of_mirror<'a>(&self, outcome: &'a Outcome) -> Vec<&'a str> {
        let host = format!("{}: ", self.mirror_authority);
        outcome.stderr.lines().filter(|line| line.starts_with(&host)).collect()
    }
}

/// Whether every login among `requests` is that of `user`, and how many there are.
pub(super) fn logins(requests: &[Request], user: &str) -> (bool, usize) {
    let own = format!("Basic {}", BASE64.encode(format!("{user}:hunter2")));
    let sent = requests.iter().filter_map(|request| request.header("authorization"));
    (sent.clone().all(|header| header == own), sent.count())
}
