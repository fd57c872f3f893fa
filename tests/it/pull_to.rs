//! `pull --to`: the same places as those of `copy`.

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, Version};
use crate::support::faulty::FaultyRegistry;
use crate::support::image::Image;
use crate::support::receiver::Receiver;
use crate::support::store::Store;
use crate::support::unique;

fn pull(arguments: &[&str]) -> Outcome {
    Pullctl::new()
        .args(["pull", "--plain-http", "--ignore-containerd-config"])
        .args(arguments)
        .run()
}

#[test]
fn several_images_go_into_one_archive_that_is_loaded_as_it_is() {
    let (daemon, registry) = (Containerd::shared(Version::V2_1), FaultyRegistry::start());
    let images = [Image::small(), Image::small()];
    let names = images.each_ref().map(|image| registry.add_new(image));
    let folder = tempfile::tempdir().unwrap();
    for form in ["oci-archive", "docker-archive"] {
        let file = folder.path().join(form);
        let place = format!("{form}:{}", file.display());
        pull(&["--to", &place, &names[0], &names[1]]).succeeded();
        let namespace = unique("loaded");
        let load = ["-n", &namespace, "load", "-i"];
        Pullctl::new().on(daemon).args(load).args([&file]).run().succeeded();
        let loaded = Store::new(daemon, &namespace).images();
        assert!(names.iter().all(|name| loaded.contains_key(name)), "{form}");
        if form == "oci-archive" {
            assert_eq!(loaded[&names[0]].target, images[0].digest());
        }
    }
}

#[test]
fn one_image_goes_to_another_registry_or_namespace_under_the_name_there() {
    let (daemon, registry) = (Containerd::shared(Version::V2_1), FaultyRegistry::start());
    let image = Image::small();
    let name = registry.add_new(&image);
    let to = Receiver::start();
    let there = to.name();
    pull(&["--to", &there, &name]).succeeded();
    assert_eq!(to.digest_of(&there), Some(image.digest()));
    let namespace = unique("there");
    let place = format!("containerd://{namespace}/team/app:v1");
    let pulled = ["pull", "--plain-http", "--pin", "--to", &place, &name];
    Pullctl::new().on(daemon).args(pulled).run().succeeded();
    let images = Store::new(daemon, &namespace).images();
    assert_eq!(images["docker.io/team/app:v1"].target, image.digest());
}

#[test]
fn several_images_are_refused_where_there_is_a_place_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let layout = format!("oci:{}/a:v1", folder.path().display());
    for place in ["127.0.0.1:1/a/b:c", &layout] {
        pull(&["--to", place, "127.0.0.1:1/a:b", "127.0.0.1:1/c:d"])
            .ended_with(2)
            .says("a place for one image")
            .says("oci-archive:FILE");
    }
    pull(&["--to", &layout, "--pin", "127.0.0.1:1/a:b"]).ended_with(2).says("--pin");
    pull(&["--to", "dir:/x", "127.0.0.1:1/a:b"]).ended_with(2).says("oci:DIR[:TAG]");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn pins_of_a_list_are_warned_of_where_images_go_to_a_place_that_keeps_none() {
    let (daemon, registry) = (Containerd::shared(Version::V2_1), FaultyRegistry::start());
    let names = [Image::small(), Image::small()].map(|image| registry.add_new(&image));
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list.txt");
    std::fs::write(&list, format!("{}\n{} pin\n", names[0], names[1])).unwrap();
    let list = list.display().to_string();
    let place = format!("oci-archive:{}", folder.path().join("images.tar").display());
    let warned = pull(&["--to", &place, "-f", &list]).succeeded();
    warned
        .says(&format!("list.txt:2: `pin` of {} has no effect in {place}", names[1]))
        .says("pullctl load --pin");
    let archive = folder.path().join("saved.tar").display().to_string();
    let save = ["save", "--from", "registry", "--plain-http", "-o", &archive, "-f", &list];
    Pullctl::new().args(save).run().succeeded().says("has no effect in an archive");
    // A namespace keeps them.
    std::fs::write(folder.path().join("one.txt"), format!("{} pin\n", names[1])).unwrap();
    let one = folder.path().join("one.txt").display().to_string();
    let (namespace, app) = (unique("pinned"), "registry.example/app:v1");
    let place = format!("containerd://{namespace}/{app}");
    let pull = ["pull", "--plain-http", "--to", &place, "-f", &one];
    let outcome = Pullctl::new().on(daemon).args(pull).run().succeeded();
    assert!(!outcome.stderr.contains("no effect"), "{outcome:?}");
    let images = Store::new(daemon, &namespace).images();
    assert_eq!(images[app].labels["io.cri-containerd.pinned"], "pinned");
}

#[test]
fn what_a_place_has_is_looked_at_in_namespaces_and_refused_where_that_tells_nothing() {
    let (daemon, registry) = (Containerd::shared(Version::V2_1), FaultyRegistry::start());
    let name = registry.add_new(&Image::small());
    let namespace = unique("looked-at");
    let place = format!("containerd://{namespace}/registry.example/app:v1");
    let there = |flags: &[&str]| {
        let pull = Pullctl::new().on(daemon).args(["pull", "--plain-http", "--to", &place, &name]);
        pull.args(flags).run()
    };
    let planned = there(&["--dry-run", "-o", "json"]).succeeded();
    assert!(planned.stdout.contains("\"fits\""), "{planned:?}");
    assert!(Store::new(daemon, &namespace).images().is_empty());
    there(&["--policy", "never"]).ended_with(3).says("registry.example/app:v1 is not all there");
    there(&["--policy", "missing"]).succeeded();
    registry.forget_requests();
    there(&["--policy", "missing"]).succeeded();
    there(&["--policy", "never"]).succeeded();
    assert_eq!(registry.requests(), []);
    let folder = tempfile::tempdir().unwrap();
    let below = |name: &str| folder.path().join(name).display().to_string();
    for place in
        [format!("oci:{}", below("a")), format!("oci-archive:{}", below("b")), name.clone()]
    {
        for flags in [&["--policy", "missing"][..], &["--dry-run"]] {
            let refused = pull(&[&["--to", &place, &name], flags].concat()).ended_with(2);
            refused.says(flags[0]).says("is another place").says("pullctl inspect --remote");
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert_eq!(registry.requests(), []);
}
