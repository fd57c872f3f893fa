//! Transfers that survive: whatever befalls a mirror, the image comes from the registry that the
//! mirror stands before, and what the mirror gave is not fetched again. What either was asked for,
//! and with whose login, is looked up in their records.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pullctl::oci::Digest;
use tempfile::TempDir;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::faulty::{Body, Fault, FaultyRegistry, Gate, Login, Request, dead_authority};
use crate::support::image::{Image, Layer, Recipe};
use crate::support::nginx::Nginx;
use crate::support::{Validity, unique};

/// The registry that images are named after; hosts.toml says where it is.
const NAMED: &str = "registry.example";

/// What a layer is fetched in.
const CHUNK: u64 = 64 << 10;

/// Length of the layer, far more chunks than there are connections.
const LAYER: u64 = 48 * CHUNK;

/// Most connections that carry blobs at one time. What a slow connection owes may be asked for once
/// more over each.
const CONNECTIONS: u64 = 12;

/// How many of the layer's chunks a mirror serves well that breaks off in the middle.
const GOOD: u64 = 16;

/// How much of a body such a mirror sends before it breaks off.
const PART: u64 = 20_000;

/// What befalls the mirror.
#[derive(Debug)]
enum Trouble {
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

struct Case {
    trouble: Trouble,
    flags: &'static [&'static str],
    /// What is told of the mirror.
    told: &'static str,
}

impl Case {
    fn new(trouble: Trouble, told: &'static str) -> Self {
        Self { trouble, flags: &[], told }
    }

    fn with(self, flags: &'static [&'static str]) -> Self {
        Self { flags, ..self }
    }
}

fn cases() -> Vec<Case> {
    let elsewhere = || Fault::Redirect(format!("http://{}/bucket", dead_authority()));
    let mut cases = vec![
        Case::new(Trouble::NothingListens, "connection refused"),
        Case::new(Trouble::MidBlob(Fault::Reset(PART)), "connection broke"),
        Case::new(Trouble::MidBlob(Fault::Truncate(PART)), "ended before its announced end"),
        Case::new(Trouble::MidBlob(Fault::Stall(PART, Gate::new())), "no data for 1s")
            .with(&["--stall-timeout", "1s"]),
        Case::new(Trouble::MidBlob(Fault::Trickle(PART)), "less than the 65536 B/s wanted")
            .with(&["--min-speed", "64KiB/s"]),
        Case::new(Trouble::Layer(Fault::Lengthen(1000)), "where the descriptor says"),
        Case::new(Trouble::Layer(Fault::Corrupt(PART)), "206"),
        Case::new(Trouble::Manifest(Fault::Corrupt(20)), "content has the digest"),
        Case::new(Trouble::Announcement(Fault::Lengthen(1000)), "where the descriptor says"),
        Case::new(Trouble::LoginRefused, "401 Unauthorized"),
        Case::new(Trouble::Layer(elsewhere()), "307"),
        Case::new(Trouble::MidBlob(elsewhere()), "307"),
        Case::new(Trouble::CertificateExpired, "certificate expired"),
    ];
    for (status, told) in [
        (401, "401 Unauthorized"),
        (403, "403 Forbidden"),
        (404, "404 Not Found"),
        (429, "429 Too Many Requests"),
        (500, "500 Internal Server Error"),
    ] {
        // Far longer than a test may take, so that nobody waits for it.
        let fault = || Fault::Status(status, vec![("Retry-After", "3600".to_owned())]);
        cases.push(Case::new(Trouble::Always(fault()), told));
        cases.push(Case::new(Trouble::MidBlob(fault()), told));
    }
    cases
}

/// A mirror in trouble before a healthy registry, each with a login of its own.
struct Bed {
    mirror: FaultyRegistry,
    upstream: FaultyRegistry,
    /// Where the mirror is looked for.
    mirror_authority: String,
    image: Image,
    reference: String,
    files: TempDir,
    nginx: Option<Nginx>,
}

fn login(user: &str, password: &str) -> Login {
    Login::Basic { user: user.to_owned(), password: password.to_owned() }
}

/// Lets `trouble` befall `mirror`, as far as it is in its answers.
fn befall(mirror: &FaultyRegistry, image: &Image, trouble: &Trouble) {
    let layer = "/blobs/".to_owned() + &image.layers()[0].digest.to_string();
    let manifest = format!("/manifests/{}", image.digest());
    match trouble {
        Trouble::NothingListens | Trouble::CertificateExpired => {}
        Trouble::LoginRefused => mirror.require(login("mirror", "another")),
        Trouble::Always(fault) => mirror.always("/v2/", fault.clone()),
        Trouble::Manifest(fault) => mirror.always(&manifest, fault.clone()),
        Trouble::Announcement(fault) => mirror.always("HEAD /v2/", fault.clone()),
        Trouble::Layer(fault) => mirror.always(&layer, fault.clone()),
        Trouble::MidBlob(fault) => {
            mirror.after(usize::try_from(GOOD).unwrap(), &layer, fault.clone());
        }
    }
}

impl Bed {
    fn new(trouble: &Trouble) -> Self {
        // The file's header and the archive's end are 1536 bytes.
        let size = usize::try_from(LAYER).unwrap() - 1536;
        let layers = vec![Layer::noise(&unique("survives"), size)];
        Self::with_layers(layers, trouble)
    }

    fn with_layers(layers: Vec<Layer>, trouble: &Trouble) -> Self {
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

    fn logins(&self) -> PathBuf {
        self.files.path().join("logins.json")
    }

    fn layout(&self) -> PathBuf {
        self.files.path().join("layout")
    }

    fn pull(&self, flags: &[&str]) -> Outcome {
        Pullctl::new()
            .args(["pull", "-v", "--ignore-containerd-config", &self.reference])
            .args(["--chunk-size", &CHUNK.to_string()])
            .args([Path::new("--hosts-dir"), self.files.path()])
            .args([Path::new("--auth-file"), &self.logins()])
            .args(["--to", &format!("oci:{}", self.layout().display())])
            .args(flags)
            .run()
    }

    fn layer(&self) -> Digest {
        self.image.layers()[0].digest
    }

    /// The layer as it was stored.
    fn stored_layer(&self) -> Vec<u8> {
        fs::read(self.layout().join("blobs/sha256").join(self.layer().hex())).unwrap()
    }

    /// The bytes of the layer that the upstream was asked for with a login, request by request.
    fn asked_of_upstream(&self) -> Vec<RangeInclusive<u64>> {
        let requests = self.upstream.requests_for(&format!("/blobs/{}", self.layer()));
        let whole = || 0..=LAYER - 1;
        let with_login =
            requests.iter().filter(|request| request.header("authorization").is_some());
        with_login.map(|request| request.range(LAYER).unwrap_or_else(whole)).collect()
    }

    /// Puts other bytes in the place of `layer` at the mirror.
    fn damage_at_mirror(&self, layer: &Layer) {
        let mut bytes = layer.blob.bytes.clone();
        bytes[usize::try_from(PART).unwrap()] ^= 0xff;
        let (_, name) = self.reference.split_once('/').unwrap();
        let (repository, _) = name.rsplit_once(':').unwrap();
        let path = format!("/v2/{repository}/blobs/{}", layer.blob.digest);
        self.mirror.serve(&path, "application/octet-stream", None, Body::from(bytes));
    }

    /// What `outcome` tells of requests to the mirror.
    fn told_of_mirror<'a>(&self, outcome: &'a Outcome) -> Vec<&'a str> {
        let host = format!("{}: ", self.mirror_authority);
        outcome.stderr.lines().filter(|line| line.starts_with(&host)).collect()
    }
}

/// Whether every login among `requests` is that of `user`, and how many there are.
fn logins(requests: &[Request], user: &str) -> (bool, usize) {
    let own = format!("Basic {}", BASE64.encode(format!("{user}:hunter2")));
    let sent = requests.iter().filter_map(|request| request.header("authorization"));
    (sent.clone().all(|header| header == own), sent.count())
}

/// What is wrong with how `case` ended.
fn complaints(case: &Case) -> Vec<String> {
    let bed = Bed::new(&case.trouble);
    let outcome = bed.pull(case.flags);
    if let Trouble::MidBlob(Fault::Stall(_, gate)) = &case.trouble {
        gate.open();
    }
    let lines = outcome.stderr.lines().filter(|line| !line.ends_with("206 Partial Content"));
    let log = lines.collect::<Vec<_>>().join("\n");
    let mut complaints = Vec::new();
    let mut wants = |holds: bool, what: String| {
        if !holds {
            complaints.push(format!("{:?}: {what}\n{log}", case.trouble));
        }
    };
    wants(outcome.code == Some(0), format!("code {:?}", outcome.code));
    if outcome.code == Some(0) {
        wants(bed.stored_layer() == bed.image.layers()[0].bytes, "the layer differs".to_owned());
    }

    let told = bed.told_of_mirror(&outcome);
    let is_told = told.iter().any(|line| line.contains(case.told));
    wants(is_told, format!("\"{}\" is not told of the mirror", case.told));
    if matches!(case.trouble, Trouble::NothingListens | Trouble::CertificateExpired) {
        wants(told.len() == 1, "the mirror is asked again and again".to_owned());
    }

    let asked = bed.asked_of_upstream();
    let bytes: u64 = asked.iter().map(|range| range.end() + 1 - range.start()).sum();
    let good = if matches!(case.trouble, Trouble::MidBlob(_)) { GOOD } else { 0 };
    let most = LAYER - good * CHUNK + CONNECTIONS * CHUNK;
    wants(bytes <= most, format!("{bytes} bytes are asked of the upstream, {most} would do"));
    if matches!(case.trouble, Trouble::MidBlob(Fault::Truncate(_) | Fault::Stall(..))) {
        let goes_on = asked.iter().any(|range| range.start() % CHUNK == PART);
        wants(goes_on, format!("no chunk goes on where it broke off: {asked:?}"));
    }

    let asked = bed.mirror.requests_for(&format!("/blobs/{}", bed.layer())).len() as u64;
    let most = match case.trouble {
        Trouble::Manifest(_) | Trouble::Announcement(_) => 0,
        // Only the whole of it tells that it is wrong.
        Trouble::Layer(Fault::Corrupt(_)) => LAYER / CHUNK + CONNECTIONS,
        // Each connection may learn of it for itself, and ask for a chunk that lags behind.
        _ => good + 2 * CONNECTIONS,
    };
    wants(asked <= most, format!("the mirror is asked {asked} times, {most} would do"));

    let (own, _) = logins(&bed.mirror.requests(), "mirror");
    wants(own, "the mirror sees another login than its own".to_owned());
    let (own, count) = logins(&bed.upstream.requests(), "upstream");
    wants(own && count > 0, "the upstream sees another login than its own".to_owned());
    complaints
}

#[test]
fn a_mirror_in_trouble_is_made_up_for_by_the_registry() {
    let cases = cases();
    let complaints: Vec<String> = std::thread::scope(|scope| {
        let running: Vec<_> = cases.iter().map(|case| scope.spawn(|| complaints(case))).collect();
        running.into_iter().flat_map(|case| case.join().unwrap()).collect()
    });
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
}

#[test]
fn a_mirror_of_wrong_bytes_is_left_alone_for_the_rest_of_the_run() {
    let layers = [(); 3].map(|()| Layer::noise(&unique("wrong"), 200_000));
    let digests: Vec<String> = layers.iter().map(|layer| layer.blob.digest.to_string()).collect();
    let bed = Bed::with_layers(layers.to_vec(), &Trouble::Layer(Fault::Corrupt(PART)));
    for digest in &digests {
        bed.mirror.always(digest, Fault::Corrupt(PART));
    }
    bed.pull(&["--concurrency", "1"]).succeeded().says("wrong blob");
    let asked_of = |registry: &FaultyRegistry| {
        digests.iter().filter(|digest| !registry.requests_for(digest).is_empty()).count()
    };
    assert_eq!((asked_of(&bed.mirror), asked_of(&bed.upstream)), (1, 3));
}

#[test]
fn a_mirror_of_wrong_bytes_is_named_when_nobody_else_has_the_blob() {
    let bed = Bed::new(&Trouble::Layer(Fault::Corrupt(PART)));
    bed.upstream.always(&format!("/blobs/{}", bed.layer()), Fault::Status(404, Vec::new()));
    let outcome = bed.pull(&[]).ended_with(3);
    let mirror = format!("{}: left out: content from it failed verification", bed.mirror_authority);
    outcome.says(&mirror).says(&format!("{}: not found", bed.upstream.authority()));
}

#[test]
fn of_the_hosts_that_gave_a_wrong_blob_only_the_one_of_wrong_bytes_is_left_out() {
    let size = usize::try_from(LAYER).unwrap() - 1536;
    let layers = [(); 2].map(|()| Layer::noise(&unique("mixed"), size));
    // The mirror gives the beginning, in which a byte is wrong, and the registry the rest.
    let bed = Bed::with_layers(layers.to_vec(), &Trouble::MidBlob(Fault::Status(404, Vec::new())));
    let good = usize::try_from(GOOD).unwrap();
    bed.mirror.after(good, &layers[1].blob.digest.to_string(), Fault::Status(404, Vec::new()));
    layers.iter().for_each(|layer| bed.damage_at_mirror(layer));
    let outcome = bed.pull(&["--concurrency", "1"]).succeeded();
    outcome.says(&format!("{} is left out: it gave wrong bytes", bed.mirror_authority));
    let asked_of = |registry: &FaultyRegistry| {
        let digests = layers.iter().map(|layer| layer.blob.digest.to_string());
        digests.filter(|digest| !registry.requests_for(digest).is_empty()).count()
    };
    assert_eq!((asked_of(&bed.mirror), asked_of(&bed.upstream)), (1, 2));
    assert_eq!(bed.stored_layer(), layers[0].blob.bytes);
}

#[test]
fn a_mirror_that_announces_a_wrong_length_is_named_when_nobody_else_has_the_image() {
    let bed = Bed::new(&Trouble::Announcement(Fault::Lengthen(1000)));
    bed.upstream.always("/manifests/", Fault::Status(404, Vec::new()));
    let outcome = bed.pull(&[]).ended_with(3);
    let mirror = format!("{}: left out: content from it failed verification", bed.mirror_authority);
    outcome.says(&mirror).says(&format!("{}: not found", bed.upstream.authority()));
}
