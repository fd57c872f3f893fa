//! The point of it all: the kubelet, which asks the CRI, finds what was pulled.

use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::cri::Cri;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Family, Image};
use crate::support::pod::Pod;
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::{each_version, unique};

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
        let image = Image::busybox(&["/bin/sh"]);
        let reference = registry.push_new(&image);
        Pullctl::pull(daemon, &reference).run().succeeded();
        // ctr would unpack it by itself.
        assert!(Store::new(daemon, KUBERNETES).snapshots()[&image.chain_id()].committed);
        let container = unique("container");
        let said = daemon.ctr(
            KUBERNETES,
            &["run", "--rm", "--net-host", &reference, &container, "/bin/echo", "it runs"],
        );
        assert_eq!(said.trim(), "it runs");
    }
}

/// What the kubelet does for `imagePullPolicy: Never`: it asks for the image and makes the container
/// of the ID that it is told. The sandbox's image comes from a pull of ours too, so that the daemon
/// has nothing to pull at all.
#[test]
fn a_pod_that_may_pull_nothing_runs() {
    for version in Version::ALL {
        let registry = FaultyRegistry::start();
        let [sandbox, app] =
            [Image::busybox(&["/bin/sleep", "100000"]), Image::busybox(&["/bin/sh"])];
        let references = [&sandbox, &app].map(|image| registry.add_new(image));
        let daemon = &Containerd::starting_pods_from(version, &references[0]);
        Pullctl::pull(daemon, &references[0]).args([&references[1]]).run().succeeded();
        let snapshots = Store::new(daemon, KUBERNETES).snapshots();
        for image in [&sandbox, &app] {
            assert!(snapshots[&image.chain_id()].committed, "{version}: {snapshots:#?}");
        }
        registry.forget_requests();

        let cri = Cri::new(daemon);
        cri.image_soon(&references[0]);
        let found = cri.image_soon(&references[1]);
        let pod = Pod::run(daemon);
        let said = pod.output_of(&found.id, &["/bin/echo", "it runs"]);
        assert_eq!(said, "it runs", "{version}");
        assert_eq!(registry.requests(), [], "{version}");
    }
}
