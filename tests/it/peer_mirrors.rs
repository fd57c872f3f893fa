//! Mirrors on the node itself that ask other nodes, in the files that Spegel and Dragonfly write: what
//! they are told, what they are asked when they have nothing or do not run, and how they find what
//! this node has.

use std::collections::BTreeMap;
use std::path::Path;

use tempfile::TempDir;

use crate::mirrors::{NAMED, hosts_directory};
use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::KUBERNETES;
use crate::support::faulty::{Fault, FaultyRegistry, Gate, dead_authority};
use crate::support::image::{Family, Image, Layer, Recipe};
use crate::support::store::Store;
use crate::support::{each_version, unique};

/// As many layers as make a request each visible.
const LAYERS: usize = 12;

/// How many images of a list are asked for at the same time.
const IMAGES_AT_ONCE: usize = 8;

/// A file as Spegel has it for one registry, but for the scheme of the registry.
fn of_spegel(mirrors: &[&str], upstream: &str) -> String {
    let host = |mirror: &&str| {
        format!(
            "\n[host.'http://{mirror}']\ncapabilities = ['pull', 'resolve']\ndial_timeout = '200ms'\n"
        )
    };
    format!("server = 'http://{upstream}'\n{}", mirrors.iter().map(host).collect::<String>())
}

/// A file as Dragonfly's dfinit has it for one registry.
fn of_dragonfly(mirror: &str, upstream: &str) -> String {
    format!(
        "server = \"http://{upstream}\"\n\n[host.\"http://{mirror}\"]\ncapabilities = [\"pull\", \
         \"resolve\"]\n\n[host.\"http://{mirror}\".header]\nX-Dragonfly-Registry = \
         \"http://{upstream}\"\n"
    )
}

/// An index with one image of [`LAYERS`] layers.
fn layered() -> Image {
    let layers = (0..LAYERS).map(|_| Layer::noise(&unique("layer"), 2_000)).collect();
    Image::index(Family::Oci, vec![Recipe::new(layers).build()])
}

fn pull(hosts: &Path, flags: &[&str], references: &[String]) -> Outcome {
    let layout = tempfile::tempdir().unwrap();
    let to = format!("oci:{}", layout.path().join("layout").display());
    let pullctl = Pullctl::new().args(["pull", "-v", "--ignore-containerd-config", "--to", &to]);
    pullctl.args([Path::new("--hosts-dir"), hosts]).args(flags).args(references).run()
}

/// How often each `METHOD /path` was asked for.
fn counted(registry: &FaultyRegistry) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in registry.requests() {
        *counts.entry(request.line()).or_default() += 1;
    }
    counts
}

/// What the first pull of `image` as `repository:v1` asks for: the tag, each document below it, and
/// each blob, once.
fn once_each(image: &Image, repository: &str) -> BTreeMap<String, usize> {
    let documents = image.documents.iter().map(|document| document.digest.to_string());
    let documents = documents.chain(["v1".to_owned()]).map(|name| format!("manifests/{name}"));
    let blobs = image.blobs.iter().map(|blob| format!("blobs/{}", blob.digest));
    documents.chain(blobs).map(|path| (format!("GET /v2/{repository}/{path}"), 1)).collect()
}

/// A registry with an image that the mirror has not got, or nobody asks it for.
struct Bed {
    mirror: FaultyRegistry,
    upstream: FaultyRegistry,
    image: Image,
    repository: String,
}

impl Bed {
    fn new() -> Self {
        let (mirror, upstream) = (FaultyRegistry::start(), FaultyRegistry::start());
        let (image, repository) = (layered(), unique("team/app"));
        upstream.add(&image, &repository, "v1");
        Self { mirror, upstream, image, repository }
    }

    fn references(&self) -> [String; 1] {
        [format!("{NAMED}/{}:v1", self.repository)]
    }

    fn spegel(&self) -> TempDir {
        hosts_directory(&of_spegel(&[&self.mirror.authority()], &self.upstream.authority()))
    }

    fn once_each(&self) -> BTreeMap<String, usize> {
        once_each(&self.image, &self.repository)
    }
}

#[test]
fn a_mirror_that_has_the_image_is_told_the_registry_with_every_request_and_alone_is_asked() {
    let bed = Bed::new();
    bed.mirror.add(&bed.image, &bed.repository, "v1");
    let hosts = hosts_directory(&of_dragonfly(&bed.mirror.authority(), &bed.upstream.authority()));
    pull(hosts.path(), &[], &bed.references()).succeeded();
    assert_eq!(counted(&bed.mirror), bed.once_each());
    let server = format!("http://{}", bed.upstream.authority());
    for request in bed.mirror.requests() {
        assert_eq!(request.query, format!("ns={NAMED}"), "{request:?}");
        assert_eq!(request.header("x-dragonfly-registry"), Some(server.as_str()), "{request:?}");
    }
    assert_eq!(bed.upstream.requests(), []);
}

#[test]
fn what_a_mirror_has_not_got_it_is_asked_for_once_and_the_registry_has_it() {
    let bed = Bed::new();
    let outcome = pull(bed.spegel().path(), &[], &bed.references()).succeeded();
    assert_eq!(counted(&bed.upstream), bed.once_each());
    // A manifest may be kept as a blob.
    let manifest = &bed.image.documents[0].digest;
    let mut expected = bed.once_each();
    expected.insert(format!("GET /v2/{}/blobs/{manifest}", bed.repository), 1);
    assert_eq!(counted(&bed.mirror), expected);
    assert!(bed.mirror.requests().iter().all(|request| request.query == format!("ns={NAMED}")));
    assert!(!outcome.stderr.contains("warning: "), "that is no trouble: {outcome:?}");
}

#[test]
fn a_mirror_for_all_registries_is_told_which_and_its_header_stays_with_it() {
    let (mirror, registries) = (FaultyRegistry::start(), [(); 2].map(|()| FaultyRegistry::start()));
    let directory = tempfile::tempdir().unwrap();
    let default = directory.path().join("_default");
    std::fs::create_dir(&default).unwrap();
    // As Spegel and Dragonfly have it for all registries; Spegel's header is its login.
    let file = format!(
        "[host.'http://{0}']\ncapabilities = ['pull', 'resolve']\ndial_timeout = '200ms'\n\
         [host.'http://{0}'.header]\nAuthorization = 'Basic c3BlZ2VsOnBlZXI='\n",
        mirror.authority()
    );
    std::fs::write(default.join("hosts.toml"), file).unwrap();
    let references = registries.each_ref().map(|registry| registry.add_new(&layered()));
    // The registries are asked by https first, which they refuse.
    pull(directory.path(), &[], &references).succeeded();
    for registry in &registries {
        let own = format!("ns={}", registry.authority().replace(':', "%3A"));
        let told = mirror.requests().iter().filter(|request| request.query == own).count();
        let asked = registry.requests();
        // Once each at both, but for the manifest, which the mirror might keep as a blob.
        assert_eq!(told, asked.len() + 1, "{own}: {:?}", counted(&mirror));
        assert!(asked.iter().all(|request| request.header("authorization").is_none()), "{asked:?}");
        assert!(asked.iter().all(|request| request.query.is_empty()), "{asked:?}");
    }
    let login = Some("Basic c3BlZ2VsOnBlZXI=");
    assert!(mirror.requests().iter().all(|request| request.header("authorization") == login));
}

/// What `-v` tells of requests to the host `authority`.
fn told_of(authority: &str, outcome: &Outcome) -> Vec<String> {
    let host = format!("{authority}: ");
    let lines = outcome.stderr.lines().filter(|line| line.starts_with(&host));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_mirror_that_does_not_run_costs_a_pull_one_refused_connection() {
    let (dead, bed) = (dead_authority(), Bed::new());
    let hosts = hosts_directory(&of_spegel(&[&dead], &bed.upstream.authority()));
    let outcome = pull(hosts.path(), &[], &bed.references()).succeeded();
    let refused = told_of(&dead, &outcome);
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].contains("GET manifests/v1: connection refused"), "{refused:?}");
    assert_eq!(counted(&bed.upstream), bed.once_each());
}

#[test]
fn a_mirror_that_does_not_run_costs_a_list_no_more_than_what_began_together() {
    let (dead, registry) = (dead_authority(), FaultyRegistry::start());
    let hosts = hosts_directory(&of_spegel(&[&dead], &registry.authority()));
    let list = (0..3 * IMAGES_AT_ONCE).map(|_| {
        let repository = unique("team/app");
        registry.add(&layered(), &repository, "v1");
        format!("{NAMED}/{repository}:v1")
    });
    let outcome = pull(hosts.path(), &[], &list.collect::<Vec<_>>()).succeeded();
    let refused = told_of(&dead, &outcome);
    assert!((1..=IMAGES_AT_ONCE).contains(&refused.len()), "{refused:?}");
}

#[test]
fn a_mirror_in_trouble_is_left_for_the_registry_at_once_and_for_as_long_as_it_asks() {
    for (fault, mirrored) in [
        (Fault::Status(503, Vec::new()), None),
        (Fault::Status(503, vec![("Retry-After", "100".to_owned())]), Some(1)),
        (Fault::Status(429, vec![("Retry-After", "100".to_owned())]), Some(1)),
    ] {
        let bed = Bed::new();
        bed.mirror.always("/v2/", fault.clone());
        pull(bed.spegel().path(), &[], &bed.references()).succeeded();
        assert_eq!(counted(&bed.upstream), bed.once_each(), "{fault:?}");
        let asked = counted(&bed.mirror);
        match mirrored {
            Some(requests) => assert_eq!(bed.mirror.requests().len(), requests, "{asked:?}"),
            None => assert_eq!(asked, bed.once_each(), "once for each, and no retry"),
        }
    }
}

each_version! {
    fn what_was_pulled_is_labelled_so_that_peers_find_it_while_the_rest_still_comes(daemon) {
        let bed = Bed::new();
        bed.mirror.add(&bed.image, &bed.repository, "v1");
        let gate = Gate::new();
        let blobs: Vec<String> = bed.image.blobs.iter().map(|blob| blob.digest.to_string()).collect();
        let (last, first) = blobs.split_last().unwrap();
        bed.mirror.always(&format!("/blobs/{last}"), Fault::Stall(100, gate.clone()));
        let hosts = bed.spegel();
        let running = Pullctl::new()
            .on(daemon)
            .args(["pull", "--ignore-containerd-config"])
            .args([Path::new("--hosts-dir"), hosts.path()])
            .args(bed.references())
            .spawn();
        let store = Store::new(daemon, KUBERNETES);
        // Spegel waits no longer than a second for the label of a blob that is new.
        let label = format!("containerd.io/distribution.source.{NAMED}");
        let layers = &first[1..];
        let content = daemon.wait_until("all blobs but one", || {
            let content = store.content();
            layers.iter().all(|blob| content.contains_key(blob)).then_some(content)
        });
        for blob in layers {
            assert_eq!(content[blob].labels.get(&label), Some(&bed.repository), "{blob}");
        }
        assert!(!store.images().contains_key(&bed.references()[0]));
        gate.open();
        running.wait().succeeded();
        let content = store.content();
        let documents = bed.image.documents.iter().chain([&bed.image.root]);
        let documents = documents.map(|document| document.digest.to_string());
        for digest in blobs.iter().cloned().chain(documents) {
            let sources: Vec<_> = content[&digest].labels.iter()
                .filter(|(name, _)| name.contains("distribution.source")).collect();
            assert_eq!(sources, [(&label, &bed.repository)], "{digest}");
        }
    }
}
