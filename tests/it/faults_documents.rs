//! Documents that lie or are none: manifests and configurations. Each ends in its own exit code with
//! the host, the cause and a next step, and leaves nothing that can be seen.

use serde_json::json;

use crate::support::cli::Pullctl;
use crate::support::fault_case::{Case, layered, text, with_manifest_fault};
use crate::support::faulty::{Body, Fault, FaultyRegistry};
use crate::support::image::{
    DOCKER_LIST, DOCKER_MANIFEST, Family, Image, Layer, OCI_INDEX, OCI_MANIFEST, Recipe,
};
use crate::support::store::Store;
use crate::support::{one_version, unique};

/// Serves `body` for the manifest.
fn with_manifest(registry: &FaultyRegistry, content_type: &'static str, body: Body) -> String {
    with_manifest_fault(registry, Fault::Instead { content_type, body })
}

const CASES: &[Case] = &[
    Case {
        name: "a manifest's bytes are other ones than its digest says",
        arrange: |registry| {
            let image = layered();
            let reference = registry.add_new(&image);
            registry.always("GET /v2/test", Fault::Corrupt(20));
            let (repository, _) = reference.rsplit_once(':').unwrap();
            format!("{repository}@{}", image.digest())
        },
        code: 7,
        says: &["127.0.0.1", "sha256:"],
    },
    Case {
        name: "the registry's header names another digest than the manifest has",
        arrange: |registry| {
            let other = format!("sha256:{}", "0".repeat(64));
            let header = Fault::Headers(vec![("Docker-Content-Digest", other)]);
            with_manifest_fault(registry, header)
        },
        code: 7,
        says: &["127.0.0.1"],
    },
    Case {
        name: "a layer's size is negative",
        arrange: |registry| {
            let image = layered().edit_manifest(|manifest| {
                manifest["layers"][0]["size"] = json!(-1);
            });
            registry.add_new(&image)
        },
        code: 7,
        says: &["-1"],
    },
    Case {
        name: "the configuration has fewer diff IDs than there are layers",
        arrange: |registry| {
            let rootfs = json!({ "type": "layers", "diff_ids": [] });
            let layer = Layer::noise(&unique("faulty"), 1000);
            registry.add_new(&Recipe::new(vec![layer]).config("rootfs", rootfs).build())
        },
        code: 7,
        says: &["diff ID"],
    },
    Case {
        name: "a manifest has 100 MiB",
        arrange: |registry| {
            let body = Body::generated(100 << 20, |_, buffer| buffer.fill(b' '));
            with_manifest(registry, OCI_MANIFEST, body)
        },
        code: 7,
        says: &["127.0.0.1"],
    },
    Case {
        name: "JSON is nested 10,000 deep",
        arrange: |registry| {
            let deep = format!("{{\"layers\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
            with_manifest(registry, OCI_MANIFEST, text(deep))
        },
        code: 7,
        says: &["manifest"],
    },
    Case {
        name: "the manifest is an HTML page",
        arrange: |registry| {
            let page = "<!DOCTYPE html><html><body>log in</body></html>";
            with_manifest(registry, "text/html", text(page))
        },
        code: 7,
        says: &["127.0.0.1", "web page"],
    },
    Case {
        name: "the manifest is schema1",
        arrange: |registry| {
            let manifest = json!({ "schemaVersion": 1, "name": "old", "fsLayers": [] });
            let schema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
            with_manifest(registry, schema1, text(manifest.to_string()))
        },
        code: 7,
        says: &["schema1"],
    },
    Case {
        name: "a manifest has the members of an index as well",
        arrange: |registry| {
            let image = layered().edit_manifest(|manifest| manifest["manifests"] = json!([]));
            registry.add_new(&image)
        },
        code: 7,
        says: &["ambiguous", "index", "manifest"],
    },
    Case {
        name: "a manifest calls itself an index",
        arrange: |registry| {
            let image = layered().edit_manifest(|manifest| {
                manifest["mediaType"] = json!(OCI_INDEX);
            });
            registry.add_new(&image)
        },
        code: 7,
        says: &["calls itself", OCI_INDEX],
    },
    Case {
        name: "a manifest is served as an index",
        arrange: |registry| {
            let image = layered().edit_manifest(|manifest| {
                manifest.as_object_mut().unwrap().remove("mediaType");
            });
            let header = Fault::Headers(vec![("Content-Type", OCI_INDEX.to_owned())]);
            registry.always("/manifests/", header);
            registry.add_new(&image)
        },
        code: 7,
        says: &["members of a manifest", OCI_INDEX],
    },
    Case {
        name: "an index describes its manifest as an index",
        arrange: |registry| {
            let index = Image::index(Family::Oci, vec![layered()]).edit_manifest(|index| {
                index["manifests"][0]["mediaType"] = json!(OCI_INDEX);
            });
            registry.add_new(&index)
        },
        code: 7,
        says: &[OCI_INDEX],
    },
    Case {
        name: "an index is served as a manifest",
        arrange: |registry| {
            let index = Image::index(Family::Oci, vec![layered()]).edit_manifest(|index| {
                index.as_object_mut().unwrap().remove("mediaType");
            });
            let header = Fault::Headers(vec![("Content-Type", OCI_MANIFEST.to_owned())]);
            registry.always("/manifests/", header);
            registry.add_new(&index)
        },
        code: 7,
        says: &["members of an index", OCI_MANIFEST],
    },
    Case {
        name: "a configuration's bytes are other ones than its digest says",
        arrange: |registry| {
            let image = layered();
            registry.always(&image.config_digest(), Fault::Corrupt(20));
            registry.add_new(&image)
        },
        code: 7,
        says: &["127.0.0.1", "sha256:"],
    },
    Case {
        name: "the manifest is that of a chart",
        arrange: |registry| {
            let image = layered().edit_manifest(|manifest| {
                // Its configuration, `{}`, comes with it.
                manifest["config"] = json!({
                    "mediaType": "application/vnd.cncf.helm.config.v1+json",
                    "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
                    "size": 2,
                    "data": "e30=",
                });
            });
            registry.add_new(&image)
        },
        code: 7,
        says: &["helm", "no container image"],
    },
    Case {
        name: "indexes are nested 100 deep",
        arrange: |registry| {
            let nest = |inner, _| Image::index(Family::Oci, vec![inner]);
            registry.add_new(&(0..100).fold(layered(), nest))
        },
        code: 7,
        says: &["sha256:", "nested"],
    },
];

one_version! {
    fn a_document_that_lies_ends_in_its_exit_code_and_leaves_nothing_visible(daemon) {
        Case::check_all(CASES, daemon, &[]);
    }

    fn what_is_prepared_for_an_image_that_is_given_up_is_removed_however_late_it_comes(daemon) {
        // A place for the layer is on its way when the configuration proves useless.
        let registry = FaultyRegistry::start();
        for round in 0..4 {
            let rootfs = json!({ "type": "layers", "diff_ids": [] });
            let layer = Layer::noise(&unique("given-up"), 1000);
            let image = Recipe::new(vec![layer]).config("rootfs", rootfs).build();
            let reference = registry.add_new(&image);
            let namespaces: Vec<String> = (0..8).map(|_| unique("given-up")).collect();
            let pulls: Vec<_> = namespaces
                .iter()
                .map(|namespace| Pullctl::pull(daemon, &reference).args(["-n", namespace]).spawn())
                .collect();
            pulls.into_iter().for_each(|pull| drop(pull.wait().ended_with(7)));
            for namespace in &namespaces {
                let left = Store::new(daemon, namespace).snapshots();
                assert!(left.is_empty(), "round {round}: {left:?}");
            }
        }
    }

    fn manifests_are_asked_for_by_their_media_types(daemon) {
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&layered());
        Pullctl::pull(daemon, &reference).run().succeeded();
        for request in registry.requests_for("/manifests/") {
            let accept = request.header("accept").unwrap_or_default();
            for media_type in [
                OCI_INDEX,
                OCI_MANIFEST,
                DOCKER_LIST,
                DOCKER_MANIFEST,
            ] {
                assert!(accept.contains(media_type), "{accept}");
            }
        }
    }
}
