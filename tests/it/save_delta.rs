//! Archives without what the other side has already.

use std::path::{Path, PathBuf};

use crate::save::{entries, names_in, new_file, path, save};
use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Layer, Recipe};
use crate::support::store::Store;
use crate::support::{each_version, unique};

/// Two images in containerd, the second a layer more than the first; the blobs of both layers.
struct Pair {
    names: [String; 2],
    digests: [String; 2],
    base: String,
    top: String,
    _registry: FaultyRegistry,
}

fn pair(daemon: &Containerd) -> Pair {
    let registry = FaultyRegistry::start();
    let base = Layer::noise(&unique("base"), 1 << 20);
    let top = Layer::file("top", unique("top").as_bytes());
    let images = [vec![base.clone()], vec![base.clone(), top.clone()]];
    let images = images.map(|layers| Recipe::new(layers).build());
    let names = images.each_ref().map(|image| registry.add_new(image));
    for name in &names {
        Pullctl::pull(daemon, name).run().succeeded();
    }
    let digests = images.each_ref().map(|image| image.digest());
    let [base, top] = [base, top].map(|layer| path(layer.blob.digest));
    Pair { names, digests, base, top, _registry: registry }
}

/// The second image without what `from` tells.
fn delta(daemon: &Containerd, pair: &Pair, from: &str, archive: &Path) -> Vec<String> {
    let saved = save(daemon, archive, &[&pair.names[1]]).args(["--missing-from", from]);
    saved.run().succeeded();
    entries(archive)
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

each_version! {
    fn what_the_other_side_has_is_left_out(daemon) {
        let pair = pair(daemon);
        let (folder, archive) = new_file("delta.tar");
        let loaded = folder.path().join("base.tar");
        save(daemon, &loaded, &[&pair.names[0]]).run().succeeded();
        let packed = folder.path().join("base.tar.zst");
        save(daemon, &packed, &[&pair.names[0]]).run().succeeded();

        let other = unique("other");
        daemon.ctr(&other, &["images", "import", loaded.to_str().unwrap()]);
        let listed = Pullctl::new().on(daemon).args(["-n", &other, "images", "-o", "json"]);
        let listed = listed.run().succeeded().stdout;
        let json = write(folder.path(), "list.json", &listed);
        let names = write(folder.path(), "list", &format!("# there\n{}\n", pair.names[0]));
        let told = [&loaded, &packed, &json, &names].map(|path| path.to_str().unwrap());
        for from in told.into_iter().chain([pair.names[0].as_str()]) {
            let names = delta(daemon, &pair, from, &archive);
            assert!(!names.contains(&pair.base) && names.contains(&pair.top), "{from}: {names:?}");
        }
        // Where the rest is, it is an image.
        daemon.ctr(&other, &["images", "import", archive.to_str().unwrap()]);
        let images = Store::new(daemon, &other).images();
        assert_eq!(images[&pair.names[1]].target, pair.digests[1]);
    }
}

#[test]
fn layers_that_are_left_out_need_not_be_here() {
    let daemon = Containerd::private(Version::V2_1);
    let pair = pair(&daemon);
    let (folder, archive) = new_file("delta.tar");
    let loaded = folder.path().join("base.tar");
    save(&daemon, &loaded, &[&pair.names[0]]).run().succeeded();
    let digest = pair.base.replace("blobs/sha256/", "sha256:");
    daemon.ctr(KUBERNETES, &["content", "rm", &digest]);
    // What is not here is not told of as being here.
    let listed = Pullctl::new().on(&daemon).args(["images", "-o", "json"]).run().succeeded();
    assert!(!listed.stdout.contains(&digest));
    save(&daemon, &archive, &[&pair.names[1]]).run().ended_with(3);
    let names = delta(&daemon, &pair, loaded.to_str().unwrap(), &archive);
    assert!(names.contains(&pair.top));
}

#[test]
fn a_delta_is_loaded_where_the_rest_is_and_refused_elsewhere() {
    let [here, there] = [Version::V2_1, Version::V1_7].map(Containerd::shared);
    let pair = pair(here);
    let (folder, archive) = new_file("delta.tar");
    let base = folder.path().join("base.tar");
    save(here, &base, &[&pair.names[0]]).run().succeeded();
    delta(here, &pair, base.to_str().unwrap(), &archive);
    let load = |archive: &Path| Pullctl::new().on(there).args(["load", "-i"]).args([archive]).run();
    let images = || Store::new(there, KUBERNETES).images();
    let digest = pair.base.replace("blobs/sha256/", "sha256:");
    load(&archive).ended_with(3).says(&digest);
    assert!(!images().contains_key(&pair.names[1]));
    load(&base).succeeded();
    load(&archive).succeeded();
    assert_eq!(images()[&pair.names[1]].target, pair.digests[1]);
}

#[test]
fn what_tells_nothing_of_the_other_side_is_refused() {
    let (folder, archive) = new_file("delta.tar");
    let old = write(folder.path(), "old.json", r#"[{"id":null,"names":[]}]"#);
    let torn = write(folder.path(), "torn.tar", "");
    std::fs::write(&torn, [&[0x1f, 0x8b][..], &[0; 600]].concat()).unwrap();
    for (from, says) in [(&old, "older pullctl"), (&torn, "torn.tar")] {
        let flags = ["--missing-from", from.to_str().unwrap(), "-o"];
        let refused = Pullctl::new().args(["save", "busybox"]).args(flags).args([&archive]);
        refused.run().ended_with(2).says(says).says("hint:");
    }
    assert_eq!(names_in(folder.path()).len(), 2);
}

#[test]
fn without_a_daemon_a_registry_tells_what_an_image_consists_of() {
    let registry = FaultyRegistry::start();
    let layers = ["base", "top"].map(|name| Layer::file(name, unique(name).as_bytes()));
    let [base, top] = layers.each_ref().map(|layer| path(layer.blob.digest));
    let images = [vec![layers[0].clone()], layers.to_vec()].map(|it| Recipe::new(it).build());
    let names = images.each_ref().map(|image| registry.add_new(image));
    let (folder, archive) = new_file("delta.tar");
    let save = |from: &str| {
        let flags = ["save", "--from", "registry", "--plain-http", "--ignore-containerd-config"];
        let delta = ["--missing-from", from, &names[1], "-o"];
        Pullctl::new().args(flags).args(delta).args([&archive]).run()
    };
    save(&names[0]).succeeded();
    let there = entries(&archive);
    assert!(!there.contains(&base) && there.contains(&top), "{there:?}");
    // Of the image that is there, no layer is fetched.
    let fetched = registry.requests_for(&base.replace("blobs/sha256/", "blobs/sha256:"));
    assert_eq!(fetched, []);
    std::fs::remove_file(&archive).unwrap();
    save(&format!("{}/no/such:image", registry.authority())).ended_with(3).says("no/such:image");
    assert_eq!(names_in(folder.path()), Vec::<String>::new());
}
