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
