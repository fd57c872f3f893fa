//! `pullctl tag`: names as a pull gives them, without a request.

use std::collections::BTreeSet;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::Containerd;
use crate::support::cri::Cri;
use crate::support::image::Image;
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::{each_version, unique};

fn run(daemon: &Containerd, namespace: &str, arguments: &[&str]) -> Outcome {
    Pullctl::new().on(daemon).args(["-n", namespace]).args(arguments).run()
}

/// A namespace with a new image, and its reference.
fn pulled(daemon: &Containerd, flags: &[&str]) -> (String, String) {
    let registry = Registry::start();
    let namespace = unique("tag");
    let reference = registry.push_new(&Image::small());
    Pullctl::pull(daemon, &reference).args(["-n", &namespace]).args(flags).run().succeeded();
    // The registry is gone: from here on nobody can be asked.
    (namespace, reference)
}

each_version! {
    fn a_tag_has_all_that_a_pull_writes_under_its_names(daemon) {
        let (namespace, reference) = pulled(daemon, &["--pin", "--label", "team=a"]);
        let store = Store::new(daemon, &namespace);
        let before = store.images();
        let repository = format!("docker.io/library/{}", unique("other"));
        let destination = format!("{repository}:v2");
        let short = destination.trim_start_matches("docker.io/library/");
        let outcome = run(daemon, &namespace, &["tag", &reference, short]).succeeded();
        assert_eq!(outcome.stdout, format!("{destination}\n"));
        let after = store.images();
        let new: BTreeSet<_> = after.keys().filter(|name| !before.contains_key(*name)).collect();
        let digest = &before[&reference].target;
        assert_eq!(new, BTreeSet::from([&destination, &format!("{repository}@{digest}")]));
        for name in new {
            assert_eq!(after[name].target, *digest, "{name}");
            assert_eq!(after[name].labels, before[&reference].labels, "{name}");
        }
        run(daemon, &namespace, &["rm", "--force", &reference]).succeeded();
        run(daemon, &namespace, &["tag", &destination, &reference]).succeeded();
        assert_eq!(store.images().len(), after.len());
    }

    fn the_kubelet_finds_a_tag_and_one_that_ctr_left_under_a_short_name(daemon) {
        let registry = Registry::start();
        let reference = registry.push_new(&Image::small());
        Pullctl::pull(daemon, &reference).run().succeeded();
        let short = unique("short");
        daemon.ctr("k8s.io", &["images", "tag", &reference, &short]);
        let destination = format!("{short}:fine");
        run(daemon, "k8s.io", &["tag", &short, &destination, "quay.io/a/b:c"]).succeeded();
        for name in [&destination, "quay.io/a/b:c"] {
            Cri::new(daemon).image_soon(name);
        }
    }

    fn what_can_not_be_tagged_is_refused_with_the_next_step(daemon) {
        let (namespace, reference) = pulled(daemon, &[]);
        let other = unique("elsewhere");
        let none = run(daemon, &namespace, &["tag", "quay.io/none:1", "quay.io/a:1"]).ended_with(3);
        none.says("no such image").says("images lists what is there");
        let elsewhere = run(daemon, &other, &["tag", &reference, "quay.io/a:1"]).ended_with(3);
        elsewhere.says(&format!("there is one in {namespace}"));
        let wrong = format!("quay.io/a@sha256:{}", "0".repeat(64));
        let refused = run(daemon, &namespace, &["tag", &reference, "quay.io/a:1", &wrong]);
        refused.ended_with(2).says("is no name for");
        run(daemon, &namespace, &["tag", &reference, "Not A Name"]).ended_with(2);
        let names = Store::new(daemon, &namespace).images();
        assert!(names.keys().all(|name| !name.starts_with("quay.io/")), "{names:?}");
    }
}
