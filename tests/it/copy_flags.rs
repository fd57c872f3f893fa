//! What `copy` takes besides two places: what becomes of images in containerd, and who to be at either
//! end.

use crate::copy::{copy, copy_on};
use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, Version};
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Image, Layer, Packing, Recipe};
use crate::support::receiver::Receiver;
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::tree::Tree;
use crate::support::unique;

const PINNED: &str = "io.cri-containerd.pinned";

#[test]
fn an_image_that_goes_into_containerd_is_pinned_labelled_and_left_packed_as_by_a_pull() {
    let (daemon, registry) = (Containerd::shared(Version::V2_1), FaultyRegistry::start());
    let image = Image::small();
    let name = registry.add_new(&image);
    let namespace = unique("pinned");
    let to = format!("containerd://{namespace}/{name}");
    copy_on(daemon, &["--pin", "--label", "team=a", "--no-unpack", &name, &to]).succeeded();
    let store = Store::new(daemon, &namespace);
    let labels = &store.images()[&name].labels;
    assert_eq!(labels.get(PINNED).map(String::as_str), Some("pinned"));
    assert_eq!(labels.get("team").map(String::as_str), Some("a"));
    assert!(store.snapshots().is_empty());
}

#[test]
fn files_that_are_copied_count_as_unpacked() {
    let (daemon, registry) = (Containerd::shared(Version::V2_1), FaultyRegistry::start());
    let tar = Tree::new().file(&unique("own"), b"x").ballast("ballast").into_tar();
    let image = Recipe::new(vec![Layer::pack(&tar, Packing::Gzip)]).build();
    let name = registry.add_new(&image);
    let [from, to] = ["from", "to"].map(unique);
    Pullctl::pull(daemon, &name).args(["-n", &from]).run().succeeded();
    let places = [&from, &to].map(|namespace| format!("containerd://{namespace}/{name}"));
    let limited = ["--max-unpacked", "1KiB", &places[0], &places[1]];
    copy_on(daemon, &limited).ended_with(10).says("--max-unpacked");
    assert!(Store::new(daemon, &to).images().is_empty());
}

#[test]
fn flags_for_containerd_are_refused_where_the_image_goes_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let layout = format!("oci:{}/a", folder.path().display());
    for flags in [
        &["--pin"][..],
        &["--no-unpack"],
        &["--label", "a=b"],
        &["--max-unpacked", "1GiB"],
        &["--inflate-threads", "2"],
    ] {
        let given = [flags, &["127.0.0.1:1/a/b:c", &layout]].concat();
        copy(&given).ended_with(2).says(flags[0]).says(&layout).says("hint: leave the flag out");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn each_end_has_a_login_of_its_own() {
    let image = Image::small();
    let source = Registry::with_login("reader", "read-secret");
    let from = source.push_new(&image);
    let to = Receiver::start();
    to.require("writer", "write-secret");
    let name = to.name();
    let logins = ["--src-user", "reader:read-secret", "--dest-user", "writer:write-secret"];
    let copied = copy(&[&logins[..], &[&from, &name]].concat()).succeeded();
    assert_eq!(to.digest_of(&name), Some(image.digest()));
    // Both passwords can be seen, and neither is repeated.
    copied.says("--src-user").says("--dest-user");
    // skopeo's users know them by other names; whoever is another one is refused.
    let swapped = ["--src-creds", "writer:write-secret", "--dest-creds", "reader:read-secret"];
    let refused = copy(&[&swapped[..], &[&from, &to.name()]].concat()).ended_with(4);
    assert!(!refused.stderr.contains("write-secret"), "{}", refused.stderr);
}

#[test]
fn one_registry_takes_two_logins_for_two_ends() {
    let image = Image::small();
    let registry = Receiver::start();
    registry.require("writer", "write-secret");
    let (first, second) = (registry.name(), registry.name());
    let source = Registry::with_login("reader", "read-secret");
    let from = source.push_new(&image);
    let logins = ["--src-user", "reader:read-secret", "--dest-user", "writer:write-secret"];
    copy(&[&logins[..], &[&from, &first]].concat()).succeeded();
    // Who reads there with a wrong login is refused although who writes has a good one.
    let logins = ["--src-user", "other:wrong", "--dest-user", "writer:write-secret"];
    copy(&[&logins[..], &[&first, &second]].concat()).ended_with(4);
    assert_eq!(registry.digest_of(&second), None);
}

#[test]
fn a_login_is_for_an_end_in_a_registry_and_not_beside_u() {
    copy(&["--dest-user", "a:b", "127.0.0.1:1/a/b:c", "oci:/tmp/none"])
        .ended_with(2)
        .says("--dest-user");
    copy(&["-u", "a:b", "--src-user", "a:b", "127.0.0.1:1/a/b:c", "127.0.0.1:1/a/d:c"])
        .ended_with(2)
        .says("--src-user");
    copy(&["--src-user", ":b", "127.0.0.1:1/a/b:c", "127.0.0.1:1/a/d:c"])
        .ended_with(2)
        .says("names no user");
}
