//! Listing what is there, and removing it again.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::cri::Cri;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Family, Image, Layer, Recipe};
use crate::support::store::Store;
use crate::support::{each_version, unique};

/// Pulls a new image; answers its reference.
fn pulled(daemon: &Containerd, image: &Image) -> String {
    let reference = FaultyRegistry::start().add_new(image);
    Pullctl::pull(daemon, &reference).run().succeeded();
    reference
}

fn images(daemon: &Containerd, arguments: &[&str]) -> Outcome {
    Pullctl::new().on(daemon).args(["images"]).args(arguments).run().succeeded()
}

fn remove(daemon: &Containerd, name: &str) -> Outcome {
    Pullctl::new().on(daemon).args(["rm", name]).run()
}

each_version! {
    fn a_pulled_image_is_listed_once_for_people_and_for_scripts(daemon) {
        let image = Image::small();
        let reference = pulled(daemon, &image);
        let (name, tag) = reference.rsplit_once(':').unwrap();

        let table = images(daemon, &[]).stdout;
        let lines: Vec<&str> = table.lines().filter(|line| line.contains(name)).collect();
        assert_eq!(lines.len(), 1, "{table}");
        assert!(lines[0].contains(tag), "{table}");

        let list: Value = serde_json::from_str(&images(daemon, &["-o", "json"]).stdout).unwrap();
        let text = list.to_string();
        assert!(list.is_array() && text.contains(&reference), "{text}");
        assert!(text.contains(&image.digest()), "{text}");

        let quiet = images(daemon, &["-q"]).stdout;
        let config = image.config_digest();
        let ids: Vec<&str> = quiet.lines().filter(|line| *line == config).collect();
        assert_eq!(ids.len(), 1, "{quiet}");
    }

    fn the_json_list_has_what_was_pulled(daemon) {
        let namespace = unique("listed");
        let registry = FaultyRegistry::start();
        let layers = ["lower", "upper"].map(|name| Layer::file(&unique(name), b"listed"));
        let host = Recipe::new(layers.to_vec()).build();
        let foreign = Recipe::new(vec![Layer::file(&unique("foreign"), b"not counted")]);
        let index =
            Image::index(Family::Oci, vec![foreign.platform("linux/s390x").build(), host.clone()]);
        let (pinned, other) = (registry.add_new(&index), Image::small());
        let plain = registry.add_new(&other);
        let flags = ["-n", &namespace, "--all-platforms"];
        Pullctl::pull(daemon, &pinned).args(flags).args(["--pin"]).run().succeeded();
        Pullctl::pull(daemon, &plain).args(flags).run().succeeded();

        let text = images(daemon, &["-n", &namespace, "-o", "json"]).stdout;
        let list: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(list.len(), 2, "{text}");
        let times = Store::new(daemon, &namespace).times();
        for (reference, target, image, is_pinned) in
            [(&pinned, &index, &host, true), (&plain, &other, &other, false)]
        {
            let id = image.config_digest();
            let entry = list.iter().find(|entry| entry["id"] == id).unwrap();
            let (repository, _) = reference.rsplit_once(':').unwrap();
            let repo_digest = format!("{repository}@{}", target.digest());
            let names = [reference.clone(), repo_digest, id];
            let created = names.iter().map(|name| times[&format!("image {name}")].created);
            let created = created.min().unwrap().to_string();
            let parts = || image.blobs.iter().chain([&image.root]);
            let chain = image.chain_ids().into_iter();
            let unpacked: i64 = chain.map(|key| Store::new(daemon, &namespace).usage(&key).0).sum();
            let size: usize = parts().map(|blob| blob.bytes.len()).sum();
            let mut entry = entry.clone();
            let blobs: BTreeSet<String> = serde_json::from_value(entry["blobs"].take()).unwrap();
            assert_eq!(blobs, parts().map(|blob| blob.digest.to_string()).collect());
            let warnings = entry["warnings"].take();
            let is_told = is_pinned && daemon.version() == Version::V1_6;
            let code = is_told.then_some("pin-not-reported");
            assert_eq!(warnings[0]["code"].as_str(), code, "{warnings}");
            assert_eq!(
                entry,
                json!({
                    "id": image.config_digest(),
                    "names": names,
                    "digests": [target.digest()],
                    "size_bytes": size,
                    "created": created,
                    // The CRI of 1.6 tells the kubelet of no pin.
                    "pinned": is_pinned && daemon.version() != Version::V1_6,
                    "made": null,
                    "unusable_names": [],
                    "blobs": null,
                    "namespace": namespace,
                    "platform": "linux/amd64",
                    "unpacked_bytes": unpacked,
                    "complete": true,
                    "warnings": null,
                }),
            );
        }
    }

    fn an_empty_namespace_lists_nothing(daemon) {
        let namespace = unique("empty");
        let reference = FaultyRegistry::start().add_new(&Image::small());
        Pullctl::pull(daemon, &reference).args(["-n", &namespace]).run().succeeded();
        Pullctl::new().on(daemon).args(["-n", &namespace, "rm", &reference]).run().succeeded();
        let outcome = images(daemon, &["-n", &namespace, "-q"]);
        assert_eq!(outcome.stdout, "");
        let outcome = images(daemon, &["-n", &namespace, "-o", "json"]);
        assert_eq!(outcome.stdout.trim(), "[]");
    }

    fn an_image_is_removed_under_all_its_names_by_any_of_them(daemon) {
        for by in ["tag", "digest", "id"] {
            let image = Image::small();
            let reference = pulled(daemon, &image);
            let (repository, _) = reference.rsplit_once(':').unwrap();
            let repo_digest = format!("{repository}@{}", image.digest());
            let id = image.config_digest();
            let cri = Cri::new(daemon);
            cri.image_soon(&reference);
            let name = match by {
                "tag" => &reference,
                "digest" => &repo_digest,
                _ => &id,
            };
            remove(daemon, name).succeeded();
            let images = Store::new(daemon, KUBERNETES).images();
            for name in [&reference, &repo_digest, &id] {
                assert!(!images.contains_key(name), "by {by}: {name} is left");
                cri.wait_until_gone(name);
            }
        }
    }

    fn another_tag_of_the_image_stays(daemon) {
        let image = Image::small();
        let registry = FaultyRegistry::start();
        let repository = unique("two/tags");
        let [one, two] = ["one", "two"].map(|tag| registry.add(&image, &repository, tag));
        Pullctl::pull(daemon, &one).args([&two]).run().succeeded();
        remove(daemon, &one).succeeded();
        let images = Store::new(daemon, KUBERNETES).images();
        assert!(!images.contains_key(&one));
        assert!(images.contains_key(&two));
        assert!(images.contains_key(&image.config_digest()), "the kubelet still needs the ID");
    }

    fn several_images_are_removed_at_once(daemon) {
        let references = [(); 3].map(|()| pulled(daemon, &Image::small()));
        let [first, second, kept] = &references;
        Pullctl::new().on(daemon).args(["rm", first, second]).run().succeeded();
        let images = Store::new(daemon, KUBERNETES).images();
        let left = references.iter().filter(|name| images.contains_key(*name));
        assert_eq!(left.collect::<Vec<_>>(), [kept]);
    }

    fn what_is_there_is_removed_even_when_something_else_is_not(daemon) {
        let missing = "registry.example/never:pulled";
        for position in [0, 1] {
            let reference = pulled(daemon, &Image::small());
            let mut asked = vec![reference.as_str()];
            asked.insert(position, missing);
            let outcome = Pullctl::new().on(daemon).args(["rm"]).args(asked).run().ended_with(3);
            assert!(outcome.stdout.contains(&reference), "{outcome:?}");
            let outcome = outcome.says(missing);
            assert!(!outcome.stderr.contains(&reference), "{outcome:?}");
            assert!(!Store::new(daemon, KUBERNETES).images().contains_key(&reference));
        }
    }

    fn what_is_not_there_is_not_found(daemon) {
        remove(daemon, "registry.example/never:pulled").ended_with(3).says("never:pulled");
    }
}
