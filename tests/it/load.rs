//! `pullctl load` of what other tools saved: all of it is there as after a pull.

use std::path::Path;

use pullctl::oci::Digest;

use crate::support::archive::{Archive, run, text};
use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::cri::Cri;
use crate::support::image::{Family, Image, Layer, Packing, Recipe};
use crate::support::left::Left;
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::tree::{curious, curious_above};
use crate::support::{each_version, unique};

/// An image with a layer that is kept in memory on its way, one that is not, and one of everything.
fn image() -> Image {
    let own = curious().file(&unique("own"), b"").ballast("ballast");
    let layers = [own, curious_above().ballast("more")]
        .map(|tree| Layer::pack(&tree.into_tar(), Packing::Gzip));
    let small = Layer::file("small", unique("small").as_bytes());
    let large = Layer::noise(&unique("large"), 5 << 20);
    Recipe::new([layers.to_vec(), vec![small, large]].concat()).build()
}

fn load(daemon: &Containerd, namespace: &str) -> Pullctl {
    Pullctl::new().on(daemon).args(["-n", namespace, "load"])
}

/// What is in `namespace` equals what is in `pulled`, names and their labels included.
fn assert_same(daemon: &Containerd, namespace: &str, pulled: &str) {
    let [ours, theirs] = [namespace, pulled].map(|namespace| Store::new(daemon, namespace));
    assert_eq!(ours.images(), theirs.images(), "{namespace}");
    let [ours, theirs] = [ours, theirs].map(|store| Left::in_namespace(&store));
    ours.assert_same(&theirs, namespace);
}

each_version! {
    fn what_ctr_exported_is_loaded_as_a_pull_leaves_it(daemon) {
        let registry = Registry::start();
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("images.tar");
        let reference = registry.push_new(&Image::index(Family::Oci, vec![image()]));
        let pulled = unique("pulled");
        Pullctl::pull(daemon, &reference).args(["-n", &pulled]).run().succeeded();
        // Through the transfer service, as 2.1 does it unless told otherwise, ctr was seen to succeed on a busy
        // machine with the end of the archive missing.
        let local: &[&str] = match daemon.version() {
            Version::V1_6 | Version::V1_7 => &[],
            Version::V2_1 | Version::Newer => &["--local"],
        };
        let export = [&["images", "export"], local, &[text(&archive), &reference]].concat();
        daemon.ctr(&pulled, &export);

        let loaded = unique("loaded");
        let outcome = load(daemon, &loaded).args(["-i", text(&archive)]).run().succeeded();
        assert!(outcome.stdout.contains(&reference), "{outcome:?}");
        assert_same(daemon, &loaded, &pulled);
        // What is there is not read again.
        let again = load(daemon, &loaded).args(["-q", "-i", text(&archive)]).run().succeeded();
        assert_eq!(again.stdout.trim(), Store::new(daemon, &loaded).images()[&reference].target);

        let tar = std::fs::read(&archive).unwrap();
        let gzip = gzip(&archive);
        let zstd = zstd::encode_all(&*tar, 1).unwrap();
        for (packing, content) in [("plain", tar), ("gzip", gzip), ("zstd", zstd)] {
            let streamed = unique(packing);
            let outcome = load(daemon, &streamed).input(content).run().succeeded();
            assert!(outcome.stdout.contains(&reference), "{packing}: {outcome:?}");
            assert_same(daemon, &streamed, &pulled);
            assert!(Store::new(daemon, &streamed).leases().is_empty(), "{packing}");
        }
    }

    fn the_kubelet_finds_what_was_loaded(daemon) {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("images.tar");
        let (image, name) = (image(), format!("quay.io/test/{}:v1", unique("kubelet")));
        std::fs::write(&archive, Archive::oci(&[(&image, &name)]).build()).unwrap();
        load(daemon, KUBERNETES).args(["--pin", "-i", text(&archive)]).run().succeeded();
        let (repository, _) = name.rsplit_once(':').unwrap();
        let repo_digest = format!("{repository}@{}", image.digest());
        let cri = Cri::new(daemon);
        for known in [&name, &repo_digest, &image.config_digest()] {
            assert_eq!(cri.image_soon(known).id, image.config_digest(), "{known}");
        }
        let images = Store::new(daemon, KUBERNETES).images();
        for known in [&name, &repo_digest, &image.config_digest()] {
            let pinned = images[known].labels.get("io.cri-containerd.pinned");
            assert_eq!(pinned.map(String::as_str), Some("pinned"), "{known}");
        }
    }

    fn layouts_and_archives_of_skopeo_and_umoci_are_loaded(daemon) {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let registry = Registry::start();
        let image = image();
        let reference = registry.push_new(&image);
        let from = format!("docker://{reference}");
        let copy = |to: &str| run("skopeo", &["copy", "--src-tls-verify=false", &from, to]);
        let name = format!("quay.io/test/{}:v1", unique("skopeo"));

        let archive = path("archive.tar");
        copy(&format!("oci-archive:{}:{name}", archive.display()));
        let layout = path("layout");
        copy(&format!("oci:{}:v1", layout.display()));
        let bundle = path("bundle");
        let tagged = format!("{}:v1", layout.display());
        run("umoci", &["unpack", "--image", &tagged, text(&bundle)]);
        std::fs::write(bundle.join("rootfs/added"), unique("added")).unwrap();
        let repacked = format!("{}:v2", layout.display());
        run("umoci", &["repack", "--image", &repacked, text(&bundle)]);

        let loaded = unique("archive");
        load(daemon, &loaded).args(["-i", text(&archive)]).run().succeeded();
        let images = Store::new(daemon, &loaded).images();
        // What is uncompressed, skopeo packs on the way.
        let digest = |place: String| {
            let manifest = run("skopeo", &["inspect", "--raw", &place]);
            Digest::of(manifest.as_bytes()).to_string()
        };
        assert_eq!(images[&name].target, digest(format!("oci-archive:{}", archive.display())));

        let loaded = unique("layout");
        let flags = ["--base-name", "quay.io/test/layout", "-i", text(&layout)];
        load(daemon, &loaded).args(flags).run().succeeded();
        let store = Store::new(daemon, &loaded);
        let images = store.images();
        assert_eq!(
            images["quay.io/test/layout:v1"].target,
            digest(format!("oci:{tagged}"))
        );
        let chains = store.snapshots();
        assert_eq!(chains.len(), image.layers().len() + 1, "{chains:#?}");
        assert!(images.contains_key("quay.io/test/layout:v2"));
    }

    fn what_is_saved_is_loaded_again(daemon) {
        let folder = tempfile::tempdir().unwrap();
        let (image, name) = (image(), format!("quay.io/test/{}:v1", unique("saved")));
        let first = unique("first");
        load(daemon, &first).input(Archive::oci(&[(&image, &name)]).build()).run().succeeded();
        let save = |flags: &[&str], file: &Path| {
            let command = Pullctl::new().on(daemon).args(["-n", &first, "save", "-o", text(file)]);
            command.args(flags).args([&name]).run().succeeded();
            std::fs::read(file).unwrap()
        };
        for (form, file) in [(&[][..], "a.tar"), (&["--compress", "zstd"], "a.tar.zst")] {
            let path = folder.path().join(file);
            let archive = save(form, &path);
            let [from_file, streamed] = ["file", "streamed"].map(unique);
            load(daemon, &from_file).args(["-i", text(&path)]).run().succeeded();
            load(daemon, &streamed).input(archive).run().succeeded();
            assert_same(daemon, &from_file, &first);
            assert_same(daemon, &streamed, &first);
        }
        let path = folder.path().join("docker.tar");
        let archive = save(&["--format", "docker"], &path);
        let [from_file, streamed] = ["file", "streamed"].map(unique);
        load(daemon, &from_file).args(["-i", text(&path)]).run().succeeded();
        load(daemon, &streamed).input(archive).run().succeeded();
        assert_same(daemon, &streamed, &from_file);
        let snapshots = Store::new(daemon, &streamed).snapshots();
        assert!(snapshots[&image.chain_id()].committed);
    }

    fn several_archives_are_loaded_in_one_run_and_share_their_layers(daemon) {
        let folder = tempfile::tempdir().unwrap();
        let common = Layer::noise(&unique("common"), 3 << 20);
        let with = |name: &str| {
            let own = Layer::file(name, unique(name).as_bytes());
            Recipe::new(vec![common.clone(), own]).build()
        };
        let images = ["one", "two", "three"].map(with);
        let names = ["one", "two", "three"].map(|name| format!("quay.io/test/{name}:v1"));
        let named: Vec<_> = images.iter().zip(&names).map(|(i, n)| (i, n.as_str())).collect();
        let [plain, packed] = ["plain.tar", "packed.tar"].map(|name| folder.path().join(name));
        std::fs::write(&plain, Archive::oci(&named[..2]).build()).unwrap();
        let archive = Archive::oci(&named[2..]).build();
        std::fs::write(&packed, zstd::encode_all(&*archive, 1).unwrap()).unwrap();
        let loaded = unique("several");
        let flags = ["-i", text(&plain), "-i", text(&packed)];
        let outcome = load(daemon, &loaded).args(flags).run().succeeded();
        assert!(outcome.stderr.contains("3 of 3 images loaded"), "{outcome:?}");
        let images = Store::new(daemon, &loaded).images();
        for (image, name) in named {
            assert_eq!(images[name].target, image.digest(), "{name}");
        }
    }
}

fn gzip(path: &Path) -> Vec<u8> {
    let packed = path.with_extension("gz");
    run("sh", &["-c", &format!("gzip -1 -c {} > {}", path.display(), packed.display())]);
    std::fs::read(packed).unwrap()
}
