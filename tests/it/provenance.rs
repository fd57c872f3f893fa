//! Where labels say that blobs can be had again: from where they came, whatever they are called here.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::archive::{Archive, text};
use crate::support::cli::Pullctl;
use crate::support::containerd::KUBERNETES;
use crate::support::image::Image;
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::{each_version, unique};

const SOURCE: &str = "containerd.io/distribution.source.";

/// The labels of each blob of the image that say where it can be had, all of which are the same.
fn sources(store: &Store<'_>, image: &Image) -> BTreeMap<String, String> {
    let content = store.content();
    let digests = image.blobs.iter().chain(&image.documents).chain([&image.root]);
    let found: BTreeSet<BTreeMap<String, String>> = digests
        .map(|blob| {
            let labels = &content[&blob.digest.to_string()].labels;
            let sources = labels.iter().filter(|(key, _)| key.starts_with(SOURCE));
            sources.map(|(key, value)| (key[SOURCE.len()..].to_owned(), value.clone())).collect()
        })
        .collect();
    let found: Vec<_> = found.into_iter().collect();
    let [one] = found.as_slice() else { panic!("{found:#?}") };
    one.clone()
}

fn only(host: &str, repository: &str) -> BTreeMap<String, String> {
    [(host.to_owned(), repository.to_owned())].into()
}

/// The repository of `reference`, which is in a registry on this machine.
fn repository(reference: &str) -> &str {
    reference.split_once('/').unwrap().1.rsplit_once(':').unwrap().0
}

each_version! {
    fn an_image_under_another_name_says_where_it_came_from(daemon) {
        let registry = Registry::start();
        let images = [Image::small(), Image::small(), Image::small()];
        let [typed, listed, _] = [0, 1, 2].map(|position| registry.push_new(&images[position]));
        let placed = unique("pause");
        registry.push(&images[2], &format!("hub/{placed}"), "3.6");
        let namespace = unique("renamed");
        let store = Store::new(daemon, &namespace);
        let pull = |arguments: &[&str]| {
            Pullctl::new().on(daemon).args(["-n", &namespace, "pull"]).args(arguments)
        };
        let other = format!("registry.example/{placed}:v1");
        pull(&[&typed, "--as", &other]).run().succeeded();
        assert_eq!(sources(&store, &images[0]), only("127.0.0.1", repository(&typed)));
        let list = format!("{listed} as=registry.example/{placed}:v2\n");
        pull(&["-f", "-"]).input(list).run().succeeded();
        assert_eq!(sources(&store, &images[1]), only("127.0.0.1", repository(&listed)));
        let project = format!("{}/hub", registry.authority());
        let name = format!("registry.k8s.io/{placed}:3.6");
        pull(&["--image-repository", &project, &name]).run().succeeded();
        assert_eq!(sources(&store, &images[2]), only("127.0.0.1", &format!("hub/{placed}")));

        // What only lacks a pin is written anew without asking anybody, and says the same.
        let requests = registry.requests().len();
        pull(&[&typed, "--as", &other, "--policy", "missing", "--pin"]).run().succeeded();
        assert_eq!(registry.requests().len(), requests);
        assert_eq!(sources(&store, &images[0]), only("127.0.0.1", repository(&typed)));
        assert_eq!(store.images()[&other].labels["io.cri-containerd.pinned"], "pinned");

        // A copy knows what is known where it comes from, and no more.
        let from = format!("containerd://{namespace}/{other}");
        let copied = unique("copied");
        let to = format!("containerd://{copied}/third.example/app:v1");
        Pullctl::new().on(daemon).args(["copy", &from, &to]).run().succeeded();
        let store = Store::new(daemon, &copied);
        assert_eq!(sources(&store, &images[0]), only("127.0.0.1", repository(&typed)));
        let to = format!("containerd://{copied}/third.example/app:v2");
        Pullctl::new().on(daemon).args(["copy", &listed, &to]).run().succeeded();
        assert_eq!(sources(&store, &images[1]), only("127.0.0.1", repository(&listed)));
    }

    fn an_archives_image_says_no_more_than_the_archive(daemon) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive.tar");
        let named = |name: &str, image: &Image| {
            std::fs::write(&path, Archive::oci(&[(image, name)]).build()).unwrap();
        };
        let load = |arguments: &[&str]| {
            let command = Pullctl::new().on(daemon).args(["load", "-i", text(&path)]);
            command.args(arguments).run().succeeded();
        };
        let store = Store::new(daemon, KUBERNETES);
        let [renamed, nameless, kept] = [Image::small(), Image::small(), Image::small()];
        let name = unique("registry.example/loaded");
        named("quay.io/team/app:v1", &renamed);
        load(&["--as", &format!("{name}:v1")]);
        assert_eq!(sources(&store, &renamed), only("quay.io", "team/app"));
        named("", &nameless);
        load(&["--as", &format!("{name}:v2")]);
        assert_eq!(sources(&store, &nameless), BTreeMap::new());
        named("quay.io/team/app:v1", &kept);
        load(&[]);
        assert_eq!(sources(&store, &kept), only("quay.io", "team/app"));
    }
}
