//! The main job: one image, from a registry into the place where Kubernetes looks.

use std::collections::BTreeMap;
use std::process::Command;

use crate::support::cli::Pullctl;
use crate::support::containerd::KUBERNETES;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Family, Image, Layer, Recipe};
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::{each_version, unique};

const MANAGED: &str = "io.cri-containerd.image";
const PINNED: &str = "io.cri-containerd.pinned";

/// An image of two layers that no other test has.
fn two_layers() -> Image {
    let (lower, upper) = (unique("lower"), unique("upper"));
    Recipe::new(vec![Layer::file(&lower, lower.as_bytes()), Layer::file(&upper, upper.as_bytes())])
        .build()
}

/// The three names of an image that was pulled by tag.
fn names(reference: &str, image: &Image) -> [String; 3] {
    let (repository, _) = reference.rsplit_once(':').unwrap();
    let by_digest = format!("{repository}@{}", image.digest());
    [reference.to_owned(), by_digest, image.config_digest()]
}

each_version! {
    fn a_pulled_image_stands_in_the_kubernetes_namespace_under_its_three_names(daemon) {
        let registry = Registry::start();
        let image = two_layers();
        let reference = registry.push_new(&image);
        Pullctl::new().on(daemon).args(["pull", &reference]).run().succeeded();

        let images = Store::new(daemon, KUBERNETES).images();
        for name in names(&reference, &image) {
            let record = images.get(&name).unwrap_or_else(|| panic!("{name} in {images:#?}"));
            assert_eq!(record.target, image.digest());
            assert_eq!(record.labels[MANAGED], "managed");
        }
    }

    fn content_is_labelled_so_that_garbage_collection_keeps_what_belongs_together(daemon) {
        let registry = Registry::start();
        let image = two_layers();
        let reference = registry.push(&image, "team/app", "v1");
        Pullctl::pull(daemon, &reference).run().succeeded();

        let content = Store::new(daemon, KUBERNETES).content();
        let label = |digest: &str, name: &str| content[digest].labels.get(name).cloned();
        let manifest = image.digest();
        let config = image.config_digest();
        let [lower, upper] = image.layers() else { panic!("two layers were built") };
        let refs = [
            ("config", config.clone()),
            ("l.0", lower.digest.to_string()),
            ("l.1", upper.digest.to_string()),
        ];
        for (name, digest) in refs {
            let name = format!("containerd.io/gc.ref.content.{name}");
            assert_eq!(label(&manifest, &name), Some(digest), "{name}");
        }
        assert_eq!(
            label(&config, "containerd.io/gc.ref.snapshot.overlayfs"),
            Some(image.chain_id()),
        );
        assert!(label(&lower.digest.to_string(), "containerd.io/uncompressed").is_some());
        for digest in [&manifest, &config, &lower.digest.to_string()] {
            let source = label(digest, "containerd.io/distribution.source.127.0.0.1");
            assert_eq!(source.as_deref(), Some("team/app"), "{digest}");
        }
    }

    fn nothing_temporary_is_left_after_a_pull(daemon) {
        let namespace = unique("tidy");
        let registry = FaultyRegistry::start();
        let image = two_layers();
        let reference = registry.add_new(&image);
        Pullctl::pull(daemon, &reference).args(["-n", &namespace]).run().succeeded();

        let store = Store::new(daemon, &namespace);
        assert_eq!(store.leases(), BTreeMap::new());
        assert!(store.ingests().is_empty(), "{:?}", store.ingests());
        let snapshots = store.snapshots();
        assert_eq!(snapshots.len(), 2, "{snapshots:#?}");
        assert!(snapshots.values().all(|snapshot| snapshot.committed), "{snapshots:#?}");
        assert!(snapshots[&image.chain_id()].parent.starts_with("sha256:"));
    }

    fn the_namespace_comes_from_the_flag_then_from_the_environment(daemon) {
        let registry = FaultyRegistry::start();
        let image = Image::small();
        let reference = registry.add_new(&image);
        let (flag, variable) = (unique("flag"), unique("variable"));
        let pull = || Pullctl::pull(daemon, &reference).env("CONTAINERD_NAMESPACE", &variable);

        pull().run().succeeded();
        assert!(Store::new(daemon, &variable).images().contains_key(&reference));
        pull().args(["-n", &flag]).run().succeeded();
        assert!(Store::new(daemon, &flag).images().contains_key(&reference));
    }

    fn the_address_may_be_a_url_or_come_from_the_environment(daemon) {
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&Image::small());
        let pull = || Pullctl::new().args(["pull", "--plain-http", &reference]);
        let url = format!("unix://{}", daemon.socket().display());
        pull().args(["-a", &url]).run().succeeded();
        pull().env("CONTAINERD_ADDRESS", daemon.socket()).run().succeeded();
    }

    fn a_repeated_pull_asks_for_the_manifest_once_and_for_no_blob(daemon) {
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&two_layers());
        Pullctl::pull(daemon, &reference).run().succeeded();
        registry.forget_requests();

        Pullctl::pull(daemon, &reference).run().succeeded();
        let lines: Vec<String> =
            registry.requests().iter().map(|request| request.line()).collect();
        let manifests = lines.iter().filter(|line| line.contains("/manifests/")).count();
        assert_eq!(manifests, 1, "{lines:?}");
        assert!(!lines.iter().any(|line| line.contains("/blobs/")), "{lines:?}");
    }

    fn a_repeated_pull_changes_nothing_in_the_daemon(daemon) {
        let namespace = unique("unchanged");
        let registry = FaultyRegistry::start();
        let image = Image::index(Family::Oci, vec![two_layers()]);
        let reference = registry.add_new(&image);
        let pull = || {
            let flags = ["-n", &namespace, "--pin", "--label", "team=storage"];
            Pullctl::pull(daemon, &reference).args(flags).run().succeeded()
        };
        pull();
        let store = Store::new(daemon, &namespace);
        let before = store.times();
        // Three names; index, manifest, configuration and two layers; two snapshots.
        assert_eq!(before.len(), 3 + 5 + 2, "{before:#?}");
        let last = pull().stdout;
        assert!(last.contains("fetched 0 B"), "{last}");
        assert_eq!(store.times(), before);
        assert_eq!(store.leases(), BTreeMap::new());
        assert!(store.ingests().is_empty());
    }

    fn a_pull_asks_for_every_blob_once(daemon) {
        let registry = FaultyRegistry::start();
        let image = two_layers();
        let reference = registry.add_new(&image);
        Pullctl::pull(daemon, &reference).run().succeeded();
        for blob in &image.blobs {
            let requests = registry.requests_for(&format!("/blobs/{}", blob.digest));
            assert_eq!(requests.len(), 1, "{requests:?}");
        }
    }

    fn snapshots_can_be_left_out_and_made_later_without_fetching_again(daemon) {
        let registry = FaultyRegistry::start();
        let image = two_layers();
        let reference = registry.add_new(&image);
        let store = Store::new(daemon, KUBERNETES);

        Pullctl::pull(daemon, &reference).args(["--no-unpack"]).run().succeeded();
        assert!(store.images().contains_key(&reference));
        assert!(!store.snapshots().contains_key(&image.chain_id()));

        registry.forget_requests();
        Pullctl::pull(daemon, &reference).run().succeeded();
        assert!(store.snapshots()[&image.chain_id()].committed);
        assert_eq!(registry.requests_for("/blobs/"), []);
    }

    fn labels_are_set_on_all_names_of_the_image(daemon) {
        let registry = FaultyRegistry::start();
        let image = Image::small();
        let reference = registry.add_new(&image);
        let labels = ["--label", "team=storage", "--label", "tier=1"];
        Pullctl::pull(daemon, &reference).args(labels).run().succeeded();
        let images = Store::new(daemon, KUBERNETES).images();
        for name in names(&reference, &image) {
            assert_eq!(images[&name].labels["team"], "storage", "{name}");
            assert_eq!(images[&name].labels["tier"], "1", "{name}");
        }
    }

    fn a_pin_is_on_all_names_and_a_later_pull_keeps_it(daemon) {
        let registry = FaultyRegistry::start();
        let image = Image::small();
        let reference = registry.add_new(&image);
        Pullctl::pull(daemon, &reference).args(["--pin"]).run().succeeded();
        Pullctl::pull(daemon, &reference).run().succeeded();
        let images = Store::new(daemon, KUBERNETES).images();
        for name in names(&reference, &image) {
            assert_eq!(images[&name].labels[PINNED], "pinned", "{name}");
        }
    }

    fn a_tag_that_moved_takes_its_pin_along(daemon) {
        let registry = FaultyRegistry::start();
        let (old, new) = (Image::small(), Image::small());
        let repository = unique("moving/pin");
        let reference = registry.add(&old, &repository, "latest");
        Pullctl::pull(daemon, &reference).args(["--pin"]).run().succeeded();
        registry.add(&new, &repository, "latest");
        Pullctl::pull(daemon, &reference).run().succeeded();
        let images = Store::new(daemon, KUBERNETES).images();
        for name in names(&reference, &new) {
            assert_eq!(images[&name].target, new.digest(), "{name}");
            assert_eq!(images[&name].labels.get(PINNED).map(String::as_str), Some("pinned"), "{name}");
        }
    }

    fn another_tag_of_a_pinned_image_is_pinned_too(daemon) {
        let registry = FaultyRegistry::start();
        let (image, repository) = (Image::small(), unique("pinned/tags"));
        let pinned = registry.add(&image, &repository, "v1");
        Pullctl::pull(daemon, &pinned).args(["--pin"]).run().succeeded();
        let reference = registry.add(&image, &repository, "v2");
        Pullctl::pull(daemon, &reference).run().succeeded();
        let images = Store::new(daemon, KUBERNETES).images();
        for name in names(&reference, &image).iter().chain([&pinned]) {
            assert_eq!(images[name].labels.get(PINNED).map(String::as_str), Some("pinned"), "{name}");
        }
    }

    fn an_unpinned_image_can_be_pinned_by_pulling_it_again(daemon) {
        let registry = FaultyRegistry::start();
        let image = Image::small();
        let reference = registry.add_new(&image);
        Pullctl::pull(daemon, &reference).run().succeeded();
        Pullctl::pull(daemon, &reference).args(["--pin"]).run().succeeded();
        let images = Store::new(daemon, KUBERNETES).images();
        for name in names(&reference, &image) {
            assert_eq!(images[&name].labels[PINNED], "pinned", "{name}");
        }
    }

    fn a_reference_by_digest_makes_no_tag(daemon) {
        let registry = FaultyRegistry::start();
        let image = Image::small();
        let reference = registry.add_new(&image);
        let (repository, _) = reference.rsplit_once(':').unwrap();
        let by_digest = format!("{repository}@{}", image.digest());
        let tag_and_digest = format!("{repository}:other@{}", image.digest());
        for given in [&by_digest, &tag_and_digest] {
            Pullctl::pull(daemon, given).run().succeeded();
            let images = Store::new(daemon, KUBERNETES).images();
            let mut names: Vec<&String> =
                images.keys().filter(|name| name.starts_with(repository)).collect();
            names.retain(|name| **name != by_digest);
            assert_eq!(names, Vec::<&String>::new(), "for {given}");
            assert!(images.contains_key(&by_digest));
            assert!(images.contains_key(&image.config_digest()));
        }
    }

    fn a_tag_that_moved_names_the_new_image(daemon) {
        let registry = FaultyRegistry::start();
        let (old, new) = (Image::small(), Image::small());
        let repository = unique("moving/tag");
        let reference = registry.add(&old, &repository, "latest");
        Pullctl::pull(daemon, &reference).run().succeeded();
        registry.add(&new, &repository, "latest");
        Pullctl::pull(daemon, &reference).run().succeeded();
        let images = Store::new(daemon, KUBERNETES).images();
        assert_eq!(images[&reference].target, new.digest());
    }

    fn an_unknown_snapshotter_is_refused_by_name(daemon) {
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&Image::small());
        Pullctl::pull(daemon, &reference)
            .args(["--snapshotter", "nosuch"])
            .run()
            .ended_with(9)
            .says("nosuch");
        assert!(!Store::new(daemon, KUBERNETES).images().contains_key(&reference));
    }

    fn quiet_prints_the_digest_and_nothing_else(daemon) {
        let registry = FaultyRegistry::start();
        let image = Image::small();
        let reference = registry.add_new(&image);
        let outcome = Pullctl::pull(daemon, &reference).args(["-q"]).run().succeeded();
        assert_eq!(outcome.stdout, format!("{}\n", image.digest()));
        assert_eq!(outcome.stderr, "");
    }

    fn the_last_line_says_what_was_done(daemon) {
        let registry = FaultyRegistry::start();
        let image = two_layers();
        let reference = registry.add_new(&image);
        let outcome = Pullctl::pull(daemon, &reference).run().succeeded();
        let last = outcome.stdout.lines().last().unwrap_or_default();
        for part in [reference.as_str(), &image.digest(), "fetched", "reused", "/s"] {
            assert!(last.contains(part), "no {part} in: {last}");
        }
    }
}

/// One daemon is enough for what never gets as far as a daemon.
#[test]
fn the_version_is_told() {
    let outcome = Pullctl::new().args(["--version"]).run().succeeded();
    let start = concat!("pullctl ", env!("CARGO_PKG_VERSION"), " (");
    assert!(outcome.stdout.starts_with(start), "{}", outcome.stdout);
    assert_eq!(outcome.stdout.lines().count(), 1);
    let outcome = Pullctl::new().args(["--version", "--verbose"]).run().succeeded();
    assert!(outcome.stdout.starts_with(start), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("\nrustls "), "{}", outcome.stdout);
}

#[test]
fn completions_name_the_subcommands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let outcome = Pullctl::new().args(["completion", shell]).run().succeeded();
        assert!(outcome.stdout.contains("images"), "{shell}");
    }
}

#[test]
fn bash_completes_by_its_script() {
    let script = Pullctl::new().args(["completion", "bash"]).run().succeeded().stdout;
    let complete = |words: &str, position: usize| {
        let question = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD={position}\n\
             function=$(complete -p pullctl | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n\
             $function pullctl \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"\n\
             echo \"${{COMPREPLY[@]}}\""
        );
        let answer = Command::new("bash").args(["--norc", "-c", &question]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&answer.stderr), "");
        String::from_utf8(answer.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete("pullctl im", 1), "images");
    assert_eq!(complete("pullctl pull --all-pl", 2), "--all-platforms");
    assert_eq!(complete("pullctl pull --progress pl", 3), "plain");
}
