//! Pins of images that are there, images that nobody uses, and how much room goes with them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::cri::Cri;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Image, Layer, Recipe};
use crate::support::pod::Pod;
use crate::support::store::Store;
use crate::support::{each_version, unique};

const PIN: &str = "io.cri-containerd.pinned";

fn pullctl(daemon: &Containerd, arguments: &[&str]) -> Outcome {
    Pullctl::new().on(daemon).args(arguments).run()
}

/// The names of `image` that a pull of `reference` gives it.
fn names(reference: &str, image: &Image) -> [String; 3] {
    let (repository, _) = reference.rsplit_once(':').unwrap();
    [reference.to_owned(), format!("{repository}@{}", image.digest()), image.config_digest()]
}

/// Everything in the namespace, by kind and name, with its size.
fn holdings(daemon: &Containerd, namespace: &str) -> BTreeMap<String, i64> {
    let store = Store::new(daemon, namespace);
    let images = store.images().into_keys().map(|name| (format!("image {name}"), 0));
    let blobs =
        store.content().into_iter().map(|(digest, record)| (format!("blob {digest}"), record.size));
    let snapshots = store.snapshots().into_keys();
    let snapshots = snapshots.map(|key| (format!("snapshot {key}"), store.usage(&key).0));
    images.chain(blobs).chain(snapshots.collect::<Vec<_>>()).collect()
}

/// `12.30 MiB`, as it is said of that many bytes.
fn said(bytes: i64) -> String {
    pullctl::output::units::bytes(bytes.try_into().unwrap())
}

each_version! {
    fn a_pin_is_what_a_pull_with_a_pin_writes_and_unpin_takes_it_away(daemon) {
        let registry = FaultyRegistry::start();
        let images = [Image::small(), Image::small()];
        let [pulled, pinned] = [0, 1].map(|position| registry.add_new(&images[position]));
        Pullctl::pull(daemon, &pulled).args(["--pin"]).run().succeeded();
        Pullctl::pull(daemon, &pinned).run().succeeded();
        registry.forget_requests();

        let store = Store::new(daemon, KUBERNETES);
        let labels = |reference: &str, image: &Image| {
            let records = store.images();
            names(reference, image).map(|name| records[&name].labels.clone())
        };
        let outcome = pullctl(daemon, &["pin", &pinned]).succeeded();
        assert_eq!(labels(&pinned, &images[1]), labels(&pulled, &images[0]));
        let told: BTreeSet<&str> = outcome.stdout.lines().collect();
        assert_eq!(told, names(&pinned, &images[1]).iter().map(String::as_str).collect());
        let is_known = daemon.version() != Version::V1_6;
        assert_eq!(outcome.stderr.contains("does not tell the kubelet of pins"), !is_known);
        let cri = Cri::new(daemon);
        let told = |is_pinned| {
            let found = || (cri.image(&pinned)?.pinned == (is_pinned && is_known)).then_some(());
            daemon.wait_until("the pin in the CRI", found);
        };
        told(true);
        // What is so already is not told again.
        assert_eq!(pullctl(daemon, &["pin", &pinned]).succeeded().stdout, "");

        let outcome = pullctl(daemon, &["unpin", &images[1].config_digest()]).succeeded();
        assert_eq!(outcome.stdout.lines().count(), 3, "{outcome:?}");
        let without = labels(&pinned, &images[1]);
        assert!(without.iter().all(|labels| !labels.contains_key(PIN)), "{without:?}");
        assert!(without.iter().all(|labels| labels.contains_key("io.cri-containerd.image")));
        told(false);
        pullctl(daemon, &["pin", "registry.example/no:1"]).ended_with(3).says("no:1");
        assert_eq!(registry.requests(), []);
    }

    fn a_pinned_image_is_removed_by_force_only(daemon) {
        let registry = FaultyRegistry::start();
        let [kept, other] = [(); 2].map(|()| registry.add_new(&Image::small()));
        Pullctl::pull(daemon, &kept).args(["--pin"]).run().succeeded();
        Pullctl::pull(daemon, &other).run().succeeded();
        let outcome = pullctl(daemon, &["rm", &other, &kept]).ended_with(2);
        let outcome = outcome.says(&format!("{kept} is pinned: nothing was removed"));
        outcome.says(&format!("pullctl unpin {kept}, or rm --force"));
        let images = Store::new(daemon, KUBERNETES).images();
        assert!(images.contains_key(&kept) && images.contains_key(&other));
        pullctl(daemon, &["rm", "--force", &other, &kept]).succeeded();
        let images = Store::new(daemon, KUBERNETES).images();
        assert!(!images.contains_key(&kept) && !images.contains_key(&other));
    }

    fn images_that_nobody_uses_go_with_what_no_other_shares(daemon) {
        let namespace = unique("unused");
        let registry = FaultyRegistry::start();
        let base = Layer::noise(&unique("base"), 300_000);
        let image = |name: &str| {
            Recipe::new(vec![base.clone(), Layer::noise(&unique(name), 200_000)]).build()
        };
        let kinds = ["used", "pinned", "written on", "unused"];
        let images = kinds.map(image);
        let references = images.each_ref().map(|image| registry.add_new(image));
        let [used, pinned, written_on, unused] = &references;
        let pull = |reference: &str| Pullctl::pull(daemon, reference).args(["-n", &namespace]);
        pull(used).args([written_on, unused]).run().succeeded();
        pull(pinned).args(["--pin"]).run().succeeded();
        daemon.ctr(&namespace, &["containers", "create", used, &unique("made")]);
        // As docker does it: a snapshot and no container.
        let key = unique("writable");
        let top = images[2].chain_id();
        daemon.ctr(&namespace, &["snapshots", "prepare", &key, &top]);

        let before = holdings(daemon, &namespace);
        let flags = |more: &'static [&str]| [&["-n", &namespace, "rm", "--unused"], more].concat();
        let young = pullctl(daemon, &flags(&["--older-than", "1h"])).succeeded();
        assert_eq!(young.stdout, "");
        let planned = pullctl(daemon, &flags(&["--dry-run"])).succeeded();
        assert_eq!(holdings(daemon, &namespace), before);
        let done = pullctl(daemon, &flags(&[])).succeeded();
        let after = holdings(daemon, &namespace);
        let told = |outcome: &Outcome| -> BTreeSet<String> {
            outcome.stdout.lines().map(str::to_owned).collect()
        };
        assert_eq!(told(&planned), names(unused, &images[3]).into());
        assert_eq!(told(&done), told(&planned));
        let gone: Vec<_> = before.iter().filter(|(name, _)| !after.contains_key(*name)).collect();
        // Three names; manifest, configuration and layer; the upper layer's snapshot.
        assert_eq!(gone.len(), 7, "{gone:?}");
        let freed = said(gone.iter().map(|(_, size)| **size).sum());
        planned.says(&format!("{freed} would be freed: 3 blobs, 1 unpacked layer"));
        done.says(&format!("{freed} freed: 3 blobs, 1 unpacked layer"));
        assert!(Store::new(daemon, &namespace).images().contains_key(pinned));
    }

    fn what_another_namespace_has_too_frees_no_bytes_of_content(daemon) {
        let [one, other] = ["one", "other"].map(unique);
        let layer = Layer::noise(&unique("shared"), 400_000);
        let reference = FaultyRegistry::start().add_new(&Recipe::new(vec![layer]).build());
        for namespace in [&one, &other] {
            Pullctl::pull(daemon, &reference).args(["-n", namespace]).run().succeeded();
        }
        let snapshots = Store::new(daemon, &one).snapshots().into_keys();
        let unpacked = snapshots.map(|key| Store::new(daemon, &one).usage(&key).0).sum();
        let outcome = pullctl(daemon, &["-n", &one, "rm", &reference]).succeeded();
        outcome.says(&format!("{} freed: 3 blobs, 1 unpacked layer", said(unpacked)));
    }
}

/// The kubelet's containers hold what they were made of, by ID: the tag has been moved on since.
#[test]
fn what_a_pod_was_made_of_and_the_pause_image_stay() {
    for version in Version::ALL {
        let registry = FaultyRegistry::start();
        let [pause, app] =
            [Image::busybox(&["/bin/sleep", "100000"]), Image::busybox(&["/bin/sh"])];
        let sandbox = registry.add_new(&pause);
        let repository = unique("moved/app");
        let tag = registry.add(&app, &repository, "1");
        let daemon = &Containerd::starting_pods_from(version, &sandbox);
        let unused = registry.add_new(&Image::small());
        Pullctl::pull(daemon, &sandbox).args([&tag, &unused]).run().succeeded();
        let rm = |more: &[&str]| {
            let config = daemon.config_file();
            let flags = ["rm", "--unused", "--dry-run", "--containerd-config", text(&config)];
            pullctl(daemon, &[&flags, more].concat()).succeeded()
        };
        let before = rm(&[]);
        assert!(!before.stdout.contains(&sandbox), "{version}: {before:?}");
        assert!(before.stdout.contains(&tag), "{version}: {before:?}");

        let found = Cri::new(daemon).image_soon(&tag);
        Cri::new(daemon).image_soon(&sandbox);
        let pod = Pod::run(daemon);
        pod.output_of(&found.id, &["/bin/echo", "it runs"]);
        registry.add(&Image::small(), &repository, "1");
        Pullctl::pull(daemon, &tag).run().succeeded();
        let after = rm(&[]);
        assert!(!after.stdout.contains(&app.config_digest()), "{version}: {after:?}");
        assert!(!after.stdout.contains(&sandbox), "{version}: {after:?}");
        // Whoever made a container by a tag may mean what the tag stands for now.
        assert!(!after.stdout.contains(&tag) && after.stdout.contains(&unused), "{after:?}");
    }
}

/// The pause image comes through the node's mirrors and stays, under the name that the CRI asks for.
#[test]
fn the_pause_image_that_the_cri_is_configured_with_is_brought_and_pinned() {
    for version in Version::ALL {
        let registry = FaultyRegistry::start();
        registry.add(&Image::small(), "team/pause", "9");
        let other = registry.add_new(&Image::small());
        let sandbox = "registry.invalid/team/pause:9";
        let daemon = &Containerd::starting_pods_from(version, sandbox);
        let hosts = tempfile::tempdir().unwrap();
        let directory = hosts.path().join("registry.invalid");
        std::fs::create_dir(&directory).unwrap();
        let mirror = format!("server = 'http://{}'\n", registry.authority());
        std::fs::write(directory.join("hosts.toml"), mirror).unwrap();
        let (config, hosts) = (daemon.config_file(), hosts.path());
        let flags = ["--containerd-config", text(&config), "--hosts-dir", text(hosts)];
        let pull =
            |more: &[&str]| pullctl(daemon, &[&["pull", "--sandbox"], &flags[..], more].concat());
        let outcome = pull(&[]).succeeded();
        assert!(outcome.stdout.starts_with(sandbox), "{version}: {outcome:?}");
        let warned = outcome.stderr.contains("does not tell the kubelet of pins");
        assert_eq!(warned, version == Version::V1_6, "{version}: {outcome:?}");
        pull(&["--plain-http", &other]).succeeded();
        let images = Store::new(daemon, KUBERNETES).images();
        assert_eq!(images.len(), 6, "{version}: {images:#?}");
        let pinned = images.values().filter(|record| record.labels.contains_key(PIN)).count();
        assert_eq!(pinned, 3, "{version}: {images:#?}");
        assert!(images[sandbox].labels.contains_key(PIN), "{version}");
        assert!(!images[&other].labels.contains_key(PIN), "{version}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}
