//! What a pull asks of the daemon, as the daemon itself counts it.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::faulty::{FaultyRegistry, dead_authority};
use crate::support::image::{Image, Layer, Recipe};
use crate::support::store::Store;
use crate::support::{each_version, unique};

/// How many layers the image has.
const LAYERS: u64 = 8;

/// A daemon that counts its calls.
struct Counting {
    daemon: Containerd,
    metrics: String,
}

impl Counting {
    fn start(version: Version) -> Self {
        let authority = dead_authority();
        let settings = format!("[metrics]\naddress = '{authority}'\ngrpc_histogram = false\n");
        let daemon = Containerd::configured(version, &settings);
        Self { daemon, metrics: format!("http://{authority}/v1/metrics") }
    }

    /// The calls of `work` by `Service/Method`.
    fn calls_of(&self, work: impl FnOnce()) -> BTreeMap<String, u64> {
        let before = self.calls();
        work();
        let mut calls = self.calls();
        for (call, count) in before {
            *calls.entry(call).or_default() -= count;
        }
        calls.retain(|_, count| *count > 0);
        calls
    }

    fn calls(&self) -> BTreeMap<String, u64> {
        let mut answer = ureq::get(&self.metrics).call().expect("the daemon tells its metrics");
        let text = answer.body_mut().read_to_string().unwrap();
        let mut calls = BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with("grpc_server_handled_total{")) {
            let label = |name: &str| {
                let (_, rest) = line.split_once(&format!("{name}=\"")).expect("it has the label");
                rest.split_once('"').expect("the label ends").0
            };
            let service = label("grpc_service").rsplit('.').next().unwrap();
            let count: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            *calls.entry(format!("{service}/{}", label("grpc_method"))).or_default() +=
                count as u64;
        }
        calls
    }
}

fn image() -> Image {
    let layers = (0..LAYERS).map(|_| Layer::file(&unique("file"), b"content")).collect();
    Recipe::new(layers).build()
}

/// Calls that are about the daemon and not about the image.
fn is_about_the_daemon(call: &str) -> bool {
    ["Version/", "RuntimeService/", "ImageService/", "Introspection/"]
        .iter()
        .any(|service| call.starts_with(service))
}

/// Images that have the same layers, and one of their own each.
fn relatives(count: usize) -> Vec<Image> {
    let shared: Vec<Layer> = (0..3).map(|_| Layer::file(&unique("shared"), b"content")).collect();
    let own = |_| Layer::file(&unique("own"), b"content");
    let layers = (0..count).map(own).map(|own| [&shared[..], &[own]].concat());
    layers.map(|layers| Recipe::new(layers).build()).collect()
}

each_version! {
    fn a_daemon_is_asked_once_for_what_a_pull_needs(daemon) {
        let version = daemon.version();
        let counting = Counting::start(version);
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image());
        let calls = |what: &str, expected: &[(&str, u64)]| {
            let pull = || drop(Pullctl::pull(&counting.daemon, &reference).run().succeeded());
            let (mut about_the_daemon, calls): (BTreeMap<_, _>, BTreeMap<_, _>) = counting
                .calls_of(pull)
                .into_iter()
                .partition(|(call, _)| is_about_the_daemon(call));
            let expected = expected.iter().map(|(call, count)| ((*call).to_owned(), *count));
            assert_eq!(calls, expected.collect(), "containerd {version}, {what}");
            // Until the kubelet sees the image.
            let seen = about_the_daemon.remove("ImageService/ImageStatus");
            assert!(seen >= Some(1), "{about_the_daemon:?}");
            assert!(about_the_daemon.values().all(|count| *count == 1), "{about_the_daemon:?}");
        };
        // Every blob, manifest and configuration is one message with all its labels.
        calls(
            "the first time",
            &[
                // Nobody asks for the documents or the other names of one that is new, nor twice for what is
                // not there.
                ("Content/Info", LAYERS),
                ("Content/Write", LAYERS + 2),
                ("Images/Create", 3),
                ("Images/Get", 1),
                ("Leases/Create", 1),
                ("Leases/Delete", 1),
                ("Leases/List", 1),
                ("Snapshots/Commit", LAYERS),
                ("Snapshots/Prepare", LAYERS),
                ("Snapshots/Stat", 4),
                // Whether the snapshots are where the daemon says.
                ("Snapshots/Usage", 1),
            ],
        );
        calls(
            "again",
            &[
                ("Content/Info", LAYERS + 2),
                ("Content/Read", 2),
                ("Images/Get", 4),
                ("Snapshots/Stat", 1),
            ],
        );
    }

    fn layers_that_images_share_are_labelled_once_with_all_their_repositories(daemon) {
        const IMAGES: usize = 12;
        let version = daemon.version();
        let counting = Counting::start(version);
        let registry = FaultyRegistry::start();
        let images = relatives(IMAGES);
        let references: Vec<String> = images.iter().map(|image| registry.add_new(image)).collect();
        let pull = || drop(Pullctl::pull(&counting.daemon, &references[0]).args(&references[1..]).run().succeeded());
        let calls = counting.calls_of(pull);
        assert_eq!(calls.get("Content/Update"), None, "containerd {version}: {calls:?}");
        assert_eq!(calls["Images/Get"], IMAGES as u64, "containerd {version}: {calls:?}");
        assert_eq!(calls["Images/Create"], 3 * IMAGES as u64);

        let content = Store::new(&counting.daemon, KUBERNETES).content();
        let repository = |reference: &String| {
            let (_, path) = reference.split_once('/').unwrap();
            path.rsplit_once(':').unwrap().0.to_owned()
        };
        let all: BTreeSet<String> = references.iter().map(repository).collect();
        for (position, layer) in images[0].layers().iter().enumerate() {
            let labels = &content[&layer.digest.to_string()].labels;
            let sources = labels["containerd.io/distribution.source.127.0.0.1"].split(',');
            let sources: BTreeSet<String> = sources.map(str::to_owned).collect();
            let expected = match position {
                3 => BTreeSet::from([repository(&references[0])]),
                _ => all.clone(),
            };
            assert_eq!(sources, expected);
        }
    }
}
