//! Listing what is there, and removing it again.

use serde_json::Value;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, KUBERNETES};
use crate::support::cri::Cri;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::Image;
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

    fn an_empty_namespace_lists_nothing(daemon) {
        let namespace = unique("empty");
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

    fn what_is_not_there_is_not_found(daemon) {
        remove(daemon, "registry.example/never:pulled").ended_with(3).says("never:pulled");
    }
}
