//! Many images in one run.

use crate::support::cli::Pullctl;
use crate::support::containerd::KUBERNETES;
use crate::support::faulty::{Fault, FaultyRegistry};
use crate::support::image::{Image, Layer, Recipe};
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::{one_version, unique};

one_version! {
    fn several_references_are_pulled_and_summed_up(daemon) {
        let registry = FaultyRegistry::start();
        let references = [(); 3].map(|()| registry.add_new(&Image::small()));
        let pull = Pullctl::new().on(daemon).args(["pull", "--plain-http"]).args(&references);
        let outcome = pull.run().succeeded();
        let images = Store::new(daemon, KUBERNETES).images();
        for reference in &references {
            assert!(images.contains_key(reference));
            assert!(outcome.stdout.contains(reference.as_str()), "{}", outcome.stdout);
        }
        let said = outcome.stdout + &outcome.stderr;
        assert!(said.contains("3 images") || said.contains("3 of 3"), "{said}");
    }

    fn images_of_a_plain_loopback_registry_need_no_flag(daemon) {
        let registry = Registry::start();
        let references = [(); 4].map(|()| registry.push_new(&Image::small()));
        Pullctl::new().on(daemon).args(["pull"]).args(&references).run().succeeded();
        let images = Store::new(daemon, KUBERNETES).images();
        assert!(references.iter().all(|reference| images.contains_key(reference)));
    }

    fn lists_come_from_files_and_from_standard_input(daemon) {
        let registry = FaultyRegistry::start();
        let references = [(); 4].map(|()| registry.add_new(&Image::small()));
        let [first, second, piped, argument] = &references;
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("images.txt");
        std::fs::write(&list, format!("# a comment\n\n  {first}  \r\n{second} # why\n")).unwrap();
        Pullctl::new()
            .on(daemon)
            .args(["pull", "--plain-http", "-f", list.to_str().unwrap(), "-f", "-", argument])
            .input(format!("{piped}\n"))
            .run()
            .succeeded();
        let images = Store::new(daemon, KUBERNETES).images();
        for reference in &references {
            assert!(images.contains_key(reference), "{reference}");
        }
    }

    fn a_blob_of_several_images_is_fetched_once(daemon) {
        let registry = FaultyRegistry::start();
        let shared = Layer::noise(&unique("shared"), 300_000);
        let references = [(); 4].map(|()| {
            let name = unique("own");
            let own = Layer::file(&name, name.as_bytes());
            registry.add(&Recipe::new(vec![shared.clone(), own]).build(), "same/repository", &name)
        });
        let pull = Pullctl::new().on(daemon).args(["pull", "--plain-http"]).args(&references);
        pull.run().succeeded();
        assert_eq!(registry.requests_for(&shared.blob.digest.to_string()).len(), 1);
    }

    fn a_blob_of_several_repositories_is_fetched_once(daemon) {
        let registry = FaultyRegistry::start();
        let shared = Layer::noise(&unique("shared"), 300_000);
        let references = [(); 3].map(|()| {
            let name = unique("own");
            let own = Layer::file(&name, name.as_bytes());
            registry.add_new(&Recipe::new(vec![shared.clone(), own]).build())
        });
        let pull = Pullctl::new().on(daemon).args(["pull", "--plain-http"]).args(&references);
        pull.run().succeeded();
        assert_eq!(registry.requests_for(&shared.blob.digest.to_string()).len(), 1);
        let content = Store::new(daemon, KUBERNETES).content();
        let labels = &content[&shared.blob.digest.to_string()].labels;
        let source = &labels["containerd.io/distribution.source.127.0.0.1"];
        assert_eq!(source.split(',').count(), 3, "{source}");
    }

    fn a_failure_does_not_stop_the_rest(daemon) {
        let registry = FaultyRegistry::start();
        let good = [(); 2].map(|()| registry.add_new(&Image::small()));
        let [first, last] = &good;
        let absent = format!("{}/no/such:image", registry.authority());
        let broken = registry.add_new(&Image::small());
        let path = broken.split_once('/').unwrap().1.replace(":v1", "/");
        registry.always(&path, Fault::Status(403, Vec::new()));
        let outcome = Pullctl::new()
            .on(daemon)
            .args(["pull", "--plain-http", first, &absent, &broken, last])
            .run()
            .ended_with(11);
        let images = Store::new(daemon, KUBERNETES).images();
        assert!(good.iter().all(|reference| images.contains_key(reference)));
        let outcome = outcome.says(&absent).says(&broken);
        let said = outcome.stdout + &outcome.stderr;
        assert!(said.contains("2 of 4 images"), "{said}");
    }

    fn a_reference_given_twice_is_pulled_once(daemon) {
        let registry = FaultyRegistry::start();
        let image = Image::small();
        let reference = registry.add_new(&image);
        let twice = [reference.as_str(), reference.as_str()];
        let outcome = Pullctl::new().on(daemon).args(["pull", "--plain-http", "-q"]).args(twice);
        let outcome = outcome.run().succeeded();
        assert_eq!(registry.requests_for("/manifests/v1").len(), 1);
        assert_eq!(outcome.stdout, format!("{}\n", image.digest()));
    }

    fn a_bad_line_is_told_by_its_number_before_anything_is_pulled(daemon) {
        let registry = FaultyRegistry::start();
        let good = registry.add_new(&Image::small());
        Pullctl::new()
            .on(daemon)
            .args(["pull", "-f", "-"])
            .input(format!("{good}\n\nUPPER/Case:x:y\n"))
            .run()
            .ended_with(2)
            .says("3");
        assert_eq!(registry.requests(), []);
    }
}

#[test]
fn a_list_that_is_not_there_is_named() {
    let outcome = Pullctl::new().args(["pull", "-f", "/no/such/list"]).run();
    assert_ne!(outcome.code, Some(0));
    outcome.says("/no/such/list");
}

#[test]
fn an_empty_list_is_a_usage_error() {
    Pullctl::new().args(["pull", "-f", "-"]).input("# nothing\n").run().ended_with(2);
}
