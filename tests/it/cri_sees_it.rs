//! The point of it all: the kubelet, which asks the CRI, finds what was pulled.

use crate::support::cli::Pullctl;
use crate::support::containerd::{KUBERNETES, Version};
use crate::support::cri::Cri;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Family, Image, Layer, Packing, Recipe};
use crate::support::registry::Registry;
use crate::support::tree::Tree;
use crate::support::{each_version, unique};

/// An image whose container runs: Debian's static busybox.
fn busybox() -> Image {
    let program = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    let tar = Tree::new()
        .directory("bin")
        .mode(0o755)
        .file("bin/busybox", &program)
        .symlink("bin/sh", "busybox")
        .symlink("bin/echo", "busybox")
        .file(&unique("etc/unique"), b"")
        .into_tar();
    Recipe::new(vec![Layer::pack(&tar, Packing::Gzip)]).family(Family::Docker).build()
}

each_version! {
    fn the_kubelet_finds_the_image_by_tag_by_repo_digest_and_by_id(daemon) {
        let registry = Registry::start();
        let image = Image::index(Family::Oci, vec![Image::small()]);
        let config = image.config_digest();
        let reference = registry.push_new(&image);
        Pullctl::pull(daemon, &reference).run().succeeded();

        let (repository, _) = reference.rsplit_once(':').unwrap();
        let repo_digest = format!("{repository}@{}", image.digest());
        let cri = Cri::new(daemon);
        for name in [&reference, &repo_digest, &config] {
            let seen = cri.image_soon(name);
            assert_eq!(seen.id, config, "by {name}");
            assert!(seen.size > 0, "by {name}");
        }
        let complete = || {
            let images = cri.images();
            let seen = images.iter().find(|image| image.id == config)?;
            (seen.repo_tags == [reference.clone()] && seen.repo_digests == [repo_digest.clone()])
                .then_some(())
        };
        daemon.wait_until("the list with tag and repo digest", complete);
    }

    fn a_pinned_image_is_pinned_for_the_kubelet_too(daemon) {
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&Image::small());
        Pullctl::pull(daemon, &reference).args(["--pin"]).run().succeeded();
        let seen = Cri::new(daemon).image_soon(&reference);
        // The CRI of 1.6 knows no pins.
        assert!(seen.pinned || daemon.version() == Version::V1_6, "{seen:?}");
    }

    fn a_container_of_the_image_runs(daemon) {
        let registry = Registry::start();
        let reference = registry.push_new(&busybox());
        Pullctl::pull(daemon, &reference).run().succeeded();
        let container = unique("container");
        let said = daemon.ctr(
            KUBERNETES,
            &["run", "--rm", "--net-host", &reference, &container, "/bin/echo", "it runs"],
        );
        assert_eq!(said.trim(), "it runs");
    }
}
