//! Room: told before anything is written, and what a pull would take of it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::archive::{Archive, text};
use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Image, Layer, Packing, Recipe};
use crate::support::store::Store;
use crate::support::tree::Tree;
use crate::support::unique;
use crate::support::walk::walk;

fn noise(name: &str, size: usize) -> Image {
    Recipe::new(vec![Layer::noise(&unique(name), size)]).build()
}

fn pull(daemon: &Containerd, references: &[&str], flags: &[&str]) -> Pullctl {
    let (first, others) = references.split_first().unwrap();
    Pullctl::pull(daemon, first).args(others).args(flags)
}

/// Blobs and snapshots of the daemon.
fn holdings(daemon: &Containerd) -> (usize, usize) {
    let store = Store::new(daemon, KUBERNETES);
    (store.content().len(), store.snapshots().len())
}

fn json(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
}

#[test]
fn images_that_do_not_fit_together_are_refused_before_the_first_byte() {
    for version in Version::ALL {
        let daemon = &Containerd::with_small_disk(version, "64m");
        let registry = FaultyRegistry::start();
        let images = [(); 3].map(|()| noise("image", 11 << 20));
        let references = images.each_ref().map(|image| registry.add_new(image));
        let [old, one, two] = references.each_ref().map(String::as_str);
        pull(daemon, &[old], &[]).run().succeeded();
        let before = holdings(daemon);
        registry.forget_requests();

        let large = registry.add_new(&noise("large", 25 << 20));
        let all = [one, two, &large];
        let outcome = pull(daemon, &all, &[]).run().ended_with(10);
        let error = "the images do not fit: nothing was written";
        assert_eq!(outcome.stderr.matches(error).count(), 1, "{version}: {outcome:?}");
        let outcome = outcome.says("are to come").says("stay so (5 % of it)");
        let outcome = outcome.says("0 of 3 images pulled");
        outcome.says("pullctl rm --unused would free 22.").says("--no-space-check");
        assert_eq!(holdings(daemon), before, "{version}");
        let layer = images[1].layers()[0].digest.to_string();
        assert!(registry.requests_for(&layer).is_empty(), "{version}");

        let planned = pull(daemon, &all, &["--dry-run"]).run().ended_with(10);
        planned.says("the images do not fit");
        // Each of them has room; what is there needs none, whatever is free.
        pull(daemon, &[one], &[]).run().succeeded();
        pull(daemon, &[old, one], &[]).run().succeeded();
        pull(daemon, &[two], &[]).run().ended_with(10).says("the images do not fit");
        let copy = ["copy", two, &format!("containerd:{two}")];
        let copied = Pullctl::new().on(daemon).args(copy).run().ended_with(10);
        copied.says("the images do not fit");
        pull(daemon, &[two], &["--no-space-check", "--no-unpack"]).run().succeeded();
    }
}

#[test]
fn what_an_archive_holds_is_known_to_fit_where_it_is_a_file() {
    for version in Version::ALL {
        let daemon = &Containerd::with_small_disk(version, "64m");
        let image = noise("archived", 32 << 20);
        let name = "registry.example/archived:v1";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.tar");
        std::fs::write(&path, Archive::oci(&[(&image, name)]).build()).unwrap();
        let before = holdings(daemon);
        let load = |flags: &[&str]| {
            Pullctl::new().on(daemon).args(["load", "-i", text(&path)]).args(flags).run()
        };
        load(&[]).ended_with(10).says("the images do not fit: nothing was written");
        assert_eq!(holdings(daemon), before, "{version}");
        // Alone it has room, which was looked at too.
        load(&["--no-unpack"]).succeeded();
    }
}

#[test]
fn a_copy_between_namespaces_takes_the_room_of_what_is_unpacked_alone() {
    for version in Version::ALL {
        let daemon = &Containerd::with_small_disk(version, "64m");
        let registry = FaultyRegistry::start();
        let name = registry.add_new(&noise("copied", 16 << 20));
        pull(daemon, &[&name], &["-n", "first"]).run().succeeded();
        let copy = |to: &str, flags: &[&str]| {
            let places = ["first", to].map(|it| format!("containerd://{it}/{name}"));
            Pullctl::new().on(daemon).args(["copy"]).args(places).args(flags).run()
        };
        copy("second", &[]).succeeded();
        // 48 MiB are taken, and 16 more are to come.
        let refused = copy("third", &[]).ended_with(10).says("the images do not fit");
        refused.says(" 16.");
        assert!(Store::new(daemon, "third").snapshots().is_empty(), "{version}");
        copy("third", &["--no-unpack"]).succeeded();
    }
}

#[test]
fn what_the_kubelet_wants_free_stays_free() {
    for version in Version::ALL {
        let daemon = &Containerd::with_small_disk(version, "64m");
        let reference = FaultyRegistry::start().add_new(&noise("image", 8 << 20));
        let node = tempfile::tempdir().unwrap();
        let kubelet = node.path().join("var/lib/kubelet");
        std::fs::create_dir_all(&kubelet).unwrap();
        let pull = |threshold: &str| {
            let config = format!(
                "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n\
                 evictionHard:\n\x20 imagefs.available: {threshold}\n"
            );
            std::fs::write(kubelet.join("config.yaml"), config).unwrap();
            pull(daemon, &[&reference], &[]).env("PULLCTL_NODE_ROOT", node.path()).run()
        };
        // Content and snapshots are on one file system, where the two are counted together.
        let refused = pull("80%").ended_with(10).says("16.");
        refused.says("below that the kubelet evicts pods (imagefs.available)");
        pull("10%").succeeded();
    }
}

#[test]
fn a_dry_run_tells_what_a_pull_does_and_writes_nothing() {
    for version in Version::ALL {
        let daemon = &Containerd::private(version);
        let registry = FaultyRegistry::start();
        let base = Layer::noise(&unique("base"), 3_000_000);
        let image = |name: &str| {
            // Text, as most of what images hold.
            let text = format!("{}\n", unique(name)).repeat(100_000);
            let tar = Tree::new().file(&unique(name), text.as_bytes()).into_tar();
            Recipe::new(vec![base.clone(), Layer::pack(&tar, Packing::Gzip)]).build()
        };
        let images = ["there", "new"].map(image);
        let [there, new] = images.each_ref().map(|image| registry.add_new(image));
        pull(daemon, &[&there], &[]).run().succeeded();
        let before = everything(daemon);

        let all = [there.as_str(), &new];
        let told = json(&pull(daemon, &all, &["--dry-run", "-o", "json"]).run().succeeded());
        let table = pull(daemon, &all, &["--dry-run"]).run().succeeded();
        let after = everything(daemon);
        assert_eq!(changed(&before, &after), Vec::<&String>::new(), "{version}");
        assert!(registry.requests_for(&images[1].layers()[1].digest.to_string()).is_empty());

        let [first, second] = [0, 1].map(|position| &told["images"][position]);
        assert_eq!(first["image"], *there);
        assert_eq!(first["fetch_bytes"], 0);
        assert_eq!(first["unpacked_bytes"], 0);
        assert_eq!(second["image"], *new);
        assert_eq!(second["host"], registry.authority());
        assert_eq!(second["digest"], images[1].digest());
        assert_eq!(second["platforms"][0], "linux/amd64");
        let layer = images[1].layers()[1].bytes.len() as u64;
        let parts = images[1].blobs.iter().chain([&images[1].root]);
        let all: u64 = parts.map(|blob| blob.bytes.len() as u64).sum();
        let fetched = second["fetch_bytes"].as_u64().unwrap();
        assert_eq!(fetched, all - base.blob.bytes.len() as u64, "{version}: {told}");
        assert_eq!(second["present_bytes"], base.blob.bytes.len(), "{version}: {told}");
        assert!(second["unpacked_bytes"].as_u64().unwrap() >= layer, "{version}: {told}");
        let filesystem = &told["filesystems"][0];
        assert!(filesystem["free_bytes"].as_u64().unwrap() > 0, "{told}");
        assert_eq!(filesystem["fits"], true, "{told}");
        assert_eq!(told["fits"], true);
        for text in ["UNPACKED", "~ ", &new, &registry.authority(), "fits"] {
            assert!(table.stdout.contains(text), "{version}: no {text} in {}", table.stdout);
        }

        // As many bytes as the pull then fetches.
        let pulled = pull(daemon, &[&new], &["--progress", "json"]).run().succeeded();
        let finished = pulled.events().into_iter().find(|event| event["event"] == "finished");
        assert_eq!(finished.unwrap()["fetched_bytes"].as_u64(), Some(fetched), "{version}");
    }
}

#[test]
fn a_dry_run_ends_as_the_pull_would() {
    let daemon = Containerd::shared(Version::V2_1);
    let registry = FaultyRegistry::start();
    let there = registry.add_new(&Image::small());
    let missing = format!("{}/no/such:1", registry.authority());
    let run = |references: &[&str], flags: &[&str]| {
        pull(daemon, references, &[&["--dry-run"], flags].concat()).run()
    };
    run(&[&missing], &[]).ended_with(3).says("not found (404)");
    let both = run(&[&there, &missing], &["-o", "json"]).ended_with(11);
    let told = json(&both);
    assert_eq!(told["images"][1]["failure"], "not-found", "{told}");
    assert!(told["images"][1]["host"].is_null(), "{told}");
    run(&[&there], &["--policy", "never"]).ended_with(3).says("is not all there");
    run(&[&there], &["--platform", "linux/riscv64"]).succeeded();
    assert!(!Store::new(daemon, KUBERNETES).images().contains_key(&there));
}

/// Every file of the daemon's, and what its database says: that file itself also changes by what it does
/// by itself after a pull.
fn everything(daemon: &Containerd) -> BTreeMap<String, String> {
    let store = Store::new(daemon, KUBERNETES);
    let mut all = walk(&daemon.root());
    all.retain(|name, _| !name.ends_with(".db"));
    let told = |name: &str, what: String| (name.to_owned(), what);
    all.extend([
        told("images", format!("{:?}", store.images())),
        told("content", format!("{:?}", store.content())),
        told("snapshots", format!("{:?}", store.snapshots())),
        told("leases", format!("{:?}", store.leases())),
        told("ingests", format!("{:?}", store.ingests())),
        told("times", format!("{:?}", store.times())),
    ]);
    all
}

/// What is different between two trees.
fn changed<'a>(
    before: &'a BTreeMap<String, String>,
    after: &'a BTreeMap<String, String>,
) -> Vec<&'a String> {
    let is_other = |name: &&String| before.get(*name) != after.get(*name);
    before.keys().chain(after.keys()).filter(is_other).collect()
}
