//! Layers in every form that images come in.

use serde_json::json;

use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::faulty::{Body, FaultyRegistry, Login};
use crate::support::image::{Family, Image, Layer, Packing, Recipe, text};
use crate::support::store::Store;
use crate::support::tree::{Tree, curious, curious_above};
use crate::support::{each_version, unique};

/// Pulls `image` and hands its mounted tree to `look`.
fn pull_and_look<T>(
    daemon: &Containerd,
    image: &Image,
    look: impl FnOnce(&std::path::Path) -> T,
) -> T {
    let registry = FaultyRegistry::start();
    let reference = registry.add_new(image);
    Pullctl::pull(daemon, &reference).run().succeeded();
    Store::new(daemon, KUBERNETES).with_mounted(&image.chain_id(), look)
}

#[test]
fn a_layer_inflated_by_several_threads_has_the_same_files() {
    let names = ["first", "second", "third"].map(unique);
    let contents = [1, 2, 3].map(|number| text(number, 5_000_000));
    let files = names.iter().zip(&contents);
    let tree = files.fold(Tree::new(), |tree, (name, content)| tree.file(name, content));
    let layer = Layer::pack(&tree.into_tar(), Packing::SmallGzip);
    assert!(layer.blob.bytes.len() > 4 << 20, "{} bytes", layer.blob.bytes.len());
    let image = Recipe::new(vec![layer]).build();
    let registry = FaultyRegistry::start();
    let reference = registry.add_new(&image);
    let daemon = Containerd::shared(Version::V2_1);
    let flags = ["--inflate-threads", "4", "--unpacker", "direct"];
    Pullctl::pull(daemon, &reference).args(flags).run().succeeded();
    Store::new(daemon, KUBERNETES).with_mounted(&image.chain_id(), |root| {
        for (name, content) in names.iter().zip(&contents) {
            assert!(std::fs::read(root.join(name)).unwrap() == *content, "{name}");
        }
    });
}

each_version! {
    fn layers_come_packed_by_gzip_by_zstd_or_not_at_all(daemon) {
        for family in [Family::Oci, Family::Docker] {
            let layers = [Packing::Gzip, Packing::Zstd, Packing::Plain].map(|packing| {
                let tar = Tree::new().file(&unique("packed"), b"unpacked").into_tar();
                (packing, Layer::pack(&tar, packing))
            });
            // Docker has no media type for zstd.
            let layers = layers
                .into_iter()
                .filter(|(packing, _)| family == Family::Oci || *packing != Packing::Zstd)
                .map(|(_, layer)| layer);
            let image = Recipe::new(layers.collect()).family(family).build();
            let files = pull_and_look(daemon, &image, |root| {
                let files = std::fs::read_dir(root).unwrap().flatten();
                files.map(|file| std::fs::read(file.path()).unwrap()).collect::<Vec<_>>()
            });
            assert_eq!(files, vec![b"unpacked"; image.layers().len()], "{family:?}");
        }
    }

    fn whiteouts_links_devices_and_odd_modes_arrive(daemon) {
        use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
        let layers = [curious(), curious_above()]
            .map(|tree| Layer::pack(&tree.file(&unique("own"), b"").into_tar(), Packing::Gzip));
        let image = Recipe::new(layers.to_vec()).build();
        pull_and_look(daemon, &image, |root| {
            let metadata = |path: &str| std::fs::symlink_metadata(root.join(path)).unwrap();
            assert!(!root.join("removed").exists());
            assert!(std::fs::symlink_metadata(root.join("etc/link")).is_err());
            assert!(!root.join("hidden/below").exists() && root.join("hidden/above").exists());
            assert_eq!(metadata("bin/setuid").mode() & 0o7777, 0o4755);
            assert_eq!((metadata("bin/setuid").uid(), metadata("bin/setuid").gid()), (1000, 2000));
            assert_eq!(metadata("etc/passwd").ino(), metadata("usr/passwd").ino());
            assert!(metadata("dev/null").file_type().is_char_device());
            assert!(metadata("run/pipe").file_type().is_fifo());
            assert_eq!(metadata("bin/setgid").mtime_nsec(), 987_654_321);
        });
    }

    fn a_layer_without_entries_is_a_layer(daemon) {
        let name = unique("beside");
        let empty = Layer::pack(&Tree::new().into_tar(), Packing::Gzip);
        let layers = vec![empty.clone(), Layer::file(&name, b"beside"), empty];
        let image = Recipe::new(layers).build();
        let files = pull_and_look(daemon, &image, |root| std::fs::read_dir(root).unwrap().count());
        assert_eq!(files, 1);
    }

    fn a_layer_may_be_there_twice(daemon) {
        let name = unique("twice");
        let layer = Layer::file(&name, b"twice");
        let other = Layer::pack(&Tree::new().whiteout(&name).into_tar(), Packing::Gzip);
        let image = Recipe::new(vec![layer.clone(), other, layer.clone()]).build();
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        Pullctl::pull(daemon, &reference).run().succeeded();
        assert_eq!(registry.requests_for(&layer.blob.digest.to_string()).len(), 1);
        let store = Store::new(daemon, KUBERNETES);
        store.with_mounted(&image.chain_id(), |root| assert!(root.join(&name).exists()));
    }

    fn an_image_may_have_no_layers(daemon) {
        let name = unique("none");
        let image = Recipe::new(vec![]).config("author", json!(name)).build();
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        Pullctl::pull(daemon, &reference).run().succeeded();
        assert!(Store::new(daemon, KUBERNETES).images().contains_key(&reference));
    }

    fn as_many_layers_as_overlayfs_takes_are_unpacked(daemon) {
        let name = unique("many");
        let layers = (0..127).map(|n| Layer::file(&format!("{name}-{n}"), b"x")).collect();
        let image = Recipe::new(layers).build();
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        Pullctl::pull(daemon, &reference).run().succeeded();
        assert!(Store::new(daemon, KUBERNETES).snapshots()[&image.chain_id()].committed);
    }

    fn foreign_layers_come_from_their_urls_without_credentials(daemon) {
        let (registry, elsewhere) = (FaultyRegistry::start(), FaultyRegistry::start());
        let layer = Layer::file(&unique("foreign"), b"foreign");
        let path = "/licensed/layer";
        let body = Body::from(layer.blob.bytes.clone());
        elsewhere.serve(path, "application/octet-stream", None, body);
        let url = format!("http://{}{path}", elsewhere.authority());
        let mut image = Recipe::new(vec![layer.clone()]).build().edit_manifest(|manifest| {
            let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
            manifest["layers"][0]["mediaType"] = json!(foreign);
            manifest["layers"][0]["urls"] = json!([url]);
        });
        let chain_id = image.chain_id();
        // The registry itself does not have it.
        image.blobs.truncate(1);
        registry.require(Login::Basic { user: "ann".into(), password: "hunter2".into() });
        let reference = registry.add_new(&image);
        Pullctl::pull(daemon, &reference).args(["-u", "ann:hunter2"]).run().succeeded();

        assert!(Store::new(daemon, KUBERNETES).snapshots().contains_key(&chain_id));
        let asked = elsewhere.requests();
        assert!(!asked.is_empty());
        assert!(asked.iter().all(|request| request.header("authorization").is_none()));
    }

    fn a_foreign_layer_whose_urls_are_dead_comes_from_the_registry(daemon) {
        let registry = FaultyRegistry::start();
        let dead = crate::support::faulty::dead_authority();
        let layer = Layer::file(&unique("foreign"), b"foreign");
        let image = Recipe::new(vec![layer]).build().edit_manifest(|manifest| {
            let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
            manifest["layers"][0]["mediaType"] = json!(foreign);
            manifest["layers"][0]["urls"] = json!([format!("http://{dead}/layer")]);
        });
        let reference = registry.add_new(&image);
        Pullctl::pull(daemon, &reference).run().succeeded();
        assert!(Store::new(daemon, KUBERNETES).images().contains_key(&reference));
    }
}
