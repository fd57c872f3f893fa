//! Mirrors as the node's files configure them: who is asked, for what, and with which login.

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use tempfile::TempDir;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::faulty::{Body, Fault, FaultyRegistry, Gate, Login, Request};
use crate::support::image::{Image, Layer, Recipe};
use crate::support::nginx::Nginx;
use crate::support::registry::Registry;
use crate::support::{Validity, unique};

/// The registry that images are named after; the files say where it is.
pub(crate) const NAMED: &str = "registry.example";

/// What the layer of [`Pair`] is fetched in.
const CHUNK: u64 = 64 << 10;

/// The layer's length, far more chunks than there are connections.
const LAYER: u64 = 48 * CHUNK;

/// Most connections that carry blobs at one time, and so most chunks that may be late at one time.
const CONNECTIONS: usize = 16;

/// A hosts directory whose `registry.example/hosts.toml` is `content`.
pub(crate) fn hosts_directory(content: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    write_hosts(directory.path(), content);
    directory
}

/// Writes such a file in `directory`.
pub(crate) fn write_hosts(directory: &Path, content: &str) {
    let own = directory.join(NAMED);
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join("hosts.toml"), content).unwrap();
}

/// `pullctl pull` of `reference` into a layout, with `flags`.
pub(crate) fn pull(reference: &str, flags: &[&str]) -> Outcome {
    pull_by(Pullctl::new(), reference, flags)
}

/// The same by `pullctl`, which has no arguments yet. All is told, so that secrets are looked for in
/// it.
pub(crate) fn pull_by(pullctl: Pullctl, reference: &str, flags: &[&str]) -> Outcome {
    let layout = tempfile::tempdir().unwrap();
    let to = format!("oci:{}", layout.path().join("layout").display());
    let told = ["-v", "--http-trace"];
    let arguments = ["pull", "--retries", "0", "--to", &to, reference];
    pullctl.args(arguments).args(told).args(flags).run()
}

fn pull_with_hosts(reference: &str, hosts: &TempDir) -> Outcome {
    let directory = hosts.path().display().to_string();
    pull(reference, &["--ignore-containerd-config", "--hosts-dir", &directory])
}

/// A mirror and an upstream that both have one image, and the image's name.
pub(crate) fn mirror_and_upstream() -> (FaultyRegistry, FaultyRegistry, String) {
    let (mirror, upstream) = (FaultyRegistry::start(), FaultyRegistry::start());
    let (image, repository) = (Image::small(), unique("mirrored/image"));
    mirror.add(&image, &repository, "v1");
    upstream.add(&image, &repository, "v1");
    (mirror, upstream, format!("{NAMED}/{repository}:v1"))
}

#[test]
fn a_mirror_is_asked_in_place_of_the_registry_and_told_whose_image_it_is() {
    let (mirror, upstream, reference) = mirror_and_upstream();
    let hosts = hosts_directory(&format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\n  header = {{ x-node = \"seven\" }}\n",
        upstream.authority(),
        mirror.authority()
    ));
    pull_with_hosts(&reference, &hosts).succeeded();
    assert_eq!(upstream.requests().len(), 0, "{:?}", upstream.requests());
    let asked = mirror.requests();
    assert!(asked.len() >= 3, "{asked:?}");
    for request in asked {
        assert_eq!(request.query, format!("ns={NAMED}"), "{request:?}");
        assert_eq!(request.header("x-node"), Some("seven"), "{request:?}");
    }
}

#[test]
fn a_mirror_that_may_not_resolve_serves_blobs_and_the_registry_the_tag() {
    let (mirror, upstream, reference) = mirror_and_upstream();
    let hosts = hosts_directory(&format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\n  capabilities = [\"pull\"]\n",
        upstream.authority(),
        mirror.authority()
    ));
    pull_with_hosts(&reference, &hosts).succeeded();
    assert_eq!(mirror.requests_for("/manifests/v1").len(), 0);
    assert!(!upstream.requests_for("/manifests/v1").is_empty());
    assert!(!mirror.requests_for("/blobs/").is_empty());
    assert_eq!(upstream.requests_for("/blobs/").len(), 0);
}

#[test]
fn a_mirror_that_may_not_pull_is_asked_for_nothing_however_the_pull_goes() {
    let (mirror, resolver) = (FaultyRegistry::start(), FaultyRegistry::start());
    let upstream = FaultyRegistry::start();
    let (image, repository) = (Image::small(), unique("mirrored/image"));
    for registry in [&mirror, &resolver, &upstream] {
        registry.add(&image, &repository, "v1");
    }
    let layer = &image.layers()[0].digest;
    mirror.always(&format!("GET /v2/{repository}/blobs/{layer}"), Fault::Truncate(10));
    let hosts = hosts_directory(&format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\n[host.\"http://{}\"]\n  \
         capabilities = [\"resolve\"]\n",
        upstream.authority(),
        mirror.authority(),
        resolver.authority()
    ));
    let by_digest = format!("{NAMED}/{repository}@{}", image.digest());
    for reference in [format!("{NAMED}/{repository}:v1"), by_digest] {
        pull_with_hosts(&reference, &hosts).succeeded();
        // The mirror breaks off, and who takes over is not the next in the file.
        assert!(!mirror.requests_for(&format!("/blobs/{layer}")).is_empty());
        assert!(!upstream.requests_for(&format!("/blobs/{layer}")).is_empty());
        assert_eq!(resolver.requests(), []);
        mirror.forget_requests();
        upstream.forget_requests();
    }
}

#[test]
fn a_slip_of_the_pen_in_a_mirrors_file_never_leads_past_the_mirror() {
    let (mirror, upstream, reference) = mirror_and_upstream();
    let content = format!(
        "server = \"http://{}\"\n\n[host.\"http://{}\"]\n  capabilities = [\"pul\"]\n",
        upstream.authority(),
        mirror.authority()
    );
    let outcome = pull_with_hosts(&reference, &hosts_directory(&content)).ended_with(12);
    outcome.says("hosts.toml:4:19: unknown capability \"pul\"").says("capabilities = [\"pul\"]");
    assert_eq!(upstream.requests().len() + mirror.requests().len(), 0);
}

#[test]
fn an_unknown_setting_is_a_warning_and_the_pull_goes_on() {
    let (mirror, _, reference) = mirror_and_upstream();
    let content = format!("servr = \"x\"\nserver = \"http://{}\"\n", mirror.authority());
    let outcome = pull_with_hosts(&reference, &hosts_directory(&content)).succeeded();
    outcome.says("hosts.toml:1: unknown setting `servr`");
}

#[test]
fn a_harbor_proxy_project_is_reached_by_its_path() {
    let (harbor, repository) = (FaultyRegistry::start(), unique("library/image"));
    harbor.add(&Image::small(), &format!("proxy/{repository}"), "v1");
    let hosts = hosts_directory(&format!(
        "server = \"http://{}/v2/proxy\"\noverride_path = true\n",
        harbor.authority()
    ));
    pull_with_hosts(&format!("{NAMED}/{repository}:v1"), &hosts).succeeded();
    let asked = harbor.requests();
    assert!(asked.iter().all(|request| request.path.starts_with("/v2/proxy/")), "{asked:?}");
}

#[test]
fn each_host_gets_its_own_login_and_no_other() {
    let (mirror, upstream, reference) = mirror_and_upstream();
    let login = |user: &str| Login::Basic { user: user.to_owned(), password: "hunter2".to_owned() };
    mirror.require(login("mirror"));
    upstream.require(login("upstream"));
    let hosts = hosts_directory(&format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\n  capabilities = [\"pull\"]\n",
        upstream.authority(),
        mirror.authority()
    ));
    let logins = tempfile::NamedTempFile::new().unwrap();
    let auth = |user: &str| format!("{{\"username\":\"{user}\",\"password\":\"hunter2\"}}");
    let content = format!(
        "{{\"auths\":{{\"{}\":{},\"{}\":{}}}}}",
        mirror.authority(),
        auth("mirror"),
        upstream.authority(),
        auth("upstream")
    );
    fs::write(logins.path(), content).unwrap();
    let directory = hosts.path().display().to_string();
    let file = logins.path().display().to_string();
    let flags = ["--ignore-containerd-config", "--hosts-dir", &directory, "--auth-file", &file];
    pull(&reference, &flags).succeeded();
    // Base64 of mirror:hunter2 and upstream:hunter2.
    for (registry, expected) in
        [(&mirror, "Basic bWlycm9yOmh1bnRlcjI="), (&upstream, "Basic dXBzdHJlYW06aHVudGVyMg==")]
    {
        let sent = registry.requests();
        let sent: Vec<&str> =
            sent.iter().filter_map(|request| request.header("authorization")).collect();
        assert!(!sent.is_empty());
        assert!(sent.iter().all(|header| *header == expected), "{sent:?}");
    }
}

#[test]
fn the_login_from_the_command_line_never_reaches_a_mirror() {
    let (mirror, upstream, reference) = mirror_and_upstream();
    mirror.require(Login::Basic { user: "a".to_owned(), password: "b".to_owned() });
    let hosts = hosts_directory(&format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\n",
        upstream.authority(),
        mirror.authority()
    ));
    let directory = hosts.path().display().to_string();
    let flags = ["--ignore-containerd-config", "--hosts-dir", &directory, "-u", "me:hunter2"];
    pull(&reference, &flags).succeeded();
    for request in mirror.requests().iter().chain(&upstream.requests()) {
        assert_eq!(request.header("authorization"), None, "{request:?}");
    }
}

#[test]
fn the_login_from_the_command_line_goes_to_the_images_registry_behind_a_mirror() {
    let (mirror, upstream, reference) = mirror_and_upstream();
    let login = Login::Basic { user: "me".to_owned(), password: "hunter2".to_owned() };
    mirror.require(login.clone());
    upstream.require(login);
    let hosts = hosts_directory(&format!("[host.\"http://{}\"]\n", mirror.authority()));
    let directory = hosts.path().display().to_string();
    let flags = ["--ignore-containerd-config", "--hosts-dir", &directory, "--plain-http"];
    let resolve = format!("{NAMED}:{}", upstream.authority());
    let login = ["--resolve", &resolve, "-u", "me:hunter2"];
    pull(&reference, &[&flags[..], &login].concat()).succeeded();
    let shown = |registry: &FaultyRegistry| -> BTreeSet<Option<String>> {
        let requests = registry.requests();
        requests.iter().map(|request| request.header("authorization").map(str::to_owned)).collect()
    };
    assert_eq!(shown(&mirror), BTreeSet::from([None]));
    // Base64 of me:hunter2; the first request, which is refused, goes without.
    let basic = Some("Basic bWU6aHVudGVyMg==".to_owned());
    assert_eq!(shown(&upstream), BTreeSet::from([None, basic]));
}

#[test]
fn what_containerd_is_told_about_mirrors_holds_here_too() {
    let (mirror, _, reference) = mirror_and_upstream();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    let content = format!(
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"{NAMED}\"]\n  \
         endpoint = [\"http://{}\"]\n",
        mirror.authority()
    );
    fs::write(&path, &content).unwrap();
    let path = path.display().to_string();
    pull(&reference, &["--containerd-config", &path]).succeeded();
    assert!(mirror.requests().len() >= 3);
    // The CRI would not start with this, and yet something answers for the registry.
    let hosts = hosts_directory(&format!("server = \"http://{}\"\n", mirror.authority()));
    let both = content.replace(
        "version = 2\n",
        &format!(
            "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \
             \"{}\"\n",
            hosts.path().display()
        ),
    );
    fs::write(&path, both).unwrap();
    pull(&reference, &["--containerd-config", &path])
        .succeeded()
        .says("`mirrors` and `config_path` are both set: containerd's CRI plugin does not start");
}

#[test]
fn the_cris_headers_reach_every_registry_and_no_token_endpoint() {
    for (version, plugin) in [(2, "io.containerd.grpc.v1.cri"), (3, "io.containerd.cri.v1.images")]
    {
        let (mirror, upstream, reference) = mirror_and_upstream();
        upstream.require(Login::Token { login: None });
        let hosts = hosts_directory(&format!(
            "server = \"http://{}\"\n[host.\"http://{}\"]\n  capabilities = [\"pull\"]\n  \
             header = {{ x-mirror = \"yes\" }}\n",
            upstream.authority(),
            mirror.authority()
        ));
        let config = hosts.path().join("config.toml");
        let content = format!(
            "version = {version}\n[plugins.\"{plugin}\".registry]\n  config_path = \"{}\"\n  \
             [plugins.\"{plugin}\".registry.headers]\n    x-node = [\"seven\"]\n    \
             authorization = [\"Bearer of-nobody\"]\n",
            hosts.path().display()
        );
        fs::write(&config, content).unwrap();
        let outcome = pull(&reference, &["--containerd-config", &config.display().to_string()]);
        outcome
            .succeeded()
            .says("config.toml:6: `authorization` of `registry.headers` is not sent");
        let (at_mirror, at_upstream) = (mirror.requests(), upstream.requests());
        assert!(at_mirror.len() >= 2 && at_upstream.len() >= 3, "{at_mirror:?} {at_upstream:?}");
        for request in at_mirror.iter().chain(&at_upstream) {
            let expected = (request.path != "/token").then_some("seven");
            assert_eq!(request.header("x-node"), expected, "{request:?}");
            assert_ne!(request.header("authorization"), Some("Bearer of-nobody"), "{request:?}");
        }
        assert!(at_mirror.iter().all(|request| request.header("x-mirror") == Some("yes")));
        assert!(at_upstream.iter().all(|request| request.header("x-mirror").is_none()));
        assert!(at_upstream.iter().any(|request| request.path == "/token"));
    }
}

#[test]
fn the_headers_of_a_host_reach_its_token_endpoint_with_all_their_values_and_no_other_host() {
    let (mirror, upstream, reference) = mirror_and_upstream();
    mirror.require(Login::Token { login: None });
    let login = Some(("me".to_owned(), "hunter2".to_owned()));
    upstream.require(Login::Token { login });
    let hosts = hosts_directory(&format!(
        "server = \"http://{}\"\nheader = {{ x-upstream = \"one\" }}\n[host.\"http://{}\"]\n  \
         capabilities = [\"pull\"]\n  header = {{ X-Mirror = [\"two\", \"three\"] }}\n",
        upstream.authority(),
        mirror.authority()
    ));
    let logins = hosts.path().join("logins.json");
    let login = "{\"username\": \"me\", \"password\": \"hunter2\"}";
    let content = format!("{{\"auths\": {{\"{}\": {login}}}}}", upstream.authority());
    fs::write(&logins, content).unwrap();
    let (directory, file) = (hosts.path().display().to_string(), logins.display().to_string());
    let flags = ["--ignore-containerd-config", "--hosts-dir", &directory, "--auth-file", &file];
    pull(&reference, &flags).succeeded();
    // Without a login a token is got, with one it is posted for.
    for (registry, token, expected) in [
        (&mirror, "GET /token", [None, Some("two, three")]),
        (&upstream, "POST /token", [Some("one"), None]),
    ] {
        for kind in [token, " /v2/"] {
            assert!(!registry.requests_for(kind).is_empty(), "{kind}");
        }
        for request in registry.requests() {
            let shown = ["x-upstream", "x-mirror"].map(|name| request.header(name));
            assert_eq!(shown, expected, "{request:?}");
        }
    }
}

#[test]
fn a_private_authority_is_trusted_where_hosts_toml_names_it() {
    let registry = Registry::start();
    let repository = unique("tls/image");
    registry.push(&Image::small(), &repository, "v1");
    let proxy = Nginx::proxy(registry.authority(), "");
    let nginx = Nginx::start_tls(&proxy, NAMED, Validity::Now);
    let reference = format!("{NAMED}/{repository}:v1");
    let server = format!("server = \"https://{}\"\n", nginx.authority());
    let strange = hosts_directory(&server);
    let file = strange.path().join(NAMED).join("hosts.toml");
    let hint = format!("write the path of the authority's file into {} (ca = ", file.display());
    pull_with_hosts(&reference, &strange).ended_with(5).says(&hint);
    let trusted = hosts_directory(&format!("{server}ca = \"ca.crt\"\n"));
    fs::copy(nginx.ca(), trusted.path().join(NAMED).join("ca.crt")).unwrap();
    pull_with_hosts(&reference, &trusted).succeeded();
    let directory = strange.path().display().to_string();
    let flags = ["--ignore-containerd-config", "--hosts-dir", &directory, "--skip-verify"];
    pull(&reference, &flags).succeeded();
}

/// Two mirrors before a registry, and an image of one large layer that all three have. The first
/// mirror never sends a byte of one of its chunks.
struct Pair {
    first: FaultyRegistry,
    second: FaultyRegistry,
    upstream: FaultyRegistry,
    stalled: Gate,
    repository: String,
    image: Image,
    files: TempDir,
}

impl Pair {
    fn new() -> Self {
        let [first, second, upstream] = [(); 3].map(|()| FaultyRegistry::start());
        // The file's header and the archive's end are 1536 bytes.
        let size = usize::try_from(LAYER).unwrap() - 1536;
        let image = Recipe::new(vec![Layer::noise(&unique("pair"), size)]).build();
        let repository = unique("pair/image");
        for registry in [&first, &second, &upstream] {
            registry.add(&image, &repository, "v1");
        }
        // What is usual is known by then, and there are chunks still to come.
        let stalled = Gate::new();
        let mut script = vec![None; 8];
        script.push(Some(Fault::Stall(0, stalled.clone())));
        first.script(&image.layers()[0].digest.to_string(), script);
        let hosts = format!(
            "server = \"http://{}\"\n[host.\"http://{}\"]\n[host.\"http://{}\"]\n",
            upstream.authority(),
            first.authority(),
            second.authority()
        );
        let files = hosts_directory(&hosts);
        Self { first, second, upstream, stalled, repository, image, files }
    }

    /// Pulls the image as one of `registry`, with so much patience for hosts that send nothing that
    /// the test would fail before it ended.
    fn pull_from(&self, registry: &str) -> Outcome {
        let outcome = Pullctl::new()
            .args(["pull", "-v", "--ignore-containerd-config", "--stall-timeout", "10m"])
            .args(["--chunk-size", &CHUNK.to_string()])
            .args([Path::new("--hosts-dir"), self.files.path()])
            .args(["--to", &format!("oci:{}", self.files.path().join("layout").display())])
            .args([format!("{registry}/{}:v1", self.repository)])
            .run();
        self.stalled.open();
        outcome
    }

    /// The bytes of the layer that `registry` was asked for, sorted.
    fn asked_of(&self, registry: &FaultyRegistry) -> Vec<RangeInclusive<u64>> {
        let requests = registry.requests_for(&self.image.layers()[0].digest.to_string());
        let range = |request: &Request| request.range(LAYER).unwrap();
        let mut ranges: Vec<_> = requests.iter().map(range).collect();
        ranges.sort_by_key(|range| *range.start());
        ranges
    }

    fn is_stored(&self) -> bool {
        let layer = self.image.layers()[0].clone();
        let stored = self.files.path().join("layout/blobs/sha256").join(layer.digest.hex());
        fs::read(stored).unwrap() == layer.bytes
    }
}

/// The layer's chunks, each once.
fn chunks() -> Vec<RangeInclusive<u64>> {
    (0..LAYER / CHUNK).map(|number| number * CHUNK..=(number + 1) * CHUNK - 1).collect()
}

#[test]
fn a_chunk_that_one_mirror_owes_comes_from_another_and_the_rest_is_not_asked_for_again() {
    let pair = Pair::new();
    pair.pull_from(NAMED).succeeded();
    assert!(pair.is_stored());
    assert_eq!(pair.asked_of(&pair.first), chunks());
    // The stalled chunk, and on a busy machine others that are late.
    let from_second = pair.asked_of(&pair.second);
    let late: BTreeSet<u64> = from_second.iter().map(|range| range.start() / CHUNK).collect();
    assert_eq!(late.len(), from_second.len(), "{from_second:?}");
    assert!((1..=CONNECTIONS).contains(&late.len()), "{from_second:?}");
    assert!(from_second.iter().any(|range| chunks().contains(range)), "{from_second:?}");
    assert_eq!(pair.asked_of(&pair.upstream), []);
}

#[test]
fn a_chunk_that_stalls_is_asked_for_on_a_second_connection_though_the_stall_timeout_is_long() {
    let pair = Pair::new();
    pair.pull_from(&pair.first.authority()).succeeded();
    assert!(pair.is_stored());
    let mut asked = pair.asked_of(&pair.first);
    let all = asked.len();
    asked.dedup_by_key(|range| range.start() / CHUNK);
    assert_eq!(asked, chunks());
    assert!((1..=CONNECTIONS).contains(&(all - asked.len())), "asked {all} times");
}

#[test]
fn a_mirror_is_cleared_when_the_other_one_gives_wrong_bytes_by_itself() {
    let pair = Pair::new();
    let path = format!("/v2/{}/blobs/{}", pair.repository, pair.image.layers()[0].digest);
    let zeros = Body::generated(LAYER, |_, buffer| buffer.fill(0));
    pair.second.serve(&path, "application/octet-stream", None, zeros);
    let outcome = pair.pull_from(NAMED).succeeded();
    outcome.says(&format!("{} is left out: it gave wrong bytes", pair.second.authority()));
    assert!(pair.is_stored());
    assert_eq!(pair.asked_of(&pair.upstream), []);
}
