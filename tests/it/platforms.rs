//! Which of an index's images is pulled.

use serde_json::json;

use crate::support::cli::Pullctl;
use crate::support::containerd::KUBERNETES;
use crate::support::cri::Cri;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Family, Image, Layer, Recipe};
use crate::support::store::Store;
use crate::support::{each_version, unique};

fn built_for(platform: &str) -> Image {
    let name = unique("platform");
    Recipe::new(vec![Layer::file(&name, platform.as_bytes())]).platform(platform).build()
}

/// Whether the namespace has all content of a single image, layers included.
fn holds(store: &Store<'_>, image: &Image) -> bool {
    let content = store.content();
    std::iter::once(&image.root)
        .chain(&image.blobs)
        .all(|blob| content.contains_key(&blob.digest.to_string()))
}

each_version! {
    fn the_hosts_platform_is_the_default(daemon) {
        for family in [Family::Oci, Family::Docker] {
            let [arm, amd, i386] = ["linux/arm64/v8", "linux/amd64", "linux/386"].map(built_for);
            let all = vec![i386.clone(), arm.clone(), amd.clone()];
            let index = Image::index(family, all);
            let registry = FaultyRegistry::start();
            let reference = registry.add_new(&index);
            Pullctl::pull(daemon, &reference).run().succeeded();
            let store = Store::new(daemon, KUBERNETES);
            assert_eq!(store.images()[&reference].target, index.digest());
            assert!(holds(&store, &amd));
            assert!(!holds(&store, &arm));
            assert!(!holds(&store, &i386));
            assert_eq!(registry.requests_for(&arm.digest()), []);
        }
    }

    fn platforms_can_be_chosen(daemon) {
        let [arm64, armv6, amd] = ["linux/arm64/v8", "linux/arm/v6", "linux/amd64"].map(built_for);
        let images = vec![amd.clone(), arm64.clone(), armv6.clone()];
        let index = Image::index(Family::Oci, images);
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&index);
        let platforms = ["--platform", "linux/arm64", "--platform", "linux/arm/v7"];
        Pullctl::pull(daemon, &reference).args(platforms).run().succeeded();
        let store = Store::new(daemon, KUBERNETES);
        assert!(holds(&store, &arm64));
        assert!(holds(&store, &armv6), "v7 falls back to v6");
        assert!(!holds(&store, &amd));
    }

    fn what_an_entry_needs_of_the_system_counts_whatever_the_order(daemon) {
        for is_first in [true, false] {
            let [plain, erofs, v3] =
                ["linux/amd64", "linux/amd64", "linux/amd64/v3"].map(built_for);
            let mut entry = erofs.entry();
            entry["platform"]["os.features"] = json!(["erofs"]);
            let mut entries = vec![entry, v3.entry(), plain.entry()];
            if !is_first {
                entries.reverse();
            }
            let all = vec![erofs.clone(), v3.clone(), plain.clone()];
            let index = Image::index_of(Family::Oci, entries, all);
            let registry = FaultyRegistry::start();
            let reference = registry.add_new(&index);
            for (platform, image) in [
                ("linux/amd64", &plain),
                ("amd64", &plain),
                ("linux(+erofs)/amd64", &erofs),
                ("linux/amd64/v4", &v3),
            ] {
                let namespace = unique("features");
                let flags = ["-n", &namespace, "--platform", platform, "--no-unpack"];
                Pullctl::pull(daemon, &reference).args(flags).run().succeeded();
                let store = Store::new(daemon, &namespace);
                for other in [&plain, &erofs, &v3] {
                    assert_eq!(holds(&store, other), other.digest() == image.digest(), "{platform}");
                }
            }
        }
    }

    fn all_platforms_are_all_images_of_the_index(daemon) {
        let images = ["linux/arm64/v8", "linux/amd64", "linux/s390x"].map(built_for);
        let index = Image::index(Family::Oci, images.to_vec());
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&index);
        Pullctl::pull(daemon, &reference).args(["--all-platforms"]).run().succeeded();
        let store = Store::new(daemon, KUBERNETES);
        for image in &images {
            assert!(holds(&store, image));
        }
        // Only the host's becomes a file system, and gives the kubelet its ID.
        let host = &images[1];
        let (snapshots, names) = (store.snapshots(), store.images());
        for image in &images {
            let is_hosts = image.digest() == host.digest();
            let platform = image.entry();
            let unpacked = snapshots.get(&image.chain_id()).is_some_and(|found| found.committed);
            assert_eq!(unpacked, is_hosts, "{platform}");
            assert_eq!(names.contains_key(&image.config_digest()), is_hosts, "{platform}");
        }
        assert_eq!(names[&host.config_digest()].target, index.digest());
        assert_eq!(Cri::new(daemon).image_soon(&reference).id, host.config_digest());
    }

    fn the_hosts_image_gives_the_id_wherever_it_was_asked_for(daemon) {
        let [arm, amd] = ["linux/arm64/v8", "linux/amd64"].map(built_for);
        let index = Image::index(Family::Oci, vec![arm.clone(), amd.clone()]);
        for order in [["linux/arm64", "linux/amd64"], ["linux/amd64", "linux/arm64"]] {
            let namespace = unique("order");
            let registry = FaultyRegistry::start();
            let reference = registry.add_new(&index);
            let platforms = ["--platform", order[0], "--platform", order[1], "-n", &namespace];
            Pullctl::pull(daemon, &reference).args(platforms).run().succeeded();
            let store = Store::new(daemon, &namespace);
            let names = store.images();
            assert!(names.contains_key(&amd.config_digest()), "{order:?}: {names:#?}");
            assert!(!names.contains_key(&arm.config_digest()), "{order:?}: {names:#?}");
            // Both were asked for by name, so both are file systems.
            for image in [&arm, &amd] {
                assert!(store.snapshots()[&image.chain_id()].committed, "{order:?}");
            }
        }
    }

    fn an_index_keeps_the_manifests_that_were_not_pulled_in_mind(daemon) {
        let images = ["linux/arm64/v8", "linux/amd64"].map(built_for);
        let index = Image::index(Family::Oci, images.to_vec());
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&index);
        Pullctl::pull(daemon, &reference).run().succeeded();
        // As containerd's own pulls: a second pull for another platform has nothing to mend.
        let content = Store::new(daemon, KUBERNETES).content();
        let labels = &content[&index.digest()].labels;
        for (number, image) in images.iter().enumerate() {
            let label = format!("containerd.io/gc.ref.content.m.{number}");
            assert_eq!(labels.get(&label), Some(&image.digest()), "{labels:#?}");
        }
    }

    fn an_artifact_without_a_platform_beside_the_image_is_passed_over(daemon) {
        let image = built_for("linux/amd64");
        let artifact = Image::small().edit_manifest(|manifest| {
            manifest["config"]["mediaType"] = json!("application/vnd.oci.empty.v1+json");
            manifest["artifactType"] = json!("application/spdx+json");
        });
        for artifact_first in [true, false] {
            let mut all = vec![image.clone(), artifact.clone()];
            if artifact_first {
                all.reverse();
            }
            let index = Image::index(Family::Oci, all).edit_manifest(|index| {
                let entry = &mut index["manifests"][usize::from(!artifact_first)];
                entry.as_object_mut().unwrap().remove("platform");
            });
            let namespace = unique("artifact");
            let registry = FaultyRegistry::start();
            let reference = registry.add_new(&index);
            Pullctl::pull(daemon, &reference).args(["-n", &namespace]).run().succeeded();
            assert!(holds(&Store::new(daemon, &namespace), &image), "{artifact_first}");
        }
    }

    fn an_index_inside_an_index_is_opened(daemon) {
        let [arm, amd] = ["linux/arm64/v8", "linux/amd64"].map(built_for);
        let inner = Image::index(Family::Oci, vec![arm, amd.clone()]);
        let outer = Image::index(Family::Oci, vec![inner]);
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&outer);
        Pullctl::pull(daemon, &reference).run().succeeded();
        let store = Store::new(daemon, KUBERNETES);
        assert!(holds(&store, &amd));
        assert_eq!(store.images()[&reference].target, outer.digest());
        assert!(store.images().contains_key(&amd.config_digest()));
    }

    fn attestations_are_no_platform(daemon) {
        let amd = built_for("linux/amd64");
        let (attestation, entry) = amd.attestation();
        let entries = vec![entry, amd.entry()];
        let content = vec![attestation.clone(), amd.clone()];
        let index = Image::index_of(Family::Oci, entries, content);
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&index);
        let all = Pullctl::pull(daemon, &reference).args(["--all-platforms"]);
        all.run().succeeded();
        assert!(holds(&Store::new(daemon, KUBERNETES), &amd));
        let outcome = Pullctl::pull(daemon, &reference).args(["--platform", "linux/s390x"]).run();
        assert!(!outcome.ended_with(8).stderr.contains("unknown"));
    }

    fn no_match_is_an_error_that_lists_what_there_is(daemon) {
        let images = ["linux/arm64/v8", "windows/amd64"].map(built_for);
        let index = Image::index(Family::Oci, images.to_vec());
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&index);
        let outcome = Pullctl::pull(daemon, &reference).run().ended_with(8);
        outcome.says("linux/arm64").says("windows/amd64");
        assert!(!Store::new(daemon, KUBERNETES).images().contains_key(&reference));
    }

    fn an_explicit_platform_is_strict_and_the_default_is_not(daemon) {
        let index = Image::index(Family::Oci, vec![built_for("linux/386")]);
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&index);
        let explicit = Pullctl::pull(daemon, &reference).args(["--platform", "linux/amd64"]);
        explicit.run().ended_with(8).says("linux/386");
        Pullctl::pull(daemon, &reference).run().succeeded();
    }

    fn a_single_image_of_another_platform_is_pulled_with_a_warning(daemon) {
        let image = built_for("linux/s390x");
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        let outcome = Pullctl::pull(daemon, &reference).run().succeeded();
        outcome.says("warning").says("linux/s390x");
        assert!(Store::new(daemon, KUBERNETES).images().contains_key(&reference));
    }

    fn an_entry_without_a_platform_is_judged_by_its_configuration(daemon) {
        let [arm, amd] = ["linux/arm64/v8", "linux/amd64"].map(built_for);
        let entries = vec![arm.root.descriptor(), amd.root.descriptor()];
        let index = Image::index_of(Family::Oci, entries, vec![arm, amd.clone()]);
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&index);
        Pullctl::pull(daemon, &reference).run().succeeded();
        assert!(holds(&Store::new(daemon, KUBERNETES), &amd));
    }

    fn an_index_without_entries_has_no_platform(daemon) {
        let index = Image::index_of(Family::Oci, vec![], vec![]);
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&index);
        Pullctl::pull(daemon, &reference).run().ended_with(8);
    }

    fn an_index_that_contains_itself_for_ever_is_refused(daemon) {
        // No digest can name itself, but a chain can be longer than anyone builds.
        let deep = (0..100).fold(built_for("linux/amd64"), |inner, _| {
            Image::index(Family::Oci, vec![inner])
        });
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&deep);
        Pullctl::pull(daemon, &reference).run().ended_with(7);
    }

    fn an_entry_with_an_unusable_digest_is_refused(daemon) {
        let entry = json!({
            "mediaType": crate::support::image::OCI_MANIFEST,
            "digest": "sha256:../../../etc/passwd",
            "size": 3,
            "platform": { "os": "linux", "architecture": "amd64" },
        });
        let index = Image::index_of(Family::Oci, vec![entry], vec![]);
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&index);
        Pullctl::pull(daemon, &reference).run().ended_with(7).says("digest");
    }
}
